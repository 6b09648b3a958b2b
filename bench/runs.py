"""Run commands in turn and compare their median times."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


class BenchError(Exception):
    """A command that was measured did not do its work."""


@dataclass(frozen=True)
class Run:
    """Seconds of wall-clock time, peak memory of the largest process in MiB, and seconds of processor time."""

    seconds: float
    peak: float
    processor: float


def luigi(task: str, archive: Path, output: Path, *options: str) -> list[str]:
    """The command line that runs `task`."""
    dataset = ["--dwca", str(archive), "--output", str(output)]
    return [sys.executable, "-m", "luigi", "--module", "tasks", task, *dataset, *options]


def old_way(script: str, *arguments: str) -> list[str]:
    """The command line of the old way: `script`, or bench.old_way if that is empty."""
    return [sys.executable, *(script.split() if script else ["-m", "bench.old_way"]), *arguments]


def timed(command: Sequence[str]) -> Run:
    """Run a command in the repository and measure it. Raises BenchError if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{errors}")
    seconds = time.perf_counter() - start
    return Run(seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def in_turn(ways: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Run each way once, then all of them again, so that other work on the machine affects all in the same way."""
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            runs[name].append(way())
    return runs


def truncate_files(folder: Path) -> None:
    """Free the disk space of all files, but keep the empty files: ext4 is slow after many deletions."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def median_seconds(runs: Sequence[Run]) -> float:
    """Median time, in seconds."""
    return statistics.median(run.seconds for run in runs)


def median_peak(runs: Sequence[Run]) -> float:
    """Median of the peak memory, in MiB."""
    return statistics.median(run.peak for run in runs)


def print_comparison(runs: Mapping[str, Sequence[Run]], items: int) -> None:
    """Print the medians, and compare the first way with each of the others."""
    for name, results in runs.items():
        seconds = median_seconds(results)
        print(f"  {name:12} {seconds:8.2f} s {items / seconds:10,.0f} images/s {median_peak(results):8,.0f} MiB")
    ours, *others = runs
    for other in others:
        speed = median_seconds(runs[other]) / median_seconds(runs[ours])
        memory = median_peak(runs[ours]) / median_peak(runs[other])
        print(f"  {ours} {speed:.2f} times as fast as {other}, with {memory:.2f} of its memory")


def describe_load() -> str:
    """The load of the machine: processes that ran or waited to run, on average over the last minute."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
