"""CreateWebDataset by the command: images that changed after they were verified."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from gbif_webdataset.errors import ChangedImageError
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.outcomes import Defect
from tasks import shards
from tests.support.audited_folder import AuditedFolder
from tests.support.datasets import Dataset

NEWER_PARAMETERS = ("hierarchy_to_json", "caption_template")
OTHER_SHARDS = ("--CreateWebDataset-resize-min-size", "100")


@pytest.mark.slow
def test_changed_and_missing_images_are_in_no_shard_and_downloaded_by_the_next_run(
    dataset: Dataset, tmp_path: Path
) -> None:
    undisturbed = dataset.copy(tmp_path / "undisturbed")
    undisturbed.make(*OTHER_SHARDS, task="CreateWebDataset")
    rows = dataset.rows("splits/train.csv")
    changed, missing = (dataset.output / "images" / rows[number]["image_path"] for number in (0, 1))
    data = changed.read_bytes()
    changed.write_bytes(data[:-50] + bytes([data[-50] ^ 1]) + data[-49:])
    missing.unlink()
    before = dataset.shards()

    printed = dataset.fail(*OTHER_SHARDS, task="CreateWebDataset")
    assert (
        f"images: 1 changed and 1 missing images since they were verified, the first is {rows[0]['image_path']}"
        in (printed.replace("\n", " "))
        or f"the first is {rows[1]['image_path']}" in printed
    )
    assert "Traceback" not in printed
    assert not list((dataset.output / "shards").glob("*/*.tar"))
    errors = {row["image_path"]: (row["status"], row["error"]) for row in dataset.rows("fetched") if row["error"]}
    assert errors[rows[0]["image_path"]] == ("failed", "changed-file")
    assert errors[rows[1]["image_path"]] == ("failed", "missing-file")

    dataset.make(*OTHER_SHARDS, task="CreateWebDataset")
    assert changed.read_bytes() == data
    assert missing.exists()
    assert dataset.shards() == undisturbed.shards() != before


def test_a_kill_while_images_are_marked_leaves_no_record_of_another_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = AuditedFolder(tmp_path).paths
    write, found = arrow.write_parquet, {"d1/0.jpg": str(Defect.CHANGED_FILE)}
    records: list[list[str]] = []

    def write_and_die(batches: Iterable[pa.RecordBatch], path: Path, schema: pa.Schema) -> None:
        write(batches, path, schema)
        records.append(sorted(path.stem for path in paths.records.glob("FetchChunk-*.json")))
        raise KeyboardInterrupt

    monkeypatch.setattr(arrow, "write_parquet", write_and_die)
    monkeypatch.setattr(shards, "find_changed_images", lambda *_: found)
    with pytest.raises(KeyboardInterrupt), shards._marking_changed_images(paths):
        raise ChangedImageError("d1/0.jpg: its bytes have changed")
    assert records == [["FetchChunk-00000"]]


def make_older(dataset: Dataset) -> int:
    """Change the record of the shards into one that version 0.4 would have written; the format that it had."""
    path = dataset.output / ".made" / "CreateWebDataset.json"
    record = json.loads(path.read_text())
    written = int(record["made_from"]["format"])
    record["made_from"]["format"] = 3
    del record["checksum"]
    for name in NEWER_PARAMETERS:
        del record["made_from"]["parameters"][name]
    path.write_text(json.dumps(record))
    return written


@pytest.mark.parametrize("columns", ["", "sex,eventDate,width"])
def test_shards_of_an_older_version_without_numeric_terms_in_json_are_kept(dataset: Dataset, columns: str) -> None:
    options = ("--CreateWebDataset-columns-to-json", columns)
    dataset.make(*options, task="CreateWebDataset")
    assert make_older(dataset) == 3
    assert dataset.plan(*options, task="CreateWebDataset") == ["Nothing to do: everything is up to date."]


def test_shards_of_an_older_version_with_numeric_terms_in_json_are_written_again(dataset: Dataset) -> None:
    options = ("--CreateWebDataset-columns-to-json", "sex,year")
    dataset.make(*options, task="CreateWebDataset")
    assert make_older(dataset) == 4
    assert dataset.plan(*options, task="CreateWebDataset") == ["CreateWebDataset: made by an older version"]
    dataset.make(*options, task="CreateWebDataset")
    assert dataset.plan(*options, task="CreateWebDataset") == ["Nothing to do: everything is up to date."]
    assert dataset.plan(task="CreateWebDataset") == ["CreateWebDataset: columns_to_json changed from sex,year to none"]
