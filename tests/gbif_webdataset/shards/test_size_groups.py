"""How full the shards are, and how many there are."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gbif_webdataset.shards.plan_shards import prepare_plan
from tests.support.shard_run import RECIPE, SPLITS, ShardRun, encoded, photo, sixty_moths


@pytest.fixture
def run(tmp_path: Path) -> ShardRun:
    return ShardRun(tmp_path)


def read_lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def count_by_shard(run: ShardRun, split: str) -> list[int]:
    found = read_lines(run.root / "shards/shards.csv")
    return [int(line["samples"]) for line in found if line["split"] == split]


@pytest.fixture(scope="module")
def mixed_photos(tmp_path_factory: pytest.TempPathFactory) -> ShardRun:
    """1,000 photos of several sizes and qualities in random order."""
    run = ShardRun(tmp_path_factory.mktemp("mixed"))
    rng = np.random.default_rng(3)
    sources = [
        encoded(photo(*size, number), quality=int(rng.integers(60, 97)))
        for number, size in enumerate([(64, 48), (100, 75), (160, 120), (240, 180), (320, 240), (90, 200)] * 4)
    ]
    for number in range(1_000):
        run.add("train", f"ds/{number}.jpg", sources[int(rng.integers(len(sources)))])
    run.write()
    return run


@pytest.mark.parametrize(
    ("shorter", "limit"), [(0, 300_000), (0, 1_000_000), (100, 300_000), (100, 1_000_000), (60, 500_000)]
)
def test_shards_are_full_to_four_fifths_on_average(mixed_photos: ShardRun, shorter: int, limit: int) -> None:
    counts = mixed_photos.create(replace(RECIPE, resize_min_size=shorter, max_shard_size=limit))
    sizes = [path.stat().st_size for path in mixed_photos.shards()]
    assert max(sizes) <= limit
    assert counts.shards == len(sizes) >= 2
    last = sizes.pop()  # has only the remaining samples
    assert sum(sizes) / len(sizes) >= 0.8 * limit
    assert (sum(sizes) + last) / (len(sizes) + 1) >= 0.6 * limit


@pytest.mark.parametrize("min_shards", [2, 3, 5, 8])
def test_each_split_has_min_shards_shards_of_equal_numbers_of_samples(tmp_path: Path, min_shards: int) -> None:
    moths = sixty_moths(tmp_path)
    moths.create(replace(RECIPE, max_shard_size=10_000_000, min_shards=min_shards))
    for split, samples in (("train", 44), ("val", 8), ("test", 8)):
        found = count_by_shard(moths, split)
        assert len(found) == min_shards
        assert sum(found) == samples
        assert max(found) - min(found) <= 1


def test_a_split_with_fewer_samples_than_min_shards_ignores_min_shards(tmp_path: Path) -> None:
    moths = sixty_moths(tmp_path)
    moths.create(replace(RECIPE, max_shard_size=10_000_000, min_shards=9))
    assert [len(count_by_shard(moths, split)) for split in SPLITS] == [9, 1, 1]


def test_a_split_that_fills_more_than_min_shards_is_cut_as_without_it(tmp_path: Path) -> None:
    moths = sixty_moths(tmp_path)
    moths.create(replace(RECIPE, max_shard_size=40_960))
    plain = moths.shards()
    moths.create(replace(RECIPE, max_shard_size=40_960, min_shards=2), name="two")
    names = {path.name for path in plain if path.parent.name == "train"}
    assert len(names) > 4
    assert {path.name for path in moths.shards("two") if path.parent.name == "train"} == names
    assert len([path for path in moths.shards("two") if path.parent.name == "test"]) >= 2


def test_min_shards_is_met_if_groups_have_several_shards(run: ShardRun) -> None:
    data = encoded(photo(64, 48, 1))
    for number in range(520):
        run.add("train", f"ds/{number}.jpg", data)
    for number in range(60):
        run.add("val", f"ds/v{number}.jpg", data)
    run.write()
    recipe = replace(RECIPE, max_shard_size=10_240, min_shards=24)
    groups = prepare_plan(run.folders(), recipe).groups
    run.create(recipe)
    assert len(groups) < len(run.shards())
    assert len(count_by_shard(run, "val")) >= 24
    assert len(count_by_shard(run, "train")) >= 24
