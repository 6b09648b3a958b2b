import csv
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.account import accounting
from gbif_webdataset.account.accounting import Line, Tables, account
from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.terms.reasons import MEANINGS
from tests.support.faulty_server import CASES


@pytest.fixture
def counted(tmp_path: Path) -> Tables:
    """Twenty media: 3 rejected (and a line of the occurrences), 4 not fetched, 2 + 2 + 1 dropped, 8 samples."""

    def table(name: str, **columns: list[str]) -> Path:
        pq.write_table(
            pa.table({key: pa.array(values, pa.string()) for key, values in columns.items()}), tmp_path / name
        )
        return tmp_path / name

    def text(name: str, content: str) -> Path:
        (tmp_path / name).write_text(content)
        return tmp_path / name

    media = "multimedia's.txt"
    return Tables(
        rejected=table(
            "rejected.parquet",
            file=[media, media, media, "occurrence.txt"],
            reason=["no-url", "orphaned", "no-url", "duplicate-id"],
        ),
        media_files=(media, "image.txt"),
        fetched=(
            table("0.parquet", status=["failed", "fetched", "failed"], error=["not-found", "", "timeout"]),
            table("1.parquet", status=["failed", "cached", "failed"], error=["timeout", "", "gone"]),
        ),
        clean_dropped=table("clean.parquet", stage=["verify", "clean"], reason=["truncated", "thumbnail"]),
        split_dropped=text("split.csv", "image_path,stage,reason\na,split,no-label\nb,split,no-label\n"),
        shards_dropped=text("shards-dropped.csv", "image_path,stage,reason\nc,shards,not-an-image\n"),
        shards=text("shards.csv", "split,shard,samples,bytes\ntrain,a,4,10\ntrain,b,3,10\ntest,c,1,10\n"),
    )


def test_every_medium_is_accounted_for(counted: Tables, tmp_path: Path) -> None:
    lines = account(20, counted, tmp_path / "scratch")
    assert lines == [
        Line("read", "no-url", 2),
        Line("read", "orphaned", 1),
        Line("fetch", "timeout", 2),
        Line("fetch", "gone", 1),
        Line("fetch", "not-found", 1),
        Line("verify", "truncated", 1),
        Line("clean", "thumbnail", 1),
        Line("split", "no-label", 2),
        Line("shards", "not-an-image", 1),
        Line("sample", "train", 7, kept=True),
        Line("sample", "val", 0, kept=True),
        Line("sample", "test", 1, kept=True),
    ]


@pytest.mark.parametrize("media_lines", [19, 21])
def test_what_does_not_add_up_is_an_error(counted: Tables, tmp_path: Path, media_lines: int) -> None:
    with pytest.raises(MissingPieceError, match=f"has {media_lines} media, but 20 are accounted for; .*no-url 2"):
        account(media_lines, counted, tmp_path / "scratch")


def test_a_missing_chunk_is_noticed(counted: Tables, tmp_path: Path) -> None:
    with pytest.raises(MissingPieceError):
        account(20, replace(counted, fetched=counted.fetched[:1]), tmp_path / "scratch")


def test_the_lines_of_the_file_add_up_to_its_first(counted: Tables, tmp_path: Path) -> None:
    target = tmp_path / "accounting.csv"
    accounting.write(target, 20, account(20, counted, tmp_path / "scratch"))
    with target.open(newline="") as file:
        first, *rest = csv.DictReader(file)
    assert first == {"stage": "archive", "reason": "media-lines", "images": "20"}
    assert sum(int(line["images"]) for line in rest) == 20


def test_every_end_of_a_fetch_has_a_meaning() -> None:
    codes = {case.code for case in CASES.values() if case.code and not re.fullmatch("http-[0-9]{3}", case.code)}
    assert codes - MEANINGS.keys() == set()
