"""Timing commands in turn, and telling their medians as ratios."""

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
    """What was to be measured did not do its work."""


@dataclass(frozen=True)
class Run:
    """Wall-clock seconds, the memory of the largest process in MiB, and seconds of all processors."""

    seconds: float
    peak: float
    processor: float


def luigi(task: str, archive: Path, output: Path, *options: str) -> list[str]:
    """The command line that makes `task` of this repository."""
    named = ["--dwca", str(archive), "--output", str(output)]
    return [sys.executable, "-m", "luigi", "--module", "tasks", task, *named, *options]


def old_way(script: str, *arguments: str) -> list[str]:
    """The command line of the old way: `script`, or this repository's own where that is empty."""
    return [sys.executable, *(script.split() if script else ["-m", "bench.old_way"]), *arguments]


def timed(command: Sequence[str]) -> Run:
    """Run a command to its end, in the repository; raises BenchError where it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{errors}")
    seconds = time.perf_counter() - begun
    return Run(seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def in_turn(ways: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Each way once, then all of them again: what else the machine does, it does to all."""
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            runs[name].append(way())
    return runs


def empty(folder: Path) -> None:
    """Give the room that files take back, and leave the files: ext4 is slow where many were just deleted."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def seconds_of(runs: Sequence[Run]) -> float:
    """The median time in seconds."""
    return statistics.median(run.seconds for run in runs)


def peak_of(runs: Sequence[Run]) -> float:
    """The median peak of memory in MiB."""
    return statistics.median(run.peak for run in runs)


def show(runs: Mapping[str, Sequence[Run]], items: int) -> None:
    """Print the medians, and how the first compares with each of the others."""
    for name, found in runs.items():
        seconds = seconds_of(found)
        print(f"  {name:12} {seconds:8.2f} s {items / seconds:10,.0f} images/s {peak_of(found):8,.0f} MiB")
    ours, *others = runs
    for other in others:
        speed, memory = seconds_of(runs[other]) / seconds_of(runs[ours]), peak_of(runs[ours]) / peak_of(runs[other])
        print(f"  {ours} {speed:.2f} times as fast as {other}, with {memory:.2f} of its memory")


def load() -> str:
    """How busy the machine is: processes that ran or waited to, over the last minute."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
