"""The plan of the shards: what it depends on, and when it is used again."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.errors import DamagedFileError, MissingPieceError
from gbif_webdataset.shards.plan_shards import find_plan, prepare_plan, read_plan, read_samples
from tests.support.shard_run import RECIPE, ShardRun, hash_files, sixty_moths


@pytest.fixture
def moths(tmp_path: Path) -> ShardRun:
    return sixty_moths(tmp_path)


def test_the_groups_of_a_plan_have_every_sample_once(moths: ShardRun) -> None:
    plan = prepare_plan(moths.folders(), RECIPE)
    assert len(plan.groups) > 3
    found: Counter[str] = Counter()
    for number, group in enumerate(plan.groups):
        samples = list(read_samples(moths.root / "shards", number))
        assert len(samples) == group.samples
        assert {sample.image_path for sample in samples} <= {row["image_path"] for row in moths.rows[group.split]}
        found.update(sample.image_path for sample in samples)
    assert found == Counter(row["image_path"] for rows in moths.rows.values() for row in rows)
    assert plan.samples == {split: len(rows) for split, rows in moths.rows.items()}


def test_a_plan_does_not_depend_on_the_order_of_rows(moths: ShardRun) -> None:
    plan = prepare_plan(moths.folders(), RECIPE)
    moths.write(order=-1)
    other = prepare_plan(moths.folders("other"), RECIPE)
    assert replace(other, digest=plan.digest) == plan
    parquet = ".parts/plan.parquet"
    assert hash_files(moths.root / "other")[parquet] == hash_files(moths.root / "shards")[parquet]


def test_a_plan_is_used_again_for_the_same_recipe_and_replaced_for_another(moths: ShardRun) -> None:
    folders = moths.folders()
    prepare_plan(folders, RECIPE)
    inode = (folders.shards / ".parts/plan.json").stat().st_ino
    prepare_plan(folders, RECIPE)
    assert (folders.shards / ".parts/plan.json").stat().st_ino == inode
    other = replace(RECIPE, seed=43)
    assert find_plan(folders.splits, folders.shards, other) is None
    assert prepare_plan(folders, other) == find_plan(folders.splits, folders.shards, other)


def test_a_plan_of_an_older_version_counts_as_none(moths: ShardRun) -> None:
    folders = moths.folders()
    prepare_plan(folders, RECIPE)
    path = folders.shards / ".parts/plan.json"
    plan = json.loads(path.read_text())
    plan["look"] = plan.pop("image_settings")
    path.write_text(json.dumps(plan))
    assert read_plan(folders.shards) is None
    assert prepare_plan(folders, RECIPE).groups


def test_a_missing_split_is_named_and_older_shards_remain(moths: ShardRun) -> None:
    moths.create()
    before = hash_files(moths.root / "shards")
    (moths.root / "splits/val.csv").unlink()
    with pytest.raises(MissingPieceError, match=r"val\.csv.*run SplitDataset again"):
        prepare_plan(moths.folders(), RECIPE)
    assert hash_files(moths.root / "shards") == before


@pytest.mark.parametrize("content", [b"", bytes(99), b"\xff", b"[]", b"{}", b'{"digest": "a"}'])
def test_a_damaged_plan_counts_as_none(moths: ShardRun, content: bytes) -> None:
    folders = moths.folders()
    plan = prepare_plan(folders, RECIPE)
    (folders.shards / ".parts/plan.json").write_bytes(content)
    assert read_plan(folders.shards) is None
    assert prepare_plan(folders, RECIPE) == plan


def test_a_plan_whose_numbers_or_samples_have_changed_is_made_again(moths: ShardRun) -> None:
    folders = moths.folders()
    plan = prepare_plan(folders, RECIPE)
    path, samples = (folders.shards / ".parts" / name for name in ("plan.json", "plan.parquet"))
    path.write_text(path.read_text().replace('"samples": 1', '"samples": 2'))
    assert read_plan(folders.shards) is None
    prepare_plan(folders, RECIPE)
    whole = samples.read_bytes()
    for damaged in (bytes(len(whole)), whole[:-9], b""):
        samples.write_bytes(damaged)
        with pytest.raises(DamagedFileError):
            list(read_samples(folders.shards, 0))
        assert prepare_plan(folders, RECIPE) == plan
        assert samples.read_bytes() == whole
