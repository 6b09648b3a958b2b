"""CreateWebDataset --to by the command: the bytes, small disks, kills, and when the shards are up to date."""

import hashlib
import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path
from random import Random

import pytest

from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.object_store import ObjectStore
from gbif_webdataset.remote.store_address import StoreAddress
from tasks.framework.rebuild_reasons import NOTHING
from tests.support.datasets import ROOT, Dataset
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.object_servers import BUCKET, S3_ENVIRONMENT, SECRET
from tests.support.slurm_cluster import Cluster
from tests.support.slurm_dataset import OnSlurm
from tests.support.small_disk import mount_disk
from tests.tasks.test_compare import run as compare_datasets

pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")

TASK = "CreateWebDataset"
MAX_SHARD = 1_200_000
MANY_SHARDS = ("--max-shard-size", str(MAX_SHARD), "--resize-mode", "square", "--resize-min-size", "1400")
MANY_SHARDS += ("--jpeg-quality", "100")
"""More than 50 shards of a photo each."""


@pytest.fixture
def to(proxy: FaultProxy, request: pytest.FixtureRequest) -> str:
    """An address in moto, behind the proxy, that no other test writes to."""
    return f"s3://{BUCKET}/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"


def store_at(to: str) -> ObjectStore:
    return ObjectStore(StoreAddress.parse(to))


def hash_objects(to: str) -> dict[str, str]:
    """The SHA-256 of every object but shards.json, by name."""
    names = set(store_at(to).list_sizes()) - {"shards.json"}
    return {name: hashlib.sha256(store_at(to).read(name) or b"").hexdigest() for name in names}


def hash_shards(dataset: Dataset) -> dict[str, str]:
    """The SHA-256 of every tar and every index for DALI."""
    folder = dataset.output / "shards"
    paths = [path for path in folder.glob("[a-z]*/*") if not path.name.endswith(".tar.idx")]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture
def local(dataset: Dataset, tmp_path: Path) -> Dataset:
    """The dataset with many shards on the local disk."""
    local = dataset.copy(tmp_path / "local")
    local.make(*MANY_SHARDS, task=TASK)
    return local


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_fifty_shards_are_written_with_local_space_for_two(
    dataset: Dataset, local: Dataset, to: str, workers: str
) -> None:
    expected = hash_shards(local)
    assert sum(name.endswith(".tar") for name in expected) > 50
    options = (*MANY_SHARDS, "--num-workers", workers)
    shutil.rmtree(dataset.output / "shards")
    with mount_disk(dataset.output / "shards", 2 * MAX_SHARD + (1 << 20)):  # a file of any size takes a page of 4 KiB
        assert "no space left" in dataset.fail(*options, task=TASK).lower()
        dataset.make(*options, "--to", to, task=TASK)
        assert not list((dataset.output / "shards").rglob("*.tar"))
        assert hash_objects(to) == expected


@pytest.mark.slow
def test_runs_that_are_killed_at_random_moments_leave_the_objects_of_an_undisturbed_run(
    dataset: Dataset, local: Dataset, to: str
) -> None:
    random, command = Random(20), dataset.command(*MANY_SHARDS, "--to", to, task=TASK)
    killed = 0
    while True:
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            process.wait((3 + killed) * random.uniform(0.7, 1.3))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
    assert process.returncode == 0
    assert killed
    assert hash_objects(to) == hash_shards(local)
    assert dataset.plan(*MANY_SHARDS, "--to", to, task=TASK) == [NOTHING]


@pytest.mark.slow
def test_ctrl_c_ends_the_command_although_the_store_does_not_answer(
    dataset: Dataset, to: str, proxy: FaultProxy
) -> None:
    accept = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which background jobs of a shell ignore
    process: list[subprocess.Popen[bytes]] = []
    signals = iter([signal.SIGINT])

    def stop(method: str, path: str) -> None:
        if process and method == "PUT" and "/.parts/" in path and (number := next(signals, None)):
            process[0].send_signal(number)

    proxy.faults.append(Fault("hang", "PUT", r"\.parts/", times=99))
    proxy.before = stop
    command = dataset.command("--to", to, task=TASK)
    process.append(subprocess.Popen(command, cwd=ROOT, preexec_fn=accept))
    assert process[0].wait(120) != 0
    proxy.faults.clear()
    proxy.before = lambda method, path: None
    dataset.make("--to", to, task=TASK)
    assert dataset.plan("--to", to, task=TASK) == [NOTHING]


@pytest.mark.slow
def test_nothing_is_written_again_until_an_object_is_lost_or_another_one(
    dataset: Dataset, to: str, proxy: FaultProxy
) -> None:
    dataset.make("--to", to, task=TASK)
    objects, requests = hash_objects(to), len(proxy.requests)
    assert dataset.make("--to", to, task=TASK) == ""
    assert [method for method, path in proxy.requests[requests:]] == ["GET", "GET"], "a list and shards.json"
    for spoil, damage in (
        (lambda name: store_at(to).delete([name]), "is missing"),
        (lambda name: store_at(to).put(name, LocalFile.of_content(Path(name), b"x")), "has the wrong size"),
    ):
        name = "train/train-000000.tar"
        spoil(name)
        assert dataset.plan("--to", to, task=TASK) == [f"{TASK}: {to}/{name} {damage}"]
        dataset.make("--to", to, task=TASK)
        assert hash_objects(to) == objects
    assert dataset.plan("--to", to, task=TASK) == [NOTHING]
    assert dataset.plan(task=TASK) == [f"{TASK}: to changed from {to} to none"]


@pytest.mark.slow
def test_a_store_that_cannot_be_reached_costs_no_shard(
    dataset: Dataset, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset.make("--to", to, task=TASK)
    record = (dataset.output / ".made" / f"{TASK}.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        for options in (("--to", to), ("--to", f"{to}/other"), ("--to", to, "--jpeg-quality", "50")):
            failed = dataset.fail(*options, task=TASK).splitlines()
            assert f"--CreateWebDataset-to {options[1]}: 8 attempts failed, the last one with: " in failed[-1]
            assert (dataset.output / ".made" / f"{TASK}.json").read_bytes() == record
    assert dataset.plan("--to", to, task=TASK) == [NOTHING]


@pytest.mark.slow
def test_several_worker_processes_of_luigi_do_not_hang(small_archive: Path, tmp_path: Path, to: str) -> None:
    dataset = Dataset(small_archive, tmp_path / "dataset", chunks=2)
    printed = dataset.make("--workers", "2", "--CreateWebDataset-to", to)
    assert "samples of" in printed
    (dataset.output / "report" / "index.html").unlink()
    dataset.make("--workers", "2", "--CreateWebDataset-to", to)
    local = Dataset(small_archive, tmp_path / "local", chunks=2)
    local.make(task=TASK)
    assert hash_objects(to) == hash_shards(local)


@pytest.mark.parametrize(
    ("address", "faults", "sentence"),
    [
        ("hf://datasets/me/moths", [], "files are written one by one, which a repository of the Hub does not take"),
        ("s3://KEY:SECRET@moths/x", [], "has a user, a password, a token or another text after ? or #"),
        ("/mnt/x", [], "not an address in a bucket, a repository or a folder"),
        ("s3://no-such-bucket/x", [], "there is no such bucket or container; create it, or correct the address"),
        (
            f"s3://{BUCKET}/denied",
            [Fault("403", "GET", times=99)],
            "the credentials may not read, list and write there",
        ),
        (
            f"s3://{BUCKET}/read-only",
            [Fault("403", "PUT", times=99)],
            "the credentials may not read, list and write there",
        ),
        (f"s3://{BUCKET}/foreign", [], "has shards that this folder did not write; choose another address, or delete"),
        (f"s3://{BUCKET}/published", [], "dataset.json there lists shards with the names that new shards would get"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence_before_any_download(
    small_archive: Path, tmp_path: Path, proxy: FaultProxy, address: str, faults: list[Fault], sentence: str
) -> None:
    pytest.importorskip("huggingface_hub", reason="optional: needs pip install -e .[hub]")
    store = store_at(f"s3://{BUCKET}")
    content = b'{"objects": [{"name": "train/train-000000.tar"}]}'
    store.put("published/dataset.json", LocalFile.of_content(Path("dataset.json"), content))
    store.put("foreign/train/train-000000.tar", LocalFile.of_content(Path("x.tar"), b"x"))
    proxy.faults += faults
    dataset = Dataset(small_archive, tmp_path / "dataset")
    ended = dataset.run("--CreateWebDataset-to", address)
    assert ended.returncode != 0
    assert f"--CreateWebDataset-to {address.replace('KEY:SECRET@', '')}: {sentence}" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert "SECRET" not in ended.stderr + ended.stdout
    assert not dataset.output.exists() or {path.name for path in dataset.output.iterdir()} <= {".made"}


@pytest.mark.system
def test_elements_of_slurm_jobs_write_the_same_objects(
    cluster: Cluster, dataset: Dataset, local: Dataset, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*S3_ENVIRONMENT, "AWS_ENDPOINT_URL"):
        monkeypatch.setitem(cluster.environment, name, os.environ[name])
    options = [option.replace("--", "--CreateWebDataset-") for option in (*MANY_SHARDS, "--to", to)]
    on_slurm = OnSlurm(cluster, dataset.archive, dataset.output, *options, "--slurm-concurrent", "2")
    shutil.rmtree(dataset.output / "shards")
    with mount_disk(dataset.output / "shards", 2 * MAX_SHARD + (1 << 20)):
        on_slurm.submit()
        cluster.wait_until_empty()
        assert hash_objects(to) == hash_shards(local), on_slurm.logs()
        assert on_slurm.submit() == "nothing to do: everything is up to date\n"
        monkeypatch.setitem(cluster.environment, "AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        assert on_slurm.row("shards") == ["4", "0", "0", "0", "0"]


@pytest.mark.slow
def test_images_are_deleted_removed_and_compared_as_with_shards_on_the_disk(
    dataset: Dataset, to: str, tmp_path: Path
) -> None:
    names = sorted(row["image_path"] for row in dataset.rows("verified.parquet") if row["valid"])
    (tmp_path / "list.txt").write_text("\n".join(names[::5]))
    local, options = dataset.copy(tmp_path / "local"), ("--DeleteImages-image-list", str(tmp_path / "list.txt"))
    stored = (*options, "--CreateWebDataset-to", to)
    dataset.make("--CreateWebDataset-to", to)
    before = hash_objects(to)
    local.make(*options)
    dataset.make(*stored, "--ReportDataset-keep-images", "false")
    assert hash_objects(to) == hash_shards(local) != before
    assert not [path for path in (dataset.output / "images").rglob("*") if path.is_file()]
    assert dataset.plan(*stored) == [NOTHING]
    ended = compare_datasets("--old", str(local.output), "--new", str(dataset.output))
    assert ended.returncode == 0, ended.stderr
    assert dataset.rows("report/comparison.csv") == []
    store_at(to).delete(["train/train-000000.tar"])
    objects, record = hash_objects(to), (dataset.output / ".made" / f"{TASK}.json").read_bytes()
    assert "this needs the images" in dataset.fail(*stored)
    assert (hash_objects(to), (dataset.output / ".made" / f"{TASK}.json").read_bytes()) == (objects, record)


@pytest.mark.slow
def test_no_secret_is_in_any_file_of_the_dataset(dataset: Dataset, to: str) -> None:
    dataset.make("--CreateWebDataset-to", to)
    texts = [path.read_bytes() for path in dataset.output.rglob("*") if path.is_file()]
    texts += [store_at(to).read(name) or b"" for name in store_at(to).list_sizes()]
    assert not [text for text in texts if SECRET.encode() in text]
