"""Writing groups of samples: by threads, by processes, by one that is killed, on a machine with other codecs."""

import multiprocessing
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.errors import DatasetError, MissingPieceError, SelectionError
from gbif_webdataset.shards import shard_chunk
from gbif_webdataset.shards.create_webdataset import finish_shards
from gbif_webdataset.shards.plan_shards import prepare_plan
from gbif_webdataset.shards.shard_chunk import write_group, write_groups
from gbif_webdataset.shards.shard_files import ShardFolders, find_unwritten_groups
from tests.support.shard_run import RECIPE, ShardRun, encoded, hash_files, photo, sixty_moths

FEW_GROUPS = replace(RECIPE, max_shard_size=200_000, resize_min_size=80, columns_to_json=("country", "label"))


@pytest.fixture
def moths(tmp_path: Path) -> ShardRun:
    return sixty_moths(tmp_path)


@pytest.mark.parametrize("workers", [2, 5])
def test_the_bytes_are_the_same_if_several_threads_write_a_group(moths: ShardRun, workers: int) -> None:
    moths.create(FEW_GROUPS, 1, "one-thread")
    plan = prepare_plan(moths.folders(), FEW_GROUPS)
    for group in range(len(plan.groups)):
        write_group(moths.folders(), plan.digest, group, lambda samples: None, threads=workers)
    finish_shards(moths.folders())
    assert hash_files(moths.root / "shards") == hash_files(moths.root / "one-thread")


def test_only_the_given_groups_are_written_and_counted(moths: ShardRun) -> None:
    plan = prepare_plan(moths.folders(), RECIPE)
    some = range(1, len(plan.groups), 2)
    total = sum(plan.groups[group].samples for group in some)
    calls: list[tuple[int, int]] = []
    write_groups(moths.folders(), plan, some, 1, lambda done, total: calls.append((done, total)))
    assert (calls[0], calls[-1]) == ((0, total), (total, total))
    assert find_unwritten_groups(moths.root / "shards", plan.groups) == list(range(0, len(plan.groups), 2))
    calls.clear()
    write_groups(moths.folders(), plan, some, 1, lambda done, total: calls.append((done, total)))
    assert calls == [(total, total)]


def write_quietly(folders: ShardFolders, digest: str, group: int) -> None:
    write_group(folders, digest, group, lambda samples: None)


@pytest.mark.slow
def test_groups_written_in_any_order_by_separate_processes_give_the_same_bytes(moths: ShardRun) -> None:
    moths.create(FEW_GROUPS)
    folders = moths.folders("by-group")
    plan = prepare_plan(folders, FEW_GROUPS)
    groups = find_unwritten_groups(folders.shards, plan.groups)
    assert len(groups) >= 3
    random.Random(1).shuffle(groups)
    context = multiprocessing.get_context("spawn")
    half = len(groups) // 2
    for some in (groups[:half], groups[half:]):
        with pytest.raises(MissingPieceError, match=r"group \d of the shards is missing; run CreateWebDataset again"):
            finish_shards(folders)
        processes = [context.Process(target=write_quietly, args=(folders, plan.digest, group)) for group in some]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * len(processes)
    finish_shards(folders)
    assert hash_files(folders.shards) == hash_files(moths.root / "shards")


WRITER = """
import sys
from pathlib import Path
from gbif_webdataset.shards.shard_chunk import write_group
from gbif_webdataset.shards.shard_files import ShardFolders
folders = ShardFolders(*(Path(sys.argv[1]) / name for name in ("splits", "images", "shards", "scratch")))
write_group(folders, sys.argv[2], 0, lambda samples: print(samples, flush=True))
"""


def test_a_writer_that_is_killed_leaves_no_file_with_a_final_name(tmp_path: Path) -> None:
    run = ShardRun(tmp_path)
    data = encoded(photo(640, 480, 1), quality=95)
    for number in range(200):
        run.add("train", f"ds/{number}.jpg", data)
    run.write()
    recipe = replace(RECIPE, max_shard_size=100_000_000, resize_min_size=470)
    folder = tmp_path / "shards"
    plan = prepare_plan(run.folders(), recipe)
    before = sorted(path.name for path in (folder / ".parts").iterdir())
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{WRITER}", str(tmp_path), plan.digest]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert int(writer.stdout.readline()) > 0  # some samples are in its tar
    writer.kill()
    writer.wait()
    time.sleep(0.1)
    left = {path.name for path in (folder / ".parts").iterdir()}
    assert sorted(name for name in left if not name.startswith(".tmp-")) == before
    assert len(left) > len(before)
    assert not list(folder.glob("*/*.tar"))
    assert not list(folder.glob("*/*.idx"))
    assert not (folder / "shards.csv").exists()
    write_group(
        run.folders(), plan.digest, 0, lambda samples: None
    )  # as an element of a Slurm job does, which makes no plan
    assert not list(folder.rglob(".tmp-*"))
    assert run.create(recipe).samples["train"] == 200


def test_shards_of_two_decoders_are_never_mixed(moths: ShardRun, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, resize_min_size=60)
    folders = moths.folders()
    plan = prepare_plan(folders, recipe)
    write_group(folders, plan.digest, 0, lambda samples: None)
    monkeypatch.setattr(shard_chunk.jpeg_decode, "CODECS", "another decoder")
    problem = r"started with simplejpeg.*; this machine has another decoder, which enc.*or delete \S+/shards/\.parts to"
    with pytest.raises(DatasetError, match=problem):
        write_group(folders, plan.digest, 1, lambda samples: None)
    monkeypatch.setattr("gbif_webdataset.shards.recipe.CODECS", "another decoder")
    new = prepare_plan(folders, recipe)
    assert new.digest != plan.digest
    assert len(find_unwritten_groups(folders.shards, new.groups)) == len(new.groups)


def test_a_sample_larger_than_a_shard_is_named(moths: ShardRun) -> None:
    error = r"--CreateWebDataset-max-shard-size 10240: a shard with only images/ds.*\.jpg has .*; raise this value"
    with pytest.raises(SelectionError, match=error):
        moths.create(replace(RECIPE, max_shard_size=10_240))
    assert not moths.shards()


def test_a_part_that_reads_back_differently_is_an_error(moths: ShardRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync_to_a_bad_disk(path: Path) -> None:
        if path.name.startswith(".tmp-group") and path.stat().st_size > 10_000:
            data = bytearray(path.read_bytes())
            data[5_000] ^= 1
            path.write_bytes(data)

    plan = prepare_plan(moths.folders(), RECIPE)
    monkeypatch.setattr(shard_chunk, "sync", sync_to_a_bad_disk)
    with pytest.raises(MissingPieceError, match=r"group-000000-000\.tar: (differs|cannot be read).*check the disk"):
        write_group(moths.folders(), plan.digest, 0, lambda samples: None)
    assert not list((moths.root / "shards/.parts").glob("group-*"))


def test_a_process_with_an_older_plan_writes_nothing(moths: ShardRun) -> None:
    old = prepare_plan(moths.folders(), RECIPE)
    new = prepare_plan(moths.folders(), replace(RECIPE, seed=1))
    with pytest.raises(MissingPieceError, match=r"the plan of the shards was made again; run the same command again$"):
        write_groups(moths.folders(), old, range(len(old.groups)), 1, lambda done, total: None)
    assert find_unwritten_groups(moths.root / "shards", new.groups) == list(range(len(new.groups)))
    assert not list((moths.root / "shards").rglob("*.tar"))


def test_groups_whose_tars_are_elsewhere_are_written_again(moths: ShardRun, tmp_path: Path) -> None:
    to = f"file://{tmp_path}/target"
    plan = prepare_plan(moths.folders(), RECIPE)
    write_groups(moths.folders(to=to), plan, [0], 1, lambda done, total: None)
    assert 0 in find_unwritten_groups(moths.root / "shards", plan.groups)
    assert 0 not in find_unwritten_groups(moths.root / "shards", plan.groups, is_stored=True)
    assert moths.create().shards == len(moths.shards())
