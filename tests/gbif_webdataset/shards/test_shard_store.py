"""Shards at an address: their bytes, what is on the local disk, kills, faults, and whose shards are there."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random

import pytest

from gbif_webdataset.errors import MissingPieceError, ParameterError
from gbif_webdataset.remote import object_store
from gbif_webdataset.remote.address_claim import CLAIM, OWNER, read_claim
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store import Store, open_store
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.shards import create_webdataset, shard_chunk, shard_store
from gbif_webdataset.shards.plan_shards import prepare_plan
from gbif_webdataset.shards.shard_chunk import write_groups
from gbif_webdataset.shards.shard_files import PARTS, find_unwritten_groups
from gbif_webdataset.shards.shard_store import ShardStore, check_address, parse_address
from tests.support.datasets import ROOT
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.gcs_front import GcsFront
from tests.support.object_servers import (
    BUCKET,
    S3_ENVIRONMENT,
    create_container,
    make_azurite_key,
    run_azurite,
    run_gcs_emulator,
    run_rclone,
)
from tests.support.shard_run import RECIPE, ShardRun, hash_files, sixty_moths

pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
boto3 = pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")


@pytest.fixture(autouse=True)
def environment(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto, and as many processes as workers although the datasets are small."""
    for name, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": moto}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shard_chunk, "SAMPLES_PER_PROCESS", 1)


@pytest.fixture
def to(request: pytest.FixtureRequest) -> str:
    """An address that no other test writes to."""
    return f"s3://{BUCKET}/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"


@pytest.fixture
def moths(tmp_path: Path) -> ShardRun:
    return sixty_moths(tmp_path)


def store_at(to: str) -> Store:
    return open_store(StoreAddress.parse(to))


def hash_objects(to: str) -> dict[str, str]:
    """The SHA-256 of every object, by name, without OWNER, which is there."""
    store = store_at(to)
    hashes = {name: hashlib.sha256(store.read(name) or b"").hexdigest() for name in store.list_sizes()}
    del hashes[OWNER]
    return hashes


def hash_shards(run: ShardRun, name: str = "local") -> dict[str, str]:
    """The SHA-256 of every tar and every index for DALI of a folder."""
    files = hash_files(run.root / name)
    return {path: value for path, value in files.items() if path.endswith((".tar", ".idx")) and "tar.idx" not in path}


def check_as_local(run: ShardRun, to: str) -> None:
    """Everything is as in a local run, but the tars are at the address only."""
    if not (run.root / "local").exists():
        run.create(name="local")
    assert hash_objects(to) == hash_shards(run)
    local, files = hash_files(run.root / "local"), hash_files(run.root / "shards")
    assert files == {path: value for path, value in local.items() if not path.endswith(".tar")}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_objects_are_those_of_a_local_run(moths: ShardRun, to: str, workers: int) -> None:
    counts = moths.create(workers=workers, to=to)
    check_as_local(moths, to)
    assert counts == moths.create(name="local")


def test_a_folder_gets_the_same_files(moths: ShardRun, tmp_path: Path) -> None:
    to = f"file://{tmp_path}/target"
    moths.create(to=to)
    check_as_local(moths, to)
    assert {path.name for path in (tmp_path / "target").iterdir()} == {"train", "val", "test", OWNER}


def test_rclone_gets_the_same_objects(moths: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_rclone(tmp_path) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        to = f"s3://{BUCKET}/moths"
        moths.create(to=to)
        check_as_local(moths, to)


def test_azure_gets_the_same_objects(moths: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", make_azurite_key())
    with run_azurite(tmp_path) as url:
        create_container(url)
        check_other_server(moths, StoreAddress.parse(f"az://{BUCKET}/moths", url))


def test_google_gets_the_same_objects(moths: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token")
    with run_gcs_emulator(tmp_path) as url, GcsFront(url) as front:
        check_other_server(moths, StoreAddress.parse(f"gs://{BUCKET}/moths", front.url))


def check_other_server(moths: ShardRun, address: StoreAddress) -> None:
    """Shards are written twice, and the second ones replace the first ones."""
    for seed in (1, RECIPE.seed):
        recipe = replace(RECIPE, seed=seed, to=address.address)
        create_webdataset.create_shards(replace(moths.folders(), to=address), recipe, 1, lambda done, total: None)
    moths.create(name="local")
    store = open_store(address)
    hashes = {name: hashlib.sha256(store.read(name) or b"").hexdigest() for name in store.list_sizes()}
    del hashes[OWNER]
    assert hashes == hash_shards(moths)


def test_at_most_one_tar_is_on_the_local_disk_while_groups_are_written(
    moths: ShardRun, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    put = ShardStore.put_part

    def count_and_put(self: ShardStore, path: Path, *part: object) -> None:
        tars = [file for file in (moths.root / "shards").rglob("*") if ".tar" in file.name]
        found.append(tars == [path])
        put(self, path, *part)  # type: ignore[arg-type]

    monkeypatch.setattr(ShardStore, "put_part", count_and_put)
    moths.create(to=to)
    assert all(found)
    assert len(found) == len(hash_shards(moths, "shards"))


def count_tars(moths: ShardRun) -> int:
    """The tars on the local disk, temporary ones included."""
    names = [path.name for path in (moths.root / "shards").rglob("*")]
    return sum(re.search(r"\.tar(-\w+)?$", name) is not None for name in names)


def test_two_processes_have_at_most_two_tars_on_the_local_disk_also_after_a_kill(
    moths: ShardRun, to: str, proxy: FaultProxy
) -> None:
    process: list[subprocess.Popen[bytes]] = []
    found = []

    def count(method: str, path: str) -> None:
        if method == "PUT" and "/.parts/group" in path:
            found.append(count_tars(moths))

    def count_and_kill(method: str, path: str) -> None:
        count(method, path)
        if process and len(found) == 4:
            process[0].kill()

    proxy.before = count_and_kill
    process.append(start(moths.root, 2, to))
    assert process[0].wait(60) == -signal.SIGKILL
    found.append(count_tars(moths))
    proxy.before = count
    moths.create(workers=2, to=to)
    assert max(found) == 2
    assert count_tars(moths) == 0
    check_as_local(moths, to)


# Killed and started again

ELEMENT = """
import sys
from pathlib import Path
from gbif_webdataset.shards.plan_shards import read_plan
from gbif_webdataset.shards.shard_chunk import write_groups
from tests.support.shard_run import ShardRun
folders = ShardRun(Path(sys.argv[1])).folders(to=sys.argv[3])
plan = read_plan(folders.shards)
write_groups(folders, plan, range(0, len(plan.groups), 2), int(sys.argv[2]), lambda done, total: None)
"""


def test_elements_that_are_killed_again_and_again_leave_one_tar_on_the_local_disk(
    moths: ShardRun, to: str, proxy: FaultProxy
) -> None:
    plan = prepare_plan(moths.folders(to=to), replace(RECIPE, to=to))
    for _ in range(3):
        process: list[subprocess.Popen[bytes]] = []

        def kill(method: str, path: str, process: list[subprocess.Popen[bytes]] = process) -> None:
            if process and "/.parts/group" in path:
                process[0].kill()

        proxy.before = kill
        process.append(start(moths.root, 1, to, ELEMENT))
        assert process[0].wait(60) == -signal.SIGKILL
        assert count_tars(moths) == 1
    proxy.before = lambda *_: None
    assert start(moths.root, 1, to, ELEMENT).wait(60) == 0
    assert count_tars(moths) == 0
    odd = list(range(1, len(plan.groups), 2))
    assert find_unwritten_groups(moths.root / "shards", plan.groups, is_stored=True) == odd
    moths.create(to=to)
    check_as_local(moths, to)


SCRIPT = """
import signal
import sys
from pathlib import Path
from gbif_webdataset.shards import shard_chunk
from tests.support.shard_run import ShardRun
shard_chunk.SAMPLES_PER_PROCESS = 1
signal.signal(signal.SIGINT, signal.default_int_handler)  # also if pytest runs in the background
ShardRun(Path(sys.argv[1])).create(workers=int(sys.argv[2]), to=sys.argv[3])
"""
MOMENTS = [
    ("PUT", OWNER, 1, 1),
    ("PUT", r"\.parts/group", 1, 1),
    ("PUT", r"\.parts/group", 4, 2),
    ("HEAD", r"\.parts/group", 3, 1),
    ("GET", "list-type", 2, 1),  # all parts are there
    ("PUT", r"train/train-000000\.tar", 1, 1),
    ("PUT", r"/\w+-00000\d\.idx", 3, 1),
    ("GET", "list-type", 3, 2),  # all shards have their names
    ("POST", "delete", 1, 1),
]


def start(root: Path, workers: int, to: str, script: str = SCRIPT) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-c", script, str(root), str(workers), to]
    return subprocess.Popen(command, env=environment, cwd=root)


@pytest.mark.parametrize(("method", "path", "number", "workers"), MOMENTS)
def test_a_killed_run_that_is_repeated_gives_the_objects_of_an_undisturbed_run(
    moths: ShardRun, to: str, proxy: FaultProxy, method: str, path: str, number: int, workers: int
) -> None:
    process: list[subprocess.Popen[bytes]] = []

    def kill(method_now: str, path_now: str) -> None:
        if method_now == method and process and proxy.count(method, path) >= number - 1 and re.search(path, path_now):
            process[0].kill()

    proxy.before = kill
    process.append(start(moths.root, workers, to))
    assert process[0].wait(60) == -signal.SIGKILL
    proxy.before = lambda *_: None
    moths.create(to=to)
    check_as_local(moths, to)


@pytest.mark.parametrize(
    ("fault", "workers"),
    [
        (Fault("hang", "GET", "list-type", times=99), 1),
        (Fault("hang", "PUT", r"\.parts/group", times=99), 1),
        (Fault("hang", "PUT", r"\.parts/group", times=99), 2),
        (Fault("hang", "PUT", r"train/.*\.tar", times=99), 1),
    ],
    ids=lambda value: getattr(value, "path", value),
)
def test_ctrl_c_ends_a_run_whose_request_is_not_answered(
    moths: ShardRun, to: str, proxy: FaultProxy, fault: Fault, workers: int
) -> None:
    process: list[subprocess.Popen[bytes]] = []
    signals = iter([signal.SIGINT])

    def interrupt(method: str, path: str) -> None:
        if process and fault.matches(method, path) and (number := next(signals, None)):
            process[0].send_signal(number)

    proxy.faults.append(replace(fault))
    proxy.before = interrupt
    process.append(start(moths.root, workers, to))
    assert process[0].wait(60) == -signal.SIGINT
    assert not list((moths.root / "shards").rglob(".tmp-*"))
    proxy.faults.clear()
    moths.create(to=to)
    check_as_local(moths, to)


@pytest.mark.slow
def test_runs_that_are_killed_at_random_moments_give_the_same_objects(moths: ShardRun, to: str) -> None:
    random, killed = Random(20), 0
    while True:
        process = start(moths.root, 1 + killed % 2, to)
        try:
            assert process.wait((1 + killed) * random.uniform(0.5, 1)) == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    assert killed
    check_as_local(moths, to)


def test_a_part_that_is_lost_or_cut_is_written_again(moths: ShardRun, to: str) -> None:
    folders, recipe = moths.folders(to=to), replace(RECIPE, to=to)
    plan = prepare_plan(folders, recipe)
    write_groups(folders, plan, range(len(plan.groups)), 1, lambda done, total: None)
    assert find_unwritten_groups(folders.shards, plan.groups, is_stored=True) == []
    names = sorted(name for name in store_at(to).list_sizes() if name.startswith(PARTS))
    store_at(to).delete(names[:1])
    store_at(to).put(names[2], LocalFile.of_content(Path("x.tar"), b"cut"))
    moths.create(to=to)
    check_as_local(moths, to)


def test_a_process_with_an_older_plan_replaces_no_part(
    moths: ShardRun, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, put = moths.folders(to=to), ShardStore.put_part
    plan = prepare_plan(folders, replace(RECIPE, to=to, seed=1))

    def plan_again_and_put(self: ShardStore, path: Path, *part: object) -> None:
        monkeypatch.setattr(ShardStore, "put_part", put)
        copy = Path(shutil.copy(path, moths.root / "copy"))
        now = prepare_plan(folders, replace(RECIPE, to=to))
        write_groups(folders, now, range(len(now.groups)), 1, lambda done, total: None)
        put(self, copy, *part)  # type: ignore[arg-type]

    monkeypatch.setattr(ShardStore, "put_part", plan_again_and_put)
    with pytest.raises(MissingPieceError, match="the plan of the shards was made again"):
        write_groups(folders, plan, [0], 1, lambda done, total: None)
    assert len([name for name in store_at(to).list_sizes() if "/group-000000-000-" in name]) == 2
    moths.create(to=to)
    check_as_local(moths, to)


def test_a_part_that_changes_before_it_is_sent_is_an_error_of_the_disk(
    moths: ShardRun, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ShardStore.put_part

    def spoil_and_put(self: ShardStore, path: Path, *part: object) -> None:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        put(self, path, *part)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ShardStore, "put_part", spoil_and_put)
        with pytest.raises(MissingPieceError, match=r"group-000000-000\.tar: differs from the data .*; check the disk"):
            moths.create(to=to)
    assert set(store_at(to).list_sizes()) == {OWNER}
    moths.create(to=to)
    check_as_local(moths, to)


def test_the_store_is_opened_once_for_all_groups(moths: ShardRun, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folders, opened = moths.folders(to=to), []
    monkeypatch.setattr(shard_store, "open_store", lambda address: opened.append(address) or open_store(address))
    plan = prepare_plan(folders, replace(RECIPE, to=to))
    write_groups(folders, plan, range(len(plan.groups)), 1, lambda done, total: None)
    assert len(plan.groups) > 1
    assert opened == [folders.to]


def test_of_all_groups_only_one_whose_shard_is_lost_after_it_got_its_name_is_written_again(
    moths: ShardRun, to: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(path: Path, shards: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(create_webdataset, "_write_shard_list", die)
        with pytest.raises(OSError, match="killed"):
            moths.create(to=to)
    store_at(to).delete(["train/train-000001.tar"])
    proxy.requests.clear()
    moths.create(to=to)
    sent = {re.sub(r".*/group-(\d+).*", r"\1", path) for method, path in proxy.requests if "/.parts/group" in path}
    assert sent == {"000000"}
    check_as_local(moths, to)


def test_no_unfinished_upload_is_left(moths: ShardRun, to: str, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_PUT_BYTES", "PART_BYTES"):
        monkeypatch.setattr(object_store, name, 20_000)
    client, prefix = boto3.client("s3", endpoint_url=moto), to.removeprefix(f"s3://{BUCKET}/")

    def list_unfinished() -> list[str]:
        return [one["Key"] for one in client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])]

    folders = moths.folders(to=to)
    for is_lost in (False, True):
        prepare_plan(folders, replace(RECIPE, to=to, seed=1))
        client.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/.parts/group-000099-000.tar")  # of that plan only
        if is_lost:
            (folders.shards / PARTS / "plan.json").unlink()
        plan = prepare_plan(folders, replace(RECIPE, to=to))
        assert list_unfinished() == []
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/.parts/group-000001-000.tar")
    write_groups(folders, plan, [0], 1, lambda done, total: None)
    assert len(list_unfinished()) == 1
    moths.create(to=to)
    assert list_unfinished() == []
    check_as_local(moths, to)


# Faults

FAULTS = [
    Fault("500", path=r"\.parts/", times=3),
    Fault("503", path=r"train/.*\.tar", times=2),
    Fault("reset", path=r"\.parts/", times=2),
    Fault("cut", path=r"\.parts/"),
    Fault("lost-answer", path=r"\.parts/"),
    Fault("lost-answer", path=r"train/.*\.tar"),
    Fault("lost-answer", path=OWNER),
    Fault("stored-truncated", path=r"\.parts/", times=2),
    Fault("stored-truncated", path=r"\.idx", times=2),
    Fault("stored-truncated", path=OWNER),
    Fault("stale", "GET", "list-type", times=1),
    Fault("lost-answer", "POST", "delete"),
    Fault("500", "HEAD", r"\.parts/"),
    Fault("503", "GET", OWNER),
    Fault("hang", "GET", OWNER),
    Fault("hang", "HEAD", r"\.parts/"),
    Fault("hang", "GET", "list-type"),
    Fault("hang", "POST", "delete"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind} {fault.method} {fault.path}")
def test_a_fault_changes_nothing(
    moths: ShardRun, to: str, proxy: FaultProxy, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_quick(monkeypatch)
    monkeypatch.setattr("gbif_webdataset.remote.open_store.READ_TIMEOUT", timedelta(seconds=2))
    proxy.faults.append(replace(fault))
    moths.create(to=to)
    assert proxy.faults[0].times == 0
    check_as_local(moths, to)


@pytest.mark.parametrize("path", [r"\.parts/group", r"val/.*\.tar"])
@pytest.mark.parametrize(
    ("status", "problem"),
    [("403", "the credentials may not read, list and write there"), ("507", "the target has no space left")],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_that_refuses_or_is_full_is_one_sentence_and_the_run_continues(
    moths: ShardRun, to: str, proxy: FaultProxy, path: str, status: str, problem: str, workers: int
) -> None:
    proxy.faults.append(Fault(status, "PUT", path, times=1000))
    with pytest.raises(StoreError, match=f"^--to {to}: {problem}"):
        moths.create(to=to, workers=workers)
    assert count_tars(moths) == 0
    proxy.faults.clear()
    moths.create(to=to, workers=workers)
    check_as_local(moths, to)


OTHER_FAULTS = [
    Fault("500", "PUT", r"\.parts/", times=2),
    Fault("reset", "PUT", r"\.parts/"),
    Fault("500", "PUT", r"train/.*\.tar"),
    Fault("reset", "PUT", r"train/.*\.tar"),
    Fault("500", "GET", r"list|prefix"),
    Fault("500", "HEAD", r"\.parts/"),
]


def test_faults_of_azure_change_nothing(moths: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", make_azurite_key())
    make_quick(monkeypatch)
    with run_azurite(tmp_path) as url, FaultProxy(url) as proxy:
        create_container(url)
        deletions = [Fault(kind, "POST", "comp=batch") for kind in ("500", "reset")]
        proxy.faults = [*deletions, *(replace(fault) for fault in OTHER_FAULTS)]
        check_other_server(moths, StoreAddress.parse(f"az://{BUCKET}/moths", f"{proxy.url}/devstoreaccount1"))
        assert [fault for fault in proxy.faults if fault.times] == []


def test_faults_of_google_change_nothing(moths: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token")
    make_quick(monkeypatch)
    with run_gcs_emulator(tmp_path) as url, GcsFront(url) as front:
        deletions = [Fault(kind, "DELETE", r"\.parts/") for kind in ("500", "reset")]
        front.faults = [*deletions, *(replace(fault) for fault in OTHER_FAULTS)]
        check_other_server(moths, StoreAddress.parse(f"gs://{BUCKET}/moths", front.url))
        assert [fault for fault in front.faults if fault.times] == []


def test_a_list_that_is_late_all_the_time_stops_the_run_which_continues(
    moths: ShardRun, to: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_quick(monkeypatch)
    proxy.faults.append(Fault("stale", "GET", "list-type", times=1000))
    with pytest.raises(StoreError, match=r"does not have \d+ objects, such as .*; repeat the command later"):
        moths.create(to=to)
    proxy.faults.clear()
    moths.create(to=to)
    check_as_local(moths, to)


def make_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_store, "Retries", partial(Retries, pause=0.01))


# Whose shards are there


def test_other_parameters_replace_the_shards_and_nothing_else(moths: ShardRun, to: str) -> None:
    store = store_at(to)
    others = {"notes.txt", "train/train-000000-1a2b3c4d.tar", "versions/1.0.0/README.md", "train/x.tar"}
    for name in others:
        store.put(name, LocalFile.of_content(Path(name), b"x"))
    moths.create(replace(RECIPE, max_shard_size=50_000), to=to)
    many = set(store.list_sizes())
    moths.create(to=to)
    few = set(store.list_sizes())
    assert few == {
        *others,
        OWNER,
        *hash_shards(moths, "shards"),
        *(f"{name[:-4]}.tar" for name in few if ".idx" in name),
    }
    assert few < many


def test_a_run_that_is_done_again_at_a_former_address_finds_its_own_shards(moths: ShardRun, to: str) -> None:
    moths.create(to=f"{to}/a")
    moths.create(to=f"{to}/b")
    moths.create(replace(RECIPE, seed=1), to=f"{to}/a")
    moths.create()
    assert len(hash_objects(f"{to}/b")) == 2 * len(moths.shards())


PLAIN = b'{"tool": "gbif-webdataset", "objects": [{"name": "train/train-000000.tar"}]}'


@pytest.mark.parametrize(
    ("objects", "problem"),
    [
        ({OWNER: b'{"id": "1"}'}, "has shards that this folder did not write; choose another address, or delete them"),
        ({OWNER: b"{}"}, "has shards that this folder did not write"),
        ({"val/val-000003.tar": b"x"}, "has shards that this folder did not write"),
        ({"train/train-000000.tar.idx": b"x"}, "has shards that this folder did not write"),
        ({".parts/x": b"x"}, "has shards that this folder did not write"),
        ({"dataset.json": PLAIN}, "dataset.json there lists shards with the names that new shards would get; choose"),
        ({"dataset.json": b"{}"}, "dataset.json there lists shards"),
    ],
)
def test_shards_of_others_are_refused_and_kept(
    moths: ShardRun, to: str, objects: dict[str, bytes], problem: str
) -> None:
    moths.create()
    before, store = hash_files(moths.root / "shards"), store_at(to)
    for name, content in objects.items():
        store.put(name, LocalFile.of_content(Path(name), content))
    for attempt in (
        lambda: check_address(StoreAddress.parse(to), moths.root / "shards", with_writing=True),
        lambda: moths.create(to=to),
    ):
        with pytest.raises(StoreError, match=f"^--to {to}: {problem}"):
            attempt()
    assert {name: store.read(name) for name in store.list_sizes()} == objects
    assert hash_files(moths.root / "shards") == before


def test_a_version_with_digests_in_the_names_of_its_shards_is_no_obstacle(moths: ShardRun, to: str) -> None:
    content = PLAIN.replace(b"000000.tar", b"000000-1a2b3c4d.tar")
    store_at(to).put("dataset.json", LocalFile.of_content(Path("dataset.json"), content))
    check_address(StoreAddress.parse(to), moths.root / "shards", with_writing=True)
    moths.create(to=to)
    moths.create(replace(RECIPE, seed=1), to=to)
    assert store_at(to).read("dataset.json") == content


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("a/b", "is in the folder of the dataset"),
        ("a/b/shards/train", "is in the folder of the dataset"),
        ("link/shards", "is in the folder of the dataset"),
        ("a", "has the dataset in it"),
    ],
)
def test_a_folder_of_the_dataset_or_above_it_is_refused(tmp_path: Path, folder: str, problem: str) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a/b")
    with pytest.raises(ParameterError, match=rf"^--CreateWebDataset-to file:///\S+: {problem}; choose a folder"):
        parse_address(f"file://{tmp_path}/{folder}", tmp_path / "link")
    assert parse_address(f"file://{tmp_path}/a/b-other", tmp_path / "link").prefix == f"{tmp_path}/a/b-other"


def test_an_address_where_the_shards_of_this_dataset_are_gone_is_refused(moths: ShardRun, to: str) -> None:
    moths.create(to=to)
    before = hash_files(moths.root)
    store_at(to).delete(list(store_at(to).list_sizes()))
    other = replace(RECIPE, seed=1)
    for attempt in (
        lambda: check_address(StoreAddress.parse(to), moths.root / "shards", with_writing=True),
        lambda: moths.create(other, to=to),
    ):
        with pytest.raises(StoreError, match=rf"^--to {to}: {OWNER} is missing there: is the disk mounted"):
            attempt()
    assert store_at(to).list_sizes() == {}
    assert hash_files(moths.root) == before
    (moths.root / CLAIM).unlink()
    moths.create(to=to)
    check_as_local(moths, to)


def test_a_folder_of_shards_that_is_lost_is_no_reason_to_refuse_its_address(moths: ShardRun, to: str) -> None:
    moths.create(to=to)
    shutil.rmtree(moths.root / "shards")
    moths.create(to=to)
    check_as_local(moths, to)


def test_a_copy_of_a_dataset_never_replaces_the_shards_of_the_original(moths: ShardRun, to: str) -> None:
    original = moths.root / "a"
    sixty_moths(original).create(to=to)
    copy = ShardRun(shutil.copytree(original, moths.root / "b"))
    objects, other = hash_objects(to), replace(RECIPE, seed=1)
    for attempt in (
        lambda: check_address(StoreAddress.parse(to), copy.root / "shards", with_writing=True),
        lambda: copy.create(other, to=to),
    ):
        with pytest.raises(StoreError, match=f"^--to {to}: {original} writes there, and this folder is a copy of it;"):
            attempt()
    assert hash_objects(to) == objects
    copy.create(other, to=f"{to}/copy")
    claims = [read_claim(folder) for folder in (original, copy.root)]
    assert claims[0] and claims[1]
    assert claims[0].id != claims[1].id


def test_a_dataset_that_was_moved_writes_to_its_address(moths: ShardRun, to: str) -> None:
    original = moths.root / "a"
    sixty_moths(original).create(to=to)
    moved = ShardRun(original.rename(moths.root / "b"))
    moved.create(replace(RECIPE, seed=1), to=to)
    claim = read_claim(moved.root)
    assert claim
    assert claim.folder == str(moved.root)


def test_an_address_is_checked_without_a_change(moths: ShardRun, to: str, proxy: FaultProxy, tmp_path: Path) -> None:
    check_address(StoreAddress.parse(to), moths.root / "shards", with_writing=False)
    assert {method for method, _ in proxy.requests} == {"GET"}
    check_address(StoreAddress.parse(to), moths.root / "shards", with_writing=True)
    assert {method for method, _ in proxy.requests} == {"GET", "PUT", "POST"}
    assert store_at(to).list_sizes() == {}
    assert not (moths.root / "shards").exists()
    (tmp_path / "empty").mkdir()
    check_address(StoreAddress.parse(f"file://{tmp_path}/empty"), moths.root / "shards", with_writing=True)
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("fault", [Fault("403", "PUT", times=9), Fault("403", "POST", "delete", times=9)])
def test_missing_permissions_to_write_or_delete_are_found(
    moths: ShardRun, to: str, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.faults.append(replace(fault))
    check_address(StoreAddress.parse(to), moths.root / "shards", with_writing=False)
    with pytest.raises(StoreError, match=f"^--to {to}: the credentials may not read, list and write there"):
        check_address(StoreAddress.parse(to), moths.root / "shards", with_writing=True)
