"""The splits of a dataset and their files."""

from pathlib import Path

import pytest

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.terms.splits import HUB_SPLITS, SPLITS, split_paths


def test_the_files_of_existing_splits_are_found(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").touch()
    assert list(split_paths(tmp_path)) == ["train", "val", "test"]
    (tmp_path / "holdout.csv").touch()
    assert list(split_paths(tmp_path)) == list(SPLITS)


def test_a_missing_split_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.csv").touch()
    with pytest.raises(MissingPieceError, match=r"val\.csv: the split is missing; run SplitDataset again"):
        split_paths(tmp_path)


def test_every_split_has_a_name_on_the_hub() -> None:
    assert HUB_SPLITS.keys() == set(SPLITS)
