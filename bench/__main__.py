"""Run the benchmarks: ours and the old way in turn, the median of each, their ratio, and the peak of memory.

python -m bench [read] [--occurrences 200000 | --archive ARCHIVE.zip] [--rounds 5] [--old SCRIPT]
python -m bench verify [--share 1.0] [--rounds 5] [--old SCRIPT]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from bench import archive, verify

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Run:
    """A command's wall-clock seconds, and the memory of its largest process in MiB."""

    seconds: float
    peak: float


def timed(command: list[str]) -> Run:
    """Run a command to its end, in the repository; ends the benchmark where it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors}")
    return Run(time.perf_counter() - begun, usage.ru_maxrss / 1024)


def inflate(path: Path) -> float:
    """Seconds to inflate the two data files and do nothing with them: what reading can't be faster than."""
    begun = time.perf_counter()
    with zipfile.ZipFile(path) as source:
        for name in ("occurrence.txt", "multimedia.txt"):
            with source.open(name) as file:
                while file.read(4 << 20):
                    pass
    return time.perf_counter() - begun


def lines(path: Path, name: str) -> int:
    """Data lines of a file in a zip."""
    with zipfile.ZipFile(path) as source, source.open(name) as file:
        return sum(1 for _ in file) - 1


def read(path: Path, rounds: int, old: str, folder: Path) -> None:
    """ReadArchive, Luigi's start included, against pandas."""
    occurrences, media = lines(path, "occurrence.txt"), lines(path, "multimedia.txt")
    output = folder / "output"
    ours = [
        sys.executable,
        "-m",
        "luigi",
        "--module",
        "tasks",
        "ReadArchive",
        "--dwca",
        str(path),
        "--output",
        str(output),
    ]
    theirs = [sys.executable, *(old.split() if old else ["-m", "bench.old_way"]), "load", str(path)]
    runs: dict[str, list[Run]] = {"ours": [], "old way": []}
    floors = []
    for _ in range(rounds):
        shutil.rmtree(output, ignore_errors=True)
        runs["ours"].append(timed(ours))
        runs["old way"].append(timed(theirs))
        floors.append(inflate(path))
    print(
        f"read: {occurrences:,} occurrences, {media:,} media, {path.stat().st_size / 1e6:.0f} MB, medians of {rounds}"
    )
    show(runs, media)
    share = statistics.median(floors) / statistics.median(run.seconds for run in runs["ours"])
    print(f"  inflating alone {statistics.median(floors):.2f} s, {share:.0%} of ours: the limit")


def show(runs: dict[str, list[Run]], items: int) -> None:
    """Print the medians, and how ours compares."""
    seconds = {name: statistics.median(run.seconds for run in found) for name, found in runs.items()}
    peaks = {name: statistics.median(run.peak for run in found) for name, found in runs.items()}
    for name in runs:
        print(f"  {name:8} {seconds[name]:8.2f} s {items / seconds[name]:10,.0f} images/s {peaks[name]:8,.0f} MiB")
    ours, old = runs
    print(f"  ratio    {seconds[old] / seconds[ours]:.2f} times as fast, {peaks[ours] / peaks[old]:.2f} of the memory")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=["read", "verify"], default="read")
    parser.add_argument("--occurrences", type=int, default=200_000, help="of an archive made from the sample")
    parser.add_argument("--archive", type=Path, help="an archive to read instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--old", default="", help="a Python script to compare with, called with the stage and its input"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the photos that verify is measured on")
    arguments = parser.parse_args()
    if arguments.stage == "verify":
        verify.bench(arguments.rounds, arguments.old, arguments.share)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.archive or Path(folder) / "archive.zip"
        if not arguments.archive:
            archive.write(path, arguments.occurrences)
        read(path, arguments.rounds, arguments.old, Path(folder))


if __name__ == "__main__":
    main()
