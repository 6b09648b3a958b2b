"""A dataset that an older version split: its images keep their split, unless the user asks for another one."""

import json
from pathlib import Path

import pytest

from gbif_webdataset.storage.split_method import METHOD
from gbif_webdataset.storage.target_record import TargetRecord, record_path
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tests.support.datasets import Dataset, of_occurrences, some_occurrences


@pytest.fixture
def older(dataset: Dataset) -> Dataset:
    """The dataset as version 0.4 would leave it: split in another way, with records of that version."""
    dataset.make("--SplitDataset-random-seed", "7")
    (dataset.output / "splits" / METHOD).unlink()
    path = record_path(dataset.output, "SplitDataset")
    values = json.loads(path.read_text())
    values["made_from"]["format"] = 2
    values["made_from"]["parameters"]["random_seed"] = 42
    del values["files"][f"splits/{METHOD}"]
    values["facts"] = {name: count for name, count in values["facts"].items() if isinstance(count, int)}
    del values["checksum"]
    path.write_text(json.dumps(values))
    record = TargetRecord.load(path)
    assert record is not None
    shards = record_path(dataset.output, "CreateWebDataset")
    made = json.loads(shards.read_text())
    made["made_from"]["inputs"] = {"SplitDataset": record.digest}
    del made["checksum"]
    shards.write_text(json.dumps(made))
    return dataset


def split_of_images(dataset: Dataset) -> dict[str, str]:
    return {row["image_path"]: split for split in SPLITS_OF_CLASSES for row in dataset.rows(f"splits/{split}.csv")}


def read_files(dataset: Dataset, *patterns: str) -> dict[Path, tuple[bytes, int]]:
    """The bytes of the files below the output folder, and when they were modified."""
    paths = [path for pattern in patterns for path in dataset.output.glob(pattern)]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_splits_and_shards_stay_as_they_are_and_the_run_counts_the_images_that_would_move(older: Dataset) -> None:
    files = ("splits/t*.csv", "splits/val.csv", "shards/*/*.tar", "shards/shards.csv")
    before, old = read_files(older, *files), split_of_images(older)
    ended = older.run()
    assert read_files(older, *files) == before
    method = json.loads((older.output / "splits" / METHOD).read_text())
    assert method["keeps_older_splits"]
    assert method["images"] == len(old)
    moved = method["moved_by_new_method"]
    assert moved > 0
    sentence = f"This version would move {moved:,} of {len(old):,} images; to let it, add --SplitDataset-resplit true"
    assert sentence in ended.stderr
    assert "known" in older.rows("splits/leakage.csv")[0]
    assert older.plan() == ["Nothing to do: everything is up to date."]

    older.make("--SplitDataset-resplit", "true")
    new = split_of_images(older)
    assert sum(new[path] != split for path, split in old.items()) == moved
    assert older.plan("--SplitDataset-resplit", "true") == ["Nothing to do: everything is up to date."]


def test_new_images_are_added_and_no_image_moves_even_after_the_record_is_lost(
    older: Dataset, whole_sample: Path
) -> None:
    old = split_of_images(older)
    chosen, others = some_occurrences()
    of_occurrences(whole_sample, older.archive, [*chosen, *others])
    record_path(older.output, "SplitDataset").unlink()
    older.make()
    new = split_of_images(older)
    assert {path: new[path] for path in old} == old
    assert len(new) > len(old)

    of_occurrences(whole_sample, older.archive, chosen)
    older.make()
    assert split_of_images(older) == old


def test_a_parameter_that_decides_the_splits_is_followed(older: Dataset, tmp_path: Path) -> None:
    older.make("--SplitDataset-test-frac", "0.4")
    scratch = Dataset(older.archive, tmp_path / "scratch")
    scratch.make("--SplitDataset-test-frac", "0.4")
    assert split_of_images(older) == split_of_images(scratch)
    assert older.shards() == scratch.shards()
