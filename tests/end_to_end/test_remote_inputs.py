"""Inputs in a bucket, with the command: what is unchanged is asked for once, what changed is noticed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import write_zip
from tests.support.datasets import ROOT, Dataset, archive_of
from tests.support.fault_proxy import FaultProxy
from tests.support.object_servers import BUCKET, KEY, SECRET

boto3 = pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")
pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
SPLITS = ("train.csv", "val.csv", "test.csv")


@pytest.fixture
def bucket(moto: str) -> Any:
    return boto3.resource("s3", endpoint_url=moto).Bucket(BUCKET)


@pytest.mark.slow
def test_previous_splits_and_category_map_in_a_bucket_are_copied_once(
    dataset: Dataset, proxy: FaultProxy, bucket: Any
) -> None:
    for name in SPLITS:
        bucket.upload_file(str(dataset.output / "splits" / name), f"old/splits/{name}")
    for name in ("category_map.json", "categories.json"):
        bucket.upload_file(str(dataset.output / "shards" / name), f"old/{name}")
    options = ["--SplitDataset-previous-splits", f"s3://{BUCKET}/old/splits"]
    options += ["--CreateWebDataset-previous-category-map", f"s3://{BUCKET}/old/category_map.json"]
    shards = dataset.shards()
    dataset.make(*options)
    assert dataset.shards() == shards
    assert proxy.count("GET") == 5

    proxy.requests.clear()
    assert "Nothing new" in dataset.make(*options)
    assert proxy.requests == []  # a finished dataset contacts nobody

    dataset.make(*options, "--SplitDataset-max-instances", "4")
    assert proxy.count("GET") == 0  # unchanged inputs are not transferred again
    assert proxy.count("HEAD") > 0
    swapped = dict(zip(SPLITS, ("val.csv", "train.csv", "test.csv"), strict=True))
    for name, other in swapped.items():
        bucket.copy({"Bucket": BUCKET, "Key": f"old/splits/{other}"}, f"new/{name}")
    for name in SPLITS:
        bucket.copy({"Bucket": BUCKET, "Key": f"new/{name}"}, f"old/splits/{name}")
    ended = dataset.run(*options, "--SplitDataset-max-instances", "0", task="SplitDataset")
    assert ended.returncode == 0, ended.stderr
    assert f"s3://{BUCKET}/old/splits: train.csv, val.csv changed and was copied again" in ended.stderr
    assert proxy.count("GET") == 2
    assert "the folder splits that previous_splits names changed" in ended.stderr
    written = b"".join(path.read_bytes() for path in dataset.output.glob(".made/*"))
    assert SECRET.encode() not in written
    assert KEY.encode() not in written


@pytest.mark.slow
def test_worker_processes_may_read_from_buckets_as_well(dataset: Dataset, proxy: FaultProxy, bucket: Any) -> None:
    bucket.upload_file(str(dataset.archive), "archives/moths.zip")
    for name in SPLITS:
        bucket.upload_file(str(dataset.output / "splits" / name), f"splits-of-workers/{name}")
    command = dataset.command("--SplitDataset-previous-splits", f"s3://{BUCKET}/splits-of-workers", task="SplitDataset")
    command = [*command, "--workers", "2", "--local-scheduler"]
    command[command.index(f"--dwca={dataset.archive}")] = f"--dwca=s3://{BUCKET}/archives/moths.zip"
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    assert proxy.count("GET", "moths.zip") == 1


@pytest.mark.slow
def test_datasets_in_a_bucket_are_compared(dataset: Dataset, proxy: FaultProxy, bucket: Any, tmp_path: Path) -> None:
    for path in dataset.output.rglob("*"):
        if path.is_file() and "images" not in path.parts and path.suffix not in (".tar", ".idx"):
            bucket.upload_file(str(path), f"copy/{path.relative_to(dataset.output).as_posix()}")
    dataset.make("--SplitDataset-random-seed", "7")
    command = [sys.executable, "-m", "tasks", "CompareDatasets", "--local-scheduler", "--old"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    local = subprocess.run([*command, f"s3://{BUCKET}/copy", "--new", str(dataset.output)], cwd=tmp_path, env=env)
    assert local.returncode == 0
    assert "split" in {row["change"] for row in dataset.rows("report/comparison.csv")}
    proxy.requests.clear()
    both = [*command, f"s3://{BUCKET}/copy", "--new", f"s3://{BUCKET}/copy"]
    for expected in (True, False):
        subprocess.run(both, cwd=tmp_path, env=env, check=True)
        assert bool(proxy.count("GET")) is expected
        proxy.requests.clear()
    assert len(list(tmp_path.glob("data/s3-*/report/comparison.csv"))) == 1


def test_a_missing_input_is_reported_before_anything_is_made(dataset: Dataset, proxy: FaultProxy) -> None:
    ended = dataset.run("--SplitDataset-previous-splits", f"s3://{BUCKET}/nothing")
    assert ended.returncode
    assert ended.stderr == (
        f"ERROR: --SplitDataset-previous-splits s3://{BUCKET}/nothing: there is no file train.csv; correct the address\n"
    )


@pytest.mark.parametrize("scheme", ["s3", "file"])
def test_an_archive_at_an_address_becomes_a_manifest(
    scheme: str, proxy: FaultProxy, bucket: Any, tmp_path: Path
) -> None:
    archive = archive_of(tmp_path / "six.zip", [f"https://example.org/{number}.jpg" for number in range(6)])
    bucket.upload_file(str(archive), "archives/six.zip")
    address = f"s3://{BUCKET}/archives/six.zip" if scheme == "s3" else f"file://{archive}"
    command = [sys.executable, "-m", "tasks", "ReadArchive", "--dwca", address, "--chunks", "2", "--local-scheduler"]
    for expected in (1, 0):
        proxy.requests.clear()
        subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=120)
        assert proxy.count("GET") == (expected if scheme == "s3" else 0)
    assert proxy.requests == []
    assert len(Dataset(archive, tmp_path / "data" / "six", 2).rows("manifest")) == 6


def test_a_killed_transfer_of_an_archive_continues(proxy: FaultProxy, bucket: Any, tmp_path: Path) -> None:
    large = write_zip(tmp_path / "large.zip", {"x": os.urandom(64 << 20)}, 0)
    bucket.upload_file(str(large), "archives/large.zip")
    output = tmp_path / "output"
    command = [sys.executable, "-m", "tasks", "FetchArchive", "--dwca", f"s3://{BUCKET}/archives/large.zip"]
    command += ["--output", str(output), "--local-scheduler"]
    process = subprocess.Popen(command, cwd=ROOT)
    part = None
    while process.poll() is None and not (part and part.stat().st_size):
        part = next(output.glob("archive/*.part"), None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert part is not None
    before = part.stat().st_size
    assert 0 < before < large.stat().st_size
    ranges: list[int] = []
    proxy.before = lambda method, path: ranges.append(part.stat().st_size) if method == "GET" else None
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    assert ranges == [before]  # one request, which continues the part
    assert [path.read_bytes() for path in output.glob("archive/*.zip")] == [large.read_bytes()]


@pytest.mark.slow
def test_images_in_a_bucket_are_copied_one_by_one(
    dataset: Dataset, proxy: FaultProxy, bucket: Any, tmp_path: Path
) -> None:
    images = [row for row in dataset.rows("fetched") if row["status"] != "failed"]
    present = [row for row in images if (dataset.output / "images" / row["image_path"]).exists()]
    for row in present[:20]:
        path = dataset.output / "images" / row["image_path"]
        bucket.upload_file(str(path), f"images/{row['image_path']}")
    newer = Dataset(dataset.archive, tmp_path / "newer")
    newer.make("--FetchChunk-cache-path", f"s3://{BUCKET}/images", "--workers", "2", task="FetchImages")
    cached = {row["image_path"]: row["sha256"] for row in newer.rows("fetched") if row["status"] == "cached"}
    assert cached == {row["image_path"]: row["sha256"] for row in present[:20]}
    assert len([row for row in newer.rows("fetched") if row["status"] == "fetched"]) >= len(present) - 20
    assert {method for method, _ in proxy.requests} == {"GET"}
    assert proxy.count("GET", "list-type") == 0
