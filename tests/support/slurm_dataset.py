"""A dataset that is made on a cluster of the tests."""

import subprocess
import sys
import time
from pathlib import Path

from sample.server import PhotoServer
from tests.support.datasets import QUICKLY, ROOT, Dataset
from tests.support.slurm_cluster import Cluster

WORKERS = 2  # requests under way at a time, of an element
SLOWLY = ("--FetchChunk-num-workers", str(WORKERS))
SCHEDULED = 8.0  # seconds in which Slurm starts what has nothing to wait for


class OnSlurm(Dataset):
    """A dataset made on a cluster."""

    def __init__(
        self, cluster: Cluster, archive: Path, output: Path, *options: str, chunks: int = 4, root: Path = ROOT
    ) -> None:
        super().__init__(archive, output, chunks)
        self.cluster, self.options, self.root = cluster, options, root

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
            words, cwd=self.root, env=self.cluster.environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def array(self, stage: str) -> str:
        """The number of a stage's array, of which an element is queued or running."""
        return self._jobs(stage)[0][0].partition("_")[0]

    def nodes_of(self, stage: str) -> dict[int, str]:
        """Where the running elements of a stage are."""
        return {int(job.partition("_")[2]): node for job, node in self._jobs(stage) if node}

    def _jobs(self, stage: str) -> list[tuple[str, str]]:
        lines = (line.split(" ") for line in self.cluster.jobs("%i %j %N"))
        return [(job, node) for job, name, node in lines if name.endswith(f"-{stage}")]

    def wait_for_photos(self, photos: PhotoServer, further: int) -> None:
        """Wait until it has fetched so many photos more, of every chunk some."""
        enough = len(photos.requests) + further
        self.cluster.wait_for(
            lambda: (
                len(photos.requests) >= enough
                and sum(path.stat().st_size > 0 for path in self.output.glob("fetched/*.journal")) == self.chunks
            ),
            90,
        )

    def arrays_command(self, action: str, *options: str) -> list[str]:
        """The command line that submits, or that shows the status."""
        which = (f"--dwca={self.archive}", f"--output={self.output}", "--chunks", str(self.chunks))
        return [sys.executable, "-m", "tasks.arrays", action, *which, *QUICKLY, *self.options, *options]

    def run_arrays(self, action: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """Submit or show the status, however that ends."""
        words = self.arrays_command(action, *options)
        return subprocess.run(
            words, cwd=self.root, env=self.cluster.environment, capture_output=True, text=True, timeout=120, check=False
        )

    def _arrays(self, action: str, *options: str) -> str:
        ended = self.run_arrays(action, *options)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def logs(self) -> str:
        """All that the jobs wrote."""
        return "\n".join(
            f"{log.name}:\n{log.read_text()}" for log in sorted((self.root / self.output / "logs").iterdir())
        )

    def wait(self) -> None:
        """Wait until no job is left that runs or could: none, or only such as wait for one that failed."""

        def is_at_rest() -> bool:
            return all(job.endswith(("PENDING Dependency", "DependencyNeverSatisfied")) for job in self.cluster.jobs())

        def has_come_to_rest() -> bool:
            time.sleep(SCHEDULED * is_at_rest())
            return is_at_rest()

        self.cluster.wait_for(has_come_to_rest)
