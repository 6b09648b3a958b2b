"""ReadArchive (with the start of Luigi) compared with pandas."""

import shutil
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

from bench import archive, runs
from bench.runs import Run


def bench(path: Path | None, occurrences: int, rounds: int, old: str, *, varied: bool = False) -> None:
    """Read the archive `path`, or if that is None an archive with so many occurrences, made from the sample.

    With `varied` the occurrences have values of their own; otherwise they repeat the sample's.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if path is None:
            path = folder / "archive.zip"
            archive.write(path, occurrences, archive.Differences(varied=varied))
        _compare(path, rounds, old, folder / "output")


def _compare(path: Path, rounds: int, old: str, output: Path) -> None:
    limits = []

    def ours() -> Run:
        shutil.rmtree(output, ignore_errors=True)
        limits.append(_inflate(path))
        return runs.timed(runs.luigi("ReadArchive", path, output))

    def theirs() -> Run:
        return runs.timed(runs.old_way(old, "load", str(path)))

    rows, media = _lines(path, "occurrence.txt"), _lines(path, "multimedia.txt")
    results = runs.in_turn({"ours": ours, "old way": theirs}, rounds)
    size = path.stat().st_size / 1e6
    print(f"read: {rows:,} occurrences, {media:,} media, {size:.0f} MB, medians of {rounds}, {runs.describe_load()}")
    runs.print_comparison(results, media)
    limit = statistics.median(limits)
    print(f"  inflating alone {limit:.2f} s, {limit / runs.median_seconds(results['ours']):.0%} of ours: the limit")


def _inflate(path: Path) -> float:
    """Seconds to inflate the two data files and do nothing else: the limit of every reader."""
    start = time.perf_counter()
    with zipfile.ZipFile(path) as source:
        for name in ("occurrence.txt", "multimedia.txt"):
            with source.open(name) as file:
                while file.read(4 << 20):
                    pass
    return time.perf_counter() - start


def _lines(path: Path, name: str) -> int:
    """Data lines of a file in a zip."""
    with zipfile.ZipFile(path) as source, source.open(name) as file:
        return sum(1 for _ in file) - 1
