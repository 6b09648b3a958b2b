"""Runs with several workers, whichever way Python starts processes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sample.server import PhotoServer
from tests.support.datasets import ROOT, Dataset

SET_METHOD = """import multiprocessing

if multiprocessing.get_start_method(allow_none=True) is None:
    multiprocessing.set_start_method({method!r})
"""
REMADE = ["verified", "splits", "shards"]


def run(dataset: Dataset, tmp_path: Path, method: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command with three workers, which are started by `method` by default."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SET_METHOD.format(method=method))
    command = dataset.command("--workers", "3", *arguments)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_start_method_gives_the_same_shards(
    made: Dataset, dataset: Dataset, photos: PhotoServer, tmp_path: Path, method: str
) -> None:
    for name in REMADE:
        shutil.rmtree(dataset.output / name)
    requests = len(photos.requests)

    ended = run(dataset, tmp_path, method)

    assert ended.returncode == 0, ended.stderr
    assert dataset.shards() == made.shards()
    assert photos.requests[requests:] == []
    progress = [line for line in ended.stderr.splitlines() if line.startswith(("verify: ", "shards: "))]
    reasons = [line for line in ended.stderr.splitlines() if line.endswith(("is missing", "will run again"))]
    where = [line for line in ended.stderr.splitlines() if line.startswith("Results: ")]
    assert len(where) == 1
    assert [*reasons, *where, *progress] == ended.stderr.splitlines()
    assert len(progress) == 2


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_parameters_of_other_tasks_and_the_start_of_the_run_reach_workers(
    made: Dataset, dataset: Dataset, photos: PhotoServer, tmp_path: Path, method: str
) -> None:
    requests = len(photos.requests)
    changed = ("--SplitDataset-test-frac", "0.4", "--ReportDataset-title", "Moths of Nowhere")

    ended = run(
        dataset, tmp_path, method, *changed, "--FetchChunk-retry-failed", "may-pass", "--FetchChunk-retry-after", "0"
    )

    assert ended.returncode == 0, ended.stderr
    assert {status for _, status in photos.requests[requests:]} == {500, 200}  # 200: an empty answer
    assert len(dataset.rows("splits/test.csv")) > len(made.rows("splits/test.csv"))
    assert "Moths of Nowhere" in (dataset.output / "report" / "index.html").read_text()


def test_an_error_in_a_spawned_worker_is_one_sentence(dataset: Dataset, tmp_path: Path) -> None:
    shutil.rmtree(dataset.output / "splits")
    ended = run(dataset, tmp_path, "spawn", "--SplitDataset-category-key", "nonesuch")
    assert ended.returncode == 30
    errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) == 1
    assert "Traceback" not in ended.stderr
