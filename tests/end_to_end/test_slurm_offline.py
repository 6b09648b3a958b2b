"""Downloading where there is internet access, and all other stages on nodes without a route; and status tables in full."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gbif_webdataset.terms.outcomes import REFUSALS, is_temporary
from sample.server import PhotoServer
from tests.support.datasets import ROOT, Dataset
from tests.support.slurm_cluster import Cluster
from tests.support.slurm_dataset import SLOWLY, OnSlurm

pytestmark = pytest.mark.system

IDLE = """\
stage      done  running  waiting  failed  to do
read          0        0        0       0      1
fetch         0        0        0       0      4
verify        0        0        0       0      4
tables        0        0        0       0      1
shards        0        0        0       0      4
report        0        0        0       0      1
"""
RUNNING = """\
stage      done  running  waiting  failed  to do
read          1        0        0       0      0
fetch         0        4        0       0      0
verify        0        0        4       0      0  Dependency 4
tables        0        0        1       0      0  Dependency 1
shards        0        0        4       0      0  Dependency 4
report        0        0        1       0      0  Dependency 1
"""
FAILED = """\
stage      done  running  waiting  failed  to do
read          1        0        0       0      0
fetch         2        0        0       2      0{note}
verify        2        0        0       0      2
tables        0        0        0       0      1
shards        0        0        0       0      4
report        0        0        0       0      1
"""
FINISHED = """\
stage      done  running  waiting  failed  to do
read          1        0        0       0      0
fetch         4        0        0       0      0{note}
verify        4        0        0       0      0
tables        1        0        0       0      0
shards        4        0        0       0      0
report        1        0        0       0      0
"""


@pytest.fixture
def scripts_without_network(tmp_path: Path) -> Path:
    """Job scripts whose Python runs in a network namespace of its own, without any route."""
    if subprocess.run(["unshare", "--net", "true"], check=False).returncode:
        pytest.skip("needs network namespaces (unshare --net)")
    scripts = Path(shutil.copytree(ROOT / "sbatch", tmp_path / "scripts"))
    python = scripts / "python"
    python.write_text(f'#!/bin/bash\nexec unshare --net {sys.executable} "$@"\n')
    python.chmod(0o755)
    element = scripts / "element.sh"
    element.write_text(element.read_text().replace("    python=$1\n", f"    python={python}\n"))
    return scripts


def note_retriable(dataset: Dataset, *chunks: int) -> str:
    """What the table says beside fetch about the images of built chunks."""
    rows = [row for chunk in chunks for row in dataset.rows(f"fetched/chunk-{chunk:05}.parquet")]
    failed = sum(is_temporary(row["error"]) or row["error"] in REFUSALS for row in rows)
    return f"  {failed} {'image' if failed == 1 else 'images'} may succeed in another run" if failed else ""


def test_the_status_of_an_idle_a_running_a_partly_failed_and_a_finished_job(
    cluster: Cluster, made: Dataset, slow_photos: PhotoServer, tmp_path: Path
) -> None:
    slow_photos.delay = 1.0
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", *SLOWLY)
    assert dataset.status() == IDLE
    dataset.submit()
    dataset.wait_for_photos(slow_photos, 8)
    assert dataset.status() == RUNNING
    obstacles = [dataset.output / "fetched" / f"chunk-{chunk:05}.parquet" for chunk in (1, 3)]
    for obstacle in obstacles:
        (obstacle / "in-the-way").mkdir(parents=True)
    slow_photos.delay = 0
    dataset.wait()
    errors = re.findall(r"^fetch \d: (ERROR: FetchChunk.*)$", dataset.status(), re.MULTILINE)
    assert len(errors) == 2
    assert all(str(obstacle) in error for obstacle, error in zip(obstacles, errors, strict=True))
    lines = [f"fetch {chunk}: {error}\n" for chunk, error in zip((1, 3), errors, strict=True)]
    assert dataset.status() == FAILED.format(note=note_retriable(dataset, 0, 2)) + "".join(lines)
    for obstacle in obstacles:
        shutil.rmtree(obstacle)
    dataset.submit()
    cluster.wait_until_empty()
    command = [sys.executable, "-m", "tasks.arrays", "status", "--output", str(dataset.output)]
    ended = subprocess.run(
        command, cwd=ROOT, env=cluster.environment, capture_output=True, text=True, timeout=100, check=True
    )
    assert ended.stdout == FINISHED.format(note=note_retriable(dataset, 0, 1, 2, 3)), "without any option of the job"
    logs = {path.name for path in (dataset.output / "logs").iterdir()}
    arrays = {f"{stage}-{chunk}.log" for stage in ("fetch", "verify", "shards") for chunk in range(4)}
    assert logs == {"job.json", "read.log", "tables.log", "report.log", *arrays}
    assert (dataset.output / "logs" / "fetch-1.log").read_text().count("--- job ") == 2


def test_images_are_downloaded_on_the_login_node_and_all_other_stages_run_on_nodes_without_a_route(
    cluster: Cluster, made: Dataset, scripts_without_network: Path, tmp_path: Path
) -> None:
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", "--slurm-scripts", str(scripts_without_network))
    started = time.monotonic()
    dataset.submit()
    dataset.wait()
    assert time.monotonic() - started < 90
    assert dataset.row("fetch")[:5] == ["0", "0", "0", "4", "0"]
    remedy = "run `make fetch` with the same options on a machine with internet access, such as a login node"
    assert f"because this machine has no route to the internet; {remedy}" in dataset.status()
    refused = dataset.run_arrays("submit", "--fetch", "no")
    assert refused.returncode == 1
    assert "4 of 4 chunks are not downloaded (chunks 0-3); run `make fetch`" in refused.stderr
    assert cluster.jobs() == []

    dataset.make(task="FetchImages")
    submitted = dataset.submit("--fetch", "no")
    assert [line.split()[0] for line in submitted.splitlines()] == ["verify", "tables", "shards", "report"]
    cluster.wait_until_empty()
    assert dataset.status() == FINISHED.format(note=note_retriable(dataset, 0, 1, 2, 3)), dataset.logs()
    assert dataset.shards() == made.shards()
    assert dataset.rows("accounting.csv") == made.rows("accounting.csv")


def test_images_are_downloaded_by_the_submitting_process_while_jobs_verify(
    cluster: Cluster, made: Dataset, slow_photos: PhotoServer, scripts_without_network: Path, tmp_path: Path
) -> None:
    slow_photos.delay = 2.0
    options = ("--slurm-scripts", str(scripts_without_network), *SLOWLY)
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset", *options)
    command = dataset.arrays_command("submit", "--fetch", "here", "--workers", "1")
    process = subprocess.Popen(
        command, cwd=ROOT, env=cluster.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        cluster.wait_for(lambda: any(dataset.output.glob("verified/chunk-*.parquet")), 120)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode != 0
    assert "Stopped. The same command continues from here." in told[1]
    assert len(list(dataset.output.glob(".made/FetchChunk-*.json"))) < 4
    settled, asked = dataset.settled(), len(slow_photos.requests)
    slow_photos.delay = 0
    dataset.submit("--fetch", "here", "--workers", "2")
    cluster.wait_until_empty()
    assert dataset.submit() == "nothing to do: everything is up to date\n", dataset.logs()
    assert dataset.shards() == made.shards()
    assert not settled & {slow_photos.url + path for path, _ in slow_photos.requests[asked:]}
