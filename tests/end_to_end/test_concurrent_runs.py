"""Two runs on one dataset: the second one stops at once, unless both can work together or it only reads."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import sample.server
from gbif_webdataset.storage.runs import STALE_SECONDS
from sample.server import PhotoServer
from tests.support.central_scheduler import start_scheduler
from tests.support.datasets import QUICKLY, ROOT, Dataset

pytestmark = pytest.mark.slow

ALREADY_RUNNING = 10
LATEST = 120.0
HELD = 280.0
SLOW_SERVER = ("--FetchChunk-request-timeout", "290")
FAKE_SALLOC = """#!/bin/bash
while [[ $1 != srun ]]; do shift; done
exec "${@:3}"
"""


class HeldPhotos:
    """The photos, none of which is served until they are released."""

    def __init__(self, photos: PhotoServer) -> None:
        self._photos, self._released, self.has_request = photos, threading.Event(), False

    @property
    def requests(self) -> list[tuple[str, int]]:
        return self._photos.requests

    def wait(self, _: float) -> None:
        self.has_request = True
        self._released.wait(HELD)

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def held_photos(photos: PhotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldPhotos]:
    """The photos, held until a test releases them."""
    held = HeldPhotos(photos)
    monkeypatch.setattr(sample.server, "time", SimpleNamespace(sleep=held.wait))
    yield held
    held.release()


@pytest.fixture
def dataset(small_archive: Path, tmp_path: Path) -> Dataset:
    """A dataset that is not made yet."""
    return Dataset(small_archive, tmp_path / "dataset")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands as far as these tests need them: jobs run on this machine, and none is queued."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in (("salloc", FAKE_SALLOC), ("squeue", "#!/bin/bash\n"), ("scontrol", "#!/bin/bash\n")):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@contextlib.contextmanager
def running(dataset: Dataset, *arguments: str, task: str = "ReportDataset") -> Iterator["subprocess.Popen[str]"]:
    """A run in the background, killed with its processes at the end of the block if it has not ended."""
    process = subprocess.Popen(
        dataset.command(*arguments, *SLOW_SERVER, task=task),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + LATEST
    while not reached():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def wait_for_request(photos: HeldPhotos, process: "subprocess.Popen[str]") -> None:
    wait_until(lambda: photos.has_request or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def finish(photos: HeldPhotos, *processes: "subprocess.Popen[str]") -> list[str]:
    """Release the photos and let the runs end well; what each prints on stderr."""
    photos.release()
    printed = [process.communicate(timeout=LATEST * 2)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), printed
    return printed


def locks(dataset: Dataset) -> list[Path]:
    return sorted((dataset.output / ".made").glob("*run-*"))


def assert_is_refused(ended: "subprocess.CompletedProcess[str]", dataset: Dataset, first: int, task: str) -> None:
    """Whether a second run ended with one sentence that names the first."""
    assert (ended.returncode, ended.stdout) == (ALREADY_RUNNING, ""), ended.stderr
    where = rf"{re.escape(task)} on host {re.escape(socket.gethostname())}, process {first}"
    sentence = (
        rf"ERROR: --output {re.escape(str(dataset.output))}: another run is using it \({where}, "
        r"started \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\); wait until it ends, or stop it[^\n]*\n"
    )
    assert re.fullmatch(sentence, ended.stderr), ended.stderr


@pytest.mark.parametrize(
    ("arguments", "task"),
    [
        ((), "ReportDataset"),
        (("--workers", "2"), "FetchImages"),
        (("--CleanDataset-thumb-size", "1"), "CleanDataset"),
        (("--chunks", "2"), "ReadArchive"),
        (("--chunk", "3"), "FetchChunk"),
        (("--runner", "slurm"), "ReportDataset"),
        (("--runner", "element", "--chunk", "3"), "FetchChunk"),
        (("--local-scheduler", "false", "--scheduler-port", "9"), "ReportDataset"),
    ],
)
def test_a_second_run_is_refused_and_the_first_ends_as_if_alone(
    arguments: tuple[str, ...], task: str, made: Dataset, dataset: Dataset, held_photos: HeldPhotos
) -> None:
    with running(dataset, "--workers", "2") as first:
        wait_for_request(held_photos, first)
        second = dataset.run(*arguments, task=task)
        assert_is_refused(second, dataset, first.pid, "ReportDataset")
        assert len(locks(dataset)) == 1
        finish(held_photos, first)
    assert dataset.shards() == made.shards()
    assert not locks(dataset)


def test_runs_that_start_together_leave_one(made: Dataset, dataset: Dataset, held_photos: HeldPhotos) -> None:
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(running(dataset)) for _ in range(4)]
        wait_until(lambda: sum(run.poll() is not None for run in runs) == 3)
        held_photos.release()
        printed = [run.communicate(timeout=LATEST)[1] for run in runs]
        assert sorted(run.returncode for run in runs) == [0, *[ALREADY_RUNNING] * 3], printed
        winner = next(run for run in runs if run.returncode == 0)
        for run, text in zip(runs, printed, strict=True):
            if run is not winner:
                assert f"process {winner.pid}," in text
                assert text.count("\n") == 1
    assert dataset.shards() == made.shards()


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """A central scheduler; the options of a run that uses it."""
    with start_scheduler(tmp_path) as port:
        yield ("--local-scheduler", "false", "--scheduler-host", "127.0.0.1", "--scheduler-port", str(port))


def test_runs_with_the_same_central_scheduler_share_the_work(
    made: Dataset, dataset: Dataset, held_photos: HeldPhotos, scheduler: tuple[str, ...]
) -> None:
    before = len(held_photos.requests)
    with running(dataset, *scheduler) as first:
        wait_for_request(held_photos, first)
        with running(dataset, *scheduler) as second:
            wait_until(lambda: len(locks(dataset)) == 2 or second.poll() is not None)
            local = dataset.run()
            assert local.returncode == ALREADY_RUNNING, local.stderr
            assert local.stderr.endswith("or give both commands the same SCHEDULER\n")
            wait_until(lambda: len(list((dataset.output / "fetched").glob("*.journal"))) == 2)
            finish(held_photos, first, second)
    assert dataset.shards() == made.shards()
    assert not locks(dataset)
    requests = [path for path, _ in held_photos.requests[before:]]
    assert len(made.rows("fetched")) >= len(set(requests))


def read_manifest(dataset: Dataset) -> None:
    dataset.make(task="ReadArchive")


def test_elements_of_a_job_run_together_and_a_local_run_waits_for_them(
    made: Dataset, dataset: Dataset, held_photos: HeldPhotos
) -> None:
    read_manifest(dataset)
    with contextlib.ExitStack() as stack:
        elements = [
            stack.enter_context(running(dataset, "--runner", "element", "--chunk", str(chunk), task="FetchChunk"))
            for chunk in range(dataset.chunks)
        ]
        wait_until(lambda: len(locks(dataset)) == dataset.chunks)
        wait_for_request(held_photos, elements[0])
        local = dataset.run()
        assert local.returncode == ALREADY_RUNNING
        assert re.search(r"another run is using it \(FetchChunk-0000\d on host", local.stderr)
        finish(held_photos, *elements)
    dataset.make()
    assert dataset.shards() == made.shards()


@pytest.mark.usefixtures("cluster")
def test_a_driver_and_its_elements_run_together(made: Dataset, dataset: Dataset, held_photos: HeldPhotos) -> None:
    with running(dataset, "--runner", "slurm", "--workers", "2") as driver:
        wait_for_request(held_photos, driver)
        wait_until(lambda: len(locks(dataset)) == 3)
        second = dataset.run("--runner", "slurm")
        assert second.returncode == ALREADY_RUNNING, second.stderr
        finish(held_photos, driver)
    assert dataset.shards() == made.shards()
    assert not locks(dataset)


@pytest.mark.usefixtures("cluster")
def test_runs_that_only_read_are_not_refused(
    made: Dataset, dataset: Dataset, held_photos: HeldPhotos, tmp_path: Path
) -> None:
    newer = made.copy(tmp_path / "newer")
    with running(dataset) as first:
        wait_for_request(held_photos, first)
        lock = locks(dataset)
        planned = dataset.run("--plan")
        assert (planned.returncode, "FetchChunk" in planned.stderr) == (0, True), planned.stderr
        estimate = dataset.run("--sample", "0", task="PlanFetch")
        assert (estimate.returncode, "images" in estimate.stdout) == (0, True), estimate.stderr
        status = run_tasks("slurm", "status", *which(dataset))
        assert (status.returncode, "fetch" in status.stdout) == (0, True), status.stderr
        compared = run_tasks("CompareDatasets", f"--old={dataset.output}", f"--new={newer.output}")
        assert "another run" not in compared.stderr
        commands = run_tasks("slurm", "submit", "--dry-run", *which(dataset))
        assert (commands.returncode, "sbatch" in commands.stdout) == (0, True), commands.stderr
        assert locks(dataset) == lock
        submitted = run_tasks("slurm", "submit", *which(dataset))
        assert (submitted.returncode, submitted.stdout) == (1, "")
        assert "another run is using it" in submitted.stderr
        finish(held_photos, first)
    assert dataset.shards() == made.shards()


def which(dataset: Dataset) -> list[str]:
    return [f"--dwca={dataset.archive}", f"--output={dataset.output}", "--chunks", str(dataset.chunks)]


def run_tasks(*words: str) -> "subprocess.CompletedProcess[str]":
    quickly = [*QUICKLY] if words[0] == "slurm" else []
    command = [sys.executable, "-m", "tasks", *words, *quickly]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def kill_while_fetching(dataset: Dataset, photos: HeldPhotos) -> int:
    """Start a run and kill it, its worker processes too, while it downloads; its process id."""
    with running(dataset, "--workers", "2") as first:
        wait_for_request(photos, first)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert len(locks(dataset)) == 1
    return first.pid


def test_a_killed_run_is_replaced_at_once_and_leaves_nothing(
    made: Dataset, dataset: Dataset, held_photos: HeldPhotos
) -> None:
    kill_while_fetching(dataset, held_photos)
    held_photos.release()
    dataset.make()
    assert dataset.shards() == made.shards()
    assert not locks(dataset)
    assert not list(dataset.output.rglob(".tmp-*"))


def test_a_run_killed_on_another_host_is_replaced_after_five_minutes(
    made: Dataset, dataset: Dataset, held_photos: HeldPhotos
) -> None:
    pid = kill_while_fetching(dataset, held_photos)
    held_photos.release()
    (lock,) = locks(dataset)
    values = json.loads(lock.read_text())
    lock.write_text(json.dumps({**values, "host": "node7", "machine": "another"}))
    refused = dataset.run()
    assert refused.returncode == ALREADY_RUNNING
    found = re.search(
        r"on host node7, process (\d+), .*if it was killed, this command works from (\d\d:\d\d:\d\d)\n", refused.stderr
    )
    assert found
    assert int(found[1]) == pid
    assert refused.stderr.count("\n") == 1
    old = time.time() - STALE_SECONDS - 1
    os.utime(lock, (old, old))
    dataset.make()
    assert dataset.shards() == made.shards()
    assert not locks(dataset)


def test_ctrl_c_leaves_no_lock(dataset: Dataset, held_photos: HeldPhotos) -> None:
    with running(dataset) as first:
        wait_for_request(held_photos, first)
        first.send_signal(signal.SIGINT)
        held_photos.release()
        _, printed = first.communicate(timeout=LATEST)
    assert "Stopped. The same command continues from here." in printed
    assert not locks(dataset)


def test_a_run_that_is_refused_its_folder_leaves_none(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "missing.zip", tmp_path / "data" / "dataset")
    assert "missing.zip" in dataset.fail()
    assert not (tmp_path / "data").exists()
