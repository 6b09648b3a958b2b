"""The same dataset by job arrays, and by a driver with an allocation for each chunk, on a real Slurm of two nodes."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sample.server import PhotoServer
from tests.cluster import Cluster, why_not
from tests.datasets import QUICKLY, ROOT, Dataset

WORKERS = 2  # requests under way at a time, of an element
SLOWLY = ("--FetchChunk-num-workers", str(WORKERS))
SOON = 15.0


@pytest.fixture(scope="module")
def the_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("cluster") / "slurm") as cluster:
        yield cluster


@pytest.fixture
def cluster(the_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster without a job, before and after."""
    yield the_cluster
    the_cluster.cancel_all()


@pytest.fixture
def slow_photos(photos: PhotoServer) -> Iterator[PhotoServer]:
    yield photos
    photos.delay = 0


class OnSlurm(Dataset):
    """A dataset made on a cluster."""

    def __init__(self, cluster: Cluster, archive: Path, output: Path, *options: str, chunks: int = 4) -> None:
        super().__init__(archive, output, chunks)
        self.cluster, self.options = cluster, options

    def submit(self, *options: str) -> str:
        """Submit what is missing; what that prints."""
        return self._arrays("submit", *options)

    def status(self) -> str:
        """The table of stages, and the words of what failed."""
        return self._arrays("status")

    def row(self, stage: str) -> list[str]:
        """The line of a stage in the table: done, running, waiting, failed, to do, and reasons."""
        return next(line.split()[1:] for line in self.status().splitlines() if line.startswith(f"{stage} "))

    def driver(self, *arguments: str, task: str = "ReportDataset") -> "subprocess.Popen[str]":
        """The command with `--runner slurm`, in a process group of its own."""
        words = self.command(*self.options, *arguments, "--runner", "slurm", "--workers", "4", task=task)
        return subprocess.Popen(
            words, cwd=ROOT, env=self.cluster.environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def _arrays(self, action: str, *options: str) -> str:
        which = ("--dwca", str(self.archive), "--output", str(self.output), "--chunks", str(self.chunks))
        words = [sys.executable, "-m", "tasks.arrays", action, *which, *QUICKLY, *self.options, *options]
        ended = subprocess.run(
            words, cwd=ROOT, env=self.cluster.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def logs(self) -> str:
        """All that the jobs wrote."""
        return "\n".join(f"{log.name}:\n{log.read_text()}" for log in sorted((self.output / "logs").iterdir()))

    def wait(self) -> None:
        """Wait until no job is left that could still run."""
        self.cluster.wait_for(lambda: all("DependencyNeverSatisfied" in job for job in self.cluster.jobs()))


def test_job_arrays_make_the_shards_that_the_command_makes_and_are_never_doubled(
    cluster: Cluster, made: Dataset, tmp_path: Path
) -> None:
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset")
    told = dataset.submit()
    assert [line.split()[0] for line in told.splitlines()] == ["read", "fetch", "verify", "tables", "shards", "report"]
    numbers = {line.split()[-1] for line in told.splitlines()}
    again = dataset.submit()
    assert re.fullmatch(r"nothing to submit: \d+ of its jobs are queued or running\n", again)
    assert {job.split()[0].partition("_")[0] for job in cluster.jobs()} <= numbers
    dataset.wait()
    assert dataset.submit() == "nothing to do\n", dataset.logs()
    assert cluster.jobs() == []
    assert dataset.shards() == made.shards()
    assert dataset.rows("accounting.csv") == made.rows("accounting.csv")


def test_the_driver_makes_the_same_shards_on_a_cluster_without_accounts(
    cluster: Cluster, made: Dataset, tmp_path: Path
) -> None:
    sacct = subprocess.run(["sacct"], env=cluster.environment, capture_output=True, check=False)
    assert sacct.returncode != 0, "this cluster keeps accounts"
    dataset = OnSlurm(cluster, made.archive, tmp_path / "dataset")
    driver = dataset.driver()
    _, told = driver.communicate(timeout=240)
    assert driver.returncode == 0, told
    assert dataset.shards() == made.shards()
    chunks = {f"{task}-{chunk:05}.log" for task in ("FetchChunk", "VerifyChunk") for chunk in range(4)}
    assert chunks | {"ShardChunk-00000.log"} <= {log.name for log in (dataset.output / "logs").iterdir()}
