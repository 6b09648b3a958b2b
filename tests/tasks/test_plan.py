"""PlanFetch: every command prints the estimate, and nothing is written."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gbif_webdataset.terms.outcomes import REFUSALS, is_temporary
from sample.server import PhotoServer
from tests.support.datasets import ROOT, Dataset


def _tree(output: Path) -> dict[str, tuple[int, int]]:
    """Time of modification and size of every file and folder."""
    stats = {path.relative_to(output).as_posix(): path.stat() for path in (output, *output.rglob("*"))}
    return {path: (found.st_mtime_ns, found.st_size) for path, found in stats.items()}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_run_prints_the_estimate_and_writes_nothing(
    small_archive: Path, photos: PhotoServer, tmp_path: Path, workers: str
) -> None:
    dataset = Dataset(small_archive, tmp_path / "dataset")
    dataset.make(task="ReadArchive")
    total = len(dataset.rows("manifest"))
    before, asked = _tree(dataset.output), len(photos.requests)
    for _ in range(2):
        printed = dataset.make("--workers", workers, "--PlanFetch-sample", "3", task="PlanFetch").splitlines()
        assert (
            printed[0]
            == f"{total} images in the manifest: 0 are already fetched, {total} remain to be fetched from 1 host"
        )
        assert re.match(r"bytes  about \d", printed[-4])
        assert re.match(r"time   about \d", printed[-3])
        assert re.match(r"disk   \d", printed[-2])
        assert re.match(r"files  about \d+ with --store files, about \d+ with --store packed; ", printed[-1])
    assert _tree(dataset.output) == before
    assert 6 <= len(photos.requests) - asked <= 12


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """The port of a central scheduler."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "luigi.cfg").touch()
    code = "from luigi.cmdline import luigid; luigid()"
    command = [sys.executable, "-c", code, "--address", "127.0.0.1", "--port", str(port)]
    command += ["--state-path", str(tmp_path / "state.pickle")]
    environment = {**os.environ, "LUIGI_CONFIG_PATH": str(tmp_path / "luigi.cfg")}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        for _ in range(200):
            with socket.socket() as knock:
                if not knock.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.1)
        yield str(port)
        process.terminate()


def test_a_central_scheduler_runs_it_again_at_once(small_archive: Path, tmp_path: Path, scheduler: str) -> None:
    dataset = Dataset(small_archive, tmp_path / "dataset")
    central = ("--local-scheduler", "false", "--scheduler-host", "127.0.0.1", "--scheduler-port", scheduler)
    for _ in range(2):
        assert "images in the manifest" in dataset.make(*central, "--PlanFetch-sample", "0", task="PlanFetch")


def test_fetched_images_do_not_remain(dataset: Dataset) -> None:
    failing = sum(is_temporary(row["error"]) or row["error"] in REFUSALS for row in dataset.rows("fetched"))
    fetched = sum(row["status"] == "fetched" for row in dataset.rows("fetched"))
    printed = dataset.make("--FetchChunk-retry-failed", "may-pass", "--FetchChunk-retry-after", "0", task="PlanFetch")
    assert f"{fetched} are already fetched, " in printed
    assert f"{failing} remain to be fetched from 1 host" in printed
    assert "none remains to be fetched" in dataset.make("--FetchChunk-retry-failed", "none", task="PlanFetch")


def test_it_reads_the_archive_first_if_necessary(small_archive: Path, tmp_path: Path) -> None:
    dataset = Dataset(small_archive, tmp_path / "dataset")
    assert "images in the manifest" in dataset.make("--PlanFetch-sample", "0", task="PlanFetch")
    assert not (dataset.output / "images").exists()
    assert not (dataset.output / "fetched").exists()


@pytest.mark.parametrize(("plan", "task"), [("1", "PlanFetch"), ("0", "FetchImages"), ("", "FetchImages")])
def test_make_fetch_with_plan_runs_plan_fetch(plan: str, task: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", "fetch", "DWCA=moths.zip", f"PLAN={plan}"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert f"gbif-webdataset {task} --dwca='moths.zip'" in ended.stdout
