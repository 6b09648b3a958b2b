import csv
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.split.fractions import Fractions
from gbif_webdataset.split.traits import Grouping
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tests.support.split_run import HALF, USUAL, SplitRun, hash_text, image, single_images


@pytest.mark.parametrize("by_occurrence", [True, False])
@pytest.mark.parametrize("seed", [1, 2])
def test_test_gets_the_smallest_hashes_and_val_the_next(splitting: SplitRun, seed: int, by_occurrence: bool) -> None:
    splitting.run(single_images("a", 40), HALF, random_seed=seed, split_by_occurrence=by_occurrence)
    name = "coreid" if by_occurrence else "image_path"
    hashes = {split: [hash_text(seed, row[name]) for row in splitting.rows(split)] for split in SPLITS_OF_CLASSES}
    assert {split: len(each) for split, each in hashes.items()} == {"train": 20, "val": 10, "test": 10}
    assert max(hashes["test"]) < min(hashes["val"])
    assert max(hashes["val"]) < min(hashes["train"])


def test_the_splits_of_a_class_do_not_depend_on_other_classes(tmp_path: Path) -> None:
    both, alone = SplitRun(tmp_path / "both"), SplitRun(tmp_path / "alone")
    both.run([*single_images("a", 30), *single_images("b", 30)])
    alone.run(single_images("b", 30))
    for split in SPLITS_OF_CLASSES:
        assert [row for row in both.rows(split) if row["speciesKey"] == "b"] == alone.rows(split)


def test_classes_in_several_batches_are_assigned_exactly(splitting: SplitRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "ROW_GROUP", 500)
    count = 40_000
    labels = [f"k{number % 200:04}" if number % 5 else "big" for number in range(count)]
    images = {
        "coreid": [f"{number:06}" for number in range(count)],
        "identifier": ["u"] * count,
        "image_path": [f"d1/{number:06}.jpg" for number in range(count)],
        "speciesKey": labels,
    }
    pq.write_table(pa.table(images), splitting.clean, row_group_size=10_000)
    splitting.run(None, Fractions(0.2, 0.1))
    sizes = Counter(labels)
    paths = set()
    for split, fraction in (("test", 0.2), ("val", 0.1), ("train", 0.7)):
        with (splitting.splits / f"{split}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert all(row["speciesKey"] == labels[int(row["coreid"])] for row in rows)
        assert Counter(row["speciesKey"] for row in rows) == {label: round(n * fraction) for label, n in sizes.items()}
        paths |= {row["image_path"] for row in rows}
    assert len(paths) == count


def test_mixed_groups_in_several_batches_are_assigned_to_their_own_split(
    splitting: SplitRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "ROW_GROUP", 7)
    images = [image(2 * who + turn, "ab"[turn], recordedBy=f"o{who}") for who in range(200) for turn in range(2)]
    counts = splitting.run(images, USUAL, grouping=Grouping(("observer",)), exact_fractions=False)
    splits = splitting.split_of_images()
    for one, other in zip(images[::2], images[1::2], strict=True):
        assert splits[one["image_path"]] == splits[other["image_path"]]
    assert counts["test"] == pytest.approx(80, abs=30)
    assert counts["val"] == pytest.approx(40, abs=25)
