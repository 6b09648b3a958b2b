import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gbif_webdataset.shards import stage_packs
from gbif_webdataset.shards.create_webdataset import create_shards
from gbif_webdataset.shards.plan_shards import prepare_plan
from gbif_webdataset.shards.shard_chunk import write_groups
from gbif_webdataset.storage.pack_store import PackStore
from tests.support.shard_run import RECIPE, ShardRun, hash_files, sixty_moths

PACK_BYTES = 100_000


@pytest.fixture
def moths(tmp_path: Path) -> ShardRun:
    """60 photos, in packs of two chunks; `expected` has shards of the same photos as files."""
    run = sixty_moths(tmp_path)
    run.create(name="expected")
    images = tmp_path / "images"
    files = sorted(path for path in images.rglob("*") if path.is_file())
    for chunk in range(2):
        with PackStore(images, chunk, PACK_BYTES).writing() as store:
            for path in files[chunk::2]:
                store.put_bytes(path.relative_to(images).as_posix(), path.read_bytes())
                path.unlink()
    return run


def stage_and_write(run: ShardRun, disk: Path, *, without_originals: bool) -> list[str]:
    """Write all groups from staged packs, and complete the shards; what was reported."""
    disk.mkdir(exist_ok=True)
    folders, reports = run.folders(), []
    plan = prepare_plan(folders, RECIPE)
    groups = range(len(plan.groups))
    packs = sorted((run.root / "images").glob("chunk-*/*.tar"))
    with stage_packs.stage_packs(folders, groups, disk, reports.append) as staged:
        for pack in packs if without_originals else ():
            pack.rename(pack.with_suffix(".away"))
        write_groups(staged, plan, groups, 1, lambda done, total: None)
        for pack in packs if without_originals else ():
            pack.with_suffix(".away").rename(pack)
    create_shards(folders, RECIPE, 1, lambda done, total: None)
    assert list(disk.iterdir()) == []
    return reports


def test_shards_are_written_from_the_copies_and_are_the_same(moths: ShardRun, tmp_path: Path) -> None:
    packs = list((tmp_path / "images").glob("chunk-*/*.tar"))
    assert len(packs) > 2
    reports = stage_and_write(moths, tmp_path / "disk", without_originals=True)
    assert len(reports) == 1
    assert reports[0].startswith(f"{len(packs)} packs (")
    assert reports[0].endswith(f" copied to {tmp_path / 'disk'}")
    assert hash_files(tmp_path / "shards") == hash_files(tmp_path / "expected")


@pytest.mark.parametrize("free", [0, 150_000])
def test_only_packs_that_fit_are_copied(
    moths: ShardRun, tmp_path: Path, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    reports = stage_and_write(moths, tmp_path / "disk", without_originals=False)
    assert [report.split()[0] for report in reports] == (["1"] if free else [])
    assert hash_files(tmp_path / "shards") == hash_files(tmp_path / "expected")


def test_a_pack_of_which_little_is_read_is_not_copied(moths: ShardRun, tmp_path: Path) -> None:
    folders = moths.folders()
    plan = prepare_plan(folders, RECIPE)
    smallest = min(range(len(plan.groups)), key=lambda group: plan.groups[group].samples)
    assert plan.groups[smallest].samples <= 4
    reports: list[str] = []
    with stage_packs.stage_packs(folders, [smallest], tmp_path, reports.append) as staged:
        copied = {path.stat().st_size for path in tmp_path.glob(".tmp-packs-*/*/*.tar")} if staged.staged else set()
    assert len(copied) < len(list((tmp_path / "images").glob("chunk-*/*.tar"))) / 2


def test_a_pack_that_cannot_be_copied_is_read_where_it_is(
    moths: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"a part of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    reports = stage_and_write(moths, tmp_path / "disk", without_originals=False)
    assert reports[0].startswith("0 packs")
    assert hash_files(tmp_path / "shards") == hash_files(tmp_path / "expected")


def test_a_disk_that_another_process_fills_meanwhile_keeps_its_reserve(
    moths: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([10_000_000, *[2_000_000] * 1000])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free)))
    reports = stage_and_write(moths, tmp_path / "disk", without_originals=False)
    assert reports[0].startswith("0 packs")
    assert hash_files(tmp_path / "shards") == hash_files(tmp_path / "expected")


def test_without_a_disk_packs_are_read_where_they_are(moths: ShardRun, tmp_path: Path) -> None:
    folders, reports = moths.folders(), []
    plan = prepare_plan(folders, RECIPE)
    with stage_packs.stage_packs(folders, range(len(plan.groups)), tmp_path / "none", reports.append) as staged:
        assert staged == folders
    assert reports == [f"no pack is copied to {tmp_path / 'none'}: No such file or directory"]


def test_a_pack_that_lost_its_bytes_is_not_copied(moths: ShardRun, tmp_path: Path) -> None:
    folders, reports = moths.folders(), []
    plan = prepare_plan(folders, RECIPE)
    packs = sorted((tmp_path / "images").glob("chunk-*/*.tar"))
    packs[0].write_bytes(b"")
    (tmp_path / "disk").mkdir()
    with stage_packs.stage_packs(folders, range(len(plan.groups)), tmp_path / "disk", reports.append):
        pass
    assert reports[0].startswith(f"{len(packs) - 1} packs (")


def test_an_image_that_differs_in_a_copy_is_read_from_its_pack(
    moths: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(source: Path, target: Path) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:20_000])

    monkeypatch.setattr(shutil, "copyfile", damage)
    stage_and_write(moths, tmp_path / "disk", without_originals=False)
    assert hash_files(tmp_path / "shards") == hash_files(tmp_path / "expected")


STAGE = """
import os, signal, sys
from pathlib import Path
from gbif_webdataset.shards.plan_shards import read_plan
from gbif_webdataset.shards.shard_files import ShardFolders
from gbif_webdataset.shards.stage_packs import stage_packs
*folders, disk = map(Path, sys.argv[1:])
groups = range(len(read_plan(folders[2]).groups))
with stage_packs(ShardFolders(*folders), groups, disk, print):
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_the_copies_of_a_killed_process_are_deleted_and_never_read(moths: ShardRun, tmp_path: Path) -> None:
    folders = moths.folders()
    prepare_plan(folders, RECIPE)
    disk = tmp_path / "disk"
    disk.mkdir()
    paths = (folders.splits, folders.images, folders.shards, folders.scratch, disk)
    ended = subprocess.run([sys.executable, "-c", STAGE, *map(str, paths)], check=False)
    assert ended.returncode == -signal.SIGTERM
    [left] = disk.iterdir()
    for copy in left.rglob("*.tar"):
        copy.write_bytes(b"stale" * 1000)
    stage_and_write(moths, disk, without_originals=True)
    assert hash_files(tmp_path / "shards") == hash_files(tmp_path / "expected")
