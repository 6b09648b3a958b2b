"""The files in the folder of the shards: what is missing of a stopped run, final names, deleting older shards."""

from pathlib import Path

import pytest

from gbif_webdataset.shards.plan_shards import Plan, prepare_plan
from gbif_webdataset.shards.shard_chunk import write_group
from gbif_webdataset.shards.shard_files import (
    PUBLISHED_FILES,
    GroupRecord,
    Part,
    delete_shards,
    delete_temporary_files,
    delete_temporary_parts,
    find_unwritten_groups,
    name_shards,
)
from gbif_webdataset.shards.size_groups import Group
from gbif_webdataset.storage.atomic import temporary_file
from tests.support.shard_run import RECIPE, ShardRun, sixty_moths


@pytest.fixture
def moths(tmp_path: Path) -> ShardRun:
    return sixty_moths(tmp_path)


@pytest.fixture
def plan(moths: ShardRun) -> Plan:
    """The plan of moths; all groups are written."""
    plan = prepare_plan(moths.folders(), RECIPE)
    assert find_unwritten_groups(moths.root / "shards", plan.groups) == list(range(len(plan.groups)))
    for group in range(len(plan.groups)):
        write_group(moths.folders(), plan.digest, group, lambda samples: None)
    return plan


def test_parts_are_numbered_by_split_in_the_order_of_the_groups() -> None:
    def record(*files: str) -> GroupRecord:
        return GroupRecord([Part(f"{file}.tar", 1, 10_240, "", f"{file}.idx", 20) for file in files])

    groups = [Group("train", 2), Group("train", 1), Group("test", 1)]
    shards = list(name_shards(groups, [record("a", "b"), record("c"), record("d")]))
    assert [(shard.name, shard.part.file) for shard in shards] == [
        ("train/train-000000.tar", "a.tar"),
        ("train/train-000001.tar", "b.tar"),
        ("train/train-000002.tar", "c.tar"),
        ("test/test-000000.tar", "d.tar"),
    ]
    assert [rename.name for rename in shards[0].renames] == ["train/train-000000.idx", "train/train-000000.tar"]


@pytest.mark.parametrize("ending", ["-000.tar", "-000.idx", ".json"])
def test_a_group_is_unwritten_if_a_file_of_it_is_missing(moths: ShardRun, plan: Plan, ending: str) -> None:
    folder = moths.root / "shards"
    assert find_unwritten_groups(folder, plan.groups) == []
    (folder / f".parts/group-000001{ending}").unlink()
    assert find_unwritten_groups(folder, plan.groups) == [1]


@pytest.mark.parametrize("content", [b"", bytes(99), b"\xff", b"[]", b"{}", b'{"parts": [{}], "transforms": {}}'])
def test_a_group_with_a_damaged_record_is_unwritten(moths: ShardRun, plan: Plan, content: bytes) -> None:
    (moths.root / "shards/.parts/group-000001.json").write_bytes(content)
    assert find_unwritten_groups(moths.root / "shards", plan.groups) == [1]


def test_a_group_whose_record_has_changed_is_unwritten(moths: ShardRun, plan: Plan) -> None:
    record = moths.root / "shards/.parts/group-000000.json"
    record.write_text(record.read_text().replace('"samples": ', '"samples": 1'))
    assert find_unwritten_groups(moths.root / "shards", plan.groups) == [0]


def test_a_group_is_unwritten_if_a_part_is_cut(moths: ShardRun, plan: Plan) -> None:
    part = moths.root / "shards/.parts/group-000001-000.tar"
    part.write_bytes(part.read_bytes()[:5000])
    assert find_unwritten_groups(moths.root / "shards", plan.groups) == [1]


def test_a_group_is_written_if_its_parts_have_their_final_names(moths: ShardRun, plan: Plan) -> None:
    folder = moths.root / "shards"
    (folder / "train").mkdir()
    (folder / ".parts/group-000000-000.tar").rename(folder / "train/train-000000.tar")
    assert find_unwritten_groups(folder, plan.groups) == []
    (folder / "train/train-000000.tar").write_bytes(b"cut")
    assert find_unwritten_groups(folder, plan.groups) == [0]


def test_older_shards_are_deleted_with_everything_that_describes_them_and_nothing_else(moths: ShardRun) -> None:
    moths.create()
    folder = moths.root / "shards"
    for name in (*PUBLISHED_FILES, ".tmp-left", "notes.txt", "train/mine.tar"):
        (folder / name).write_text("text")
    delete_shards(folder)
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(files) == ["notes.txt", "train/mine.tar"]
    assert list((folder / ".parts").iterdir()) == []


def test_temporary_files_of_killed_processes_are_deleted_and_those_of_running_ones_kept(tmp_path: Path) -> None:
    parts = tmp_path / ".parts"
    with temporary_file(parts / "group-000001-000.tar") as running, temporary_file(tmp_path / "shards.csv") as other:
        for name in (".tmp-group-000001-001.tar-x", ".tmp-group-000001.json-x", ".tmp-group-000002-000.tar-x"):
            (parts / name).write_bytes(b"x")
        delete_temporary_parts(tmp_path, 1)
        assert {path.name for path in parts.iterdir()} == {running.name, ".tmp-group-000002-000.tar-x"}
        delete_temporary_files(tmp_path)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other, running]
