import csv
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.account.accounting import AccountLine, account_for_images, write_accounting
from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.reasons import MEANINGS
from tests.support.response_cases import CASES

MEDIA_FILES = ("multimedia's.txt", "image.txt")


@pytest.fixture
def paths(tmp_path: Path) -> DatasetPaths:
    """Twenty media: 3 rejected (and a line of the occurrences), 4 not fetched, 2 + 2 + 1 dropped, 8 samples."""
    paths = DatasetPaths.under(tmp_path)

    def write_table(path: Path, **columns: list[str]) -> None:
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({key: pa.array(values, pa.string()) for key, values in columns.items()}), path)

    def write_text(path: Path, content: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)

    media = MEDIA_FILES[0]
    write_table(
        paths.rejected,
        file=[media, media, media, "occurrence.txt"],
        reason=["no-url", "orphaned", "no-url", "duplicate-id"],
    )
    write_table(paths.chunk("fetched", 0), status=["failed", "fetched", "failed"], error=["not-found", "", "timeout"])
    write_table(paths.chunk("fetched", 1), status=["failed", "cached", "failed"], error=["timeout", "", "gone"])
    write_table(paths.clean_dropped, stage=["verify", "clean"], reason=["truncated", "thumbnail"])
    write_text(paths.split_dropped, "image_path,stage,reason\na,split,no-label\nb,split,no-label\n")
    write_text(paths.shards_dropped, "image_path,stage,reason\nc,shards,not-an-image\n")
    shards = "split,shard,samples,bytes\ntrain,a,4,10\ntrain,b,3,10\ntest,c,1,10\n"
    write_text(paths.shard_list, shards)
    return paths


def test_every_medium_is_accounted_for(paths: DatasetPaths) -> None:
    lines = account_for_images(paths, 20, MEDIA_FILES)
    assert lines == [
        AccountLine("read", "no-url", 2),
        AccountLine("read", "orphaned", 1),
        AccountLine("fetch", "timeout", 2),
        AccountLine("fetch", "gone", 1),
        AccountLine("fetch", "not-found", 1),
        AccountLine("verify", "truncated", 1),
        AccountLine("clean", "thumbnail", 1),
        AccountLine("split", "no-label", 2),
        AccountLine("shards", "not-an-image", 1),
        AccountLine("sample", "train", 7, kept=True),
        AccountLine("sample", "val", 0, kept=True),
        AccountLine("sample", "test", 1, kept=True),
    ]


@pytest.mark.parametrize("media_lines", [19, 21])
def test_a_sum_that_differs_from_the_media_of_the_archive_is_an_error(paths: DatasetPaths, media_lines: int) -> None:
    with pytest.raises(MissingPieceError, match=f"has {media_lines} media, but 20 are accounted for; .*no-url 2"):
        account_for_images(paths, media_lines, MEDIA_FILES)


def test_a_missing_chunk_is_an_error(paths: DatasetPaths) -> None:
    paths.chunk("fetched", 1).unlink()
    with pytest.raises(MissingPieceError):
        account_for_images(paths, 20, MEDIA_FILES)


def test_the_lines_of_the_file_add_up_to_the_first_line(paths: DatasetPaths) -> None:
    write_accounting(paths.accounting, 20, account_for_images(paths, 20, MEDIA_FILES))
    with paths.accounting.open(newline="") as file:
        first, *rest = csv.DictReader(file)
    assert first == {"stage": "archive", "reason": "media-lines", "images": "20"}
    assert sum(int(line["images"]) for line in rest) == 20


def test_a_dataset_without_samples_has_a_line_for_each_split(paths: DatasetPaths) -> None:
    paths.shard_list.write_text("split,shard,samples,bytes\n")
    lines = account_for_images(paths, 12, MEDIA_FILES)
    assert lines[-3:] == [AccountLine("sample", split, 0, kept=True) for split in ("train", "val", "test")]


def test_every_outcome_of_a_download_has_a_meaning() -> None:
    codes = {case.code for case in CASES.values() if case.code and not re.fullmatch("http-[0-9]{3}", case.code)}
    assert codes - MEANINGS.keys() == set()
