"""How full the shards are, how many, and what is in them."""

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.shard_run import RECIPE, SPLITS, Dataset, encoded, photo, sixty_moths


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def samples_by_shard(dataset: Dataset, split: str) -> list[int]:
    found = lines(dataset.root / "shards/shards.csv")
    return [int(line["samples"]) for line in found if line["split"] == split]


def mixed(dataset: Dataset, count: int) -> Dataset:
    """Photos of all sizes and qualities, as they come."""
    rng = np.random.default_rng(3)
    sources = [
        encoded(photo(*size, number), quality=int(rng.integers(60, 97)))
        for number, size in enumerate([(64, 48), (100, 75), (160, 120), (240, 180), (320, 240), (90, 200)] * 4)
    ]
    for number in range(count):
        dataset.add("train", f"ds/{number}.jpg", sources[int(rng.integers(len(sources)))])
    dataset.write()
    return dataset


@pytest.mark.parametrize(
    ("shorter", "limit"), [(0, 300_000), (0, 1_000_000), (100, 300_000), (100, 1_000_000), (60, 500_000)]
)
def test_shards_are_full_to_four_fifths_on_average(dataset: Dataset, shorter: int, limit: int) -> None:
    mixed(dataset, 1_000)
    outcome = dataset.create(replace(RECIPE, resize_min_size=shorter, max_shard_size=limit), workers=2)
    sizes = [path.stat().st_size for path in dataset.shards()]
    assert max(sizes) <= limit
    assert outcome.shards == len(sizes) >= 2
    last = sizes.pop()  # holds what was left
    assert sum(sizes) / len(sizes) >= 0.8 * limit
    assert (sum(sizes) + last) / (len(sizes) + 1) >= 0.6 * limit


@pytest.mark.parametrize("least", [2, 3, 5, 8])
def test_each_split_has_the_shards_that_are_asked_for(tmp_path: Path, least: int) -> None:
    moths = sixty_moths(tmp_path)
    moths.create(replace(RECIPE, max_shard_size=10_000_000, min_shards=least))
    for split, samples in (("train", 44), ("val", 8), ("test", 8)):
        found = samples_by_shard(moths, split)
        assert len(found) == least
        assert sum(found) == samples
        assert max(found) - min(found) <= 1


def test_a_split_with_fewer_samples_than_shards_asked_for_is_left_as_it_is(tmp_path: Path) -> None:
    moths = sixty_moths(tmp_path)
    moths.create(replace(RECIPE, max_shard_size=10_000_000, min_shards=9))
    assert [len(samples_by_shard(moths, split)) for split in SPLITS] == [9, 1, 1]


def test_what_fills_more_shards_than_asked_for_is_cut_as_ever(tmp_path: Path) -> None:
    moths = sixty_moths(tmp_path)
    moths.create(replace(RECIPE, max_shard_size=40_960))
    plain = moths.shards()
    moths.create(replace(RECIPE, max_shard_size=40_960, min_shards=2), name="two")
    names = {path.name for path in plain if path.parent.name == "train"}
    assert len(names) > 4
    assert {path.name for path in moths.shards("two") if path.parent.name == "train"} == names
    assert len([path for path in moths.shards("two") if path.parent.name == "test"]) >= 2


def test_min_shards_holds_where_groups_hold_several(dataset: Dataset) -> None:
    data = encoded(photo(64, 48, 1))
    for number in range(900):
        dataset.add("train", f"ds/{number}.jpg", data)
    for number in range(100):
        dataset.add("val", f"ds/v{number}.jpg", data)
    dataset.write()
    dataset.create(replace(RECIPE, max_shard_size=10_240, min_shards=40))
    assert len(samples_by_shard(dataset, "val")) >= 40
    assert len(samples_by_shard(dataset, "train")) >= 40


def test_classes_csv_counts_the_samples_of_each_class(tmp_path: Path) -> None:
    moths = sixty_moths(tmp_path)
    moths.create()
    counted: Counter[tuple[str, str]] = Counter()
    for split in SPLITS:
        for sample in moths.samples(split):
            counted[split, sample["cls"].decode()] += 1
    found = lines(moths.root / "shards/classes.csv")
    assert {(line["split"], line["class"]): int(line["samples"]) for line in found} == counted
    assert all(line["label"] == f"label {line['class']}" for line in found)
    assert [(line["split"], int(line["class"])) for line in found] == sorted(
        ((split, int(number)) for split, number in counted), key=lambda one: (SPLITS.index(one[0]), one[1])
    )


def test_every_shard_has_its_index(tmp_path: Path) -> None:
    moths = sixty_moths(tmp_path)
    moths.create(replace(RECIPE, max_shard_size=60_000, columns_to_json=("country",)))
    for path in moths.shards():
        head, *rows = path.with_suffix(".idx").read_text().splitlines()
        assert head == f"v1.2 {len(rows)}"
        data = path.read_bytes()
        for row in rows:
            fields = row.split(" ")
            members = {fields[at]: data[int(fields[at + 1]) :][: int(fields[at + 2])] for at in range(0, 12, 4)}
            assert members["jpg"][:2] == b"\xff\xd8"
            assert members["cls"].isdigit()
            assert members["json"] == b'{"country":"NA"}'
