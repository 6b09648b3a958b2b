import re
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.split.previous_splits import find_previous_splits
from gbif_webdataset.split.traits import Grouping
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tests.support.split_run import USUAL, SplitRun, observed_images


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("by_occurrence", [True, False])
def test_no_image_of_the_earlier_dataset_moves(splitting: SplitRun, exact: bool, by_occurrence: bool) -> None:
    images = observed_images(2000)
    options = {"exact_fractions": exact, "split_by_occurrence": by_occurrence}
    splitting.run(images[:1000], USUAL, "before", **options)
    old = splitting.split_of_images()
    before = splitting.folder / "before"
    splitting.run(images, USUAL, "after", previous_splits=before, **options | {"random_seed": 9})
    new = splitting.split_of_images()
    assert {path: new[path] for path in old} == old
    shares = {split: sum(each == split for each in new.values()) / len(new) for split in SPLITS_OF_CLASSES}
    assert shares["test"] == pytest.approx(0.2, abs=0.03)


def test_test_images_stay_in_test_when_groups_merge(splitting: SplitRun) -> None:
    images = observed_images(1000)
    splitting.run(images, USUAL, "before", exact_fractions=False)
    old = splitting.split_of_images()
    before, by_observer = splitting.folder / "before", Grouping(("observer",))
    splitting.run(images, USUAL, "after", exact_fractions=False, previous_splits=before, grouping=by_observer)
    new = splitting.split_of_images()
    assert all(new[path] == "test" for path, split in old.items() if split == "test")


def test_the_csvs_are_found_in_the_order_of_the_codes(tmp_path: Path) -> None:
    for split in ("val", "test", "train"):
        (tmp_path / f"{split}.csv").write_text("coreid,identifier\n")
    assert [path.name for path in find_previous_splits(tmp_path)] == ["train.csv", "val.csv", "test.csv"]


@pytest.mark.parametrize(
    ("header", "words"),
    [(None, "there is no file train.csv; "), ("coreid,url\n", "train.csv has no column identifier; ")],
)
def test_a_folder_without_splits_is_refused(tmp_path: Path, header: str | None, words: str) -> None:
    if header:
        (tmp_path / "train.csv").write_text(header)
    option = f"--SplitDataset-previous-splits {tmp_path}: {words}"
    with pytest.raises(ParameterError, match=f"^{re.escape(option)}"):
        find_previous_splits(tmp_path)
