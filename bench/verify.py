"""Verify photos with this tool alone, through Luigi and in the old way, in turn, with one worker. The limit is tjbench.

Speeds are images per second of processor time: the speed of one core, whatever else runs on the machine. The start of
the process is subtracted from the times of this tool alone and of the old way, but not from those of Luigi.
"""

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import archive, real_photos, runs
from bench.real_photos import KINDS
from bench.runs import Run
from gbif_webdataset.verify.check_image import check_image

MAX_PIXELS = 100_000_000
SIZES = ((500, 375, 4000), (1024, 768, 1600), (2048, 1536, 480))  # pixels, and how many photos
TJBENCH_PHOTOS = 16  # of each kind


def bench(rounds: int, old: str, share: float) -> None:
    """Measure each of SIZES with a `share` of its photos."""
    origin = "real photos" if real_photos.find_photos() else "drawn photos"
    print(f"verify: {origin}, medians of {rounds}, {runs.describe_load()}", flush=True)
    for width, height, photos in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder, count = Path(name), max(16, round(photos * share))
            # In another process, because the processes that are timed start with the peak memory of this one.
            writing = [sys.executable, "-m", "bench.real_photos", str(folder), str(width), str(height), str(count)]
            runs.timed(writing)
            size = sum(path.stat().st_size for path in folder.glob("*/*.jpg"))
            print(f"{width} x {height}: {count:,} photos, {size / count / 1e3:,.0f} kB each", flush=True)
            _compare(folder, rounds, old, count)
            print(f"  {measure_limit(folder)}", flush=True)


def verify_all(folder: Path, kind: str) -> None:
    """Verify every photo of a kind, one after another. Ends the process if one is invalid."""
    for name, sha256 in real_photos.read_listing(folder):
        if name.startswith(kind):
            found = check_image((folder / name).read_bytes(), sha256, MAX_PIXELS)
            if not found.valid:
                sys.exit(f"{name}: {found.error}")


def fetch_dataset(folder: Path) -> tuple[list[str], Path]:
    """Make a dataset with fetched photos. Returns the command that verifies them with one worker, and the output."""
    names = [name for name, _ in real_photos.read_listing(folder)]
    cache, output = folder / "cache" / "bench", folder / "output"
    cache.mkdir(parents=True)
    for number, name in enumerate(names):
        os.link(folder / name, cache / f"{archive.FIRST_ID + number}.jpg")
    archive.write_plain(folder / "archive.zip", (f"http://127.0.0.1/{name}" for name in names))
    options = ["--chunks", "1", "--FetchChunk-cache-path", str(cache.parent), "--VerifyChunk-num-workers", "1"]
    runs.timed(runs.luigi("FetchImages", folder / "archive.zip", output, *options))
    return runs.luigi("VerifyImages", folder / "archive.zip", output, *options), output


def measure_limit(folder: Path) -> str:
    """The speed of libjpeg-turbo's tjbench at an eighth of the size (its -grayscale would remove colours before)."""
    if not shutil.which("tjbench"):
        return "tjbench is not installed"
    speeds = []
    for kind in KINDS:
        seconds = []
        for path in sorted((folder / kind).glob("*.jpg"))[:TJBENCH_PHOTOS]:
            command = ["tjbench", str(path), "-scale", "1/8", "-nowrite", "-benchtime", "0.2", "-warmup", "0.1"]
            start, before = time.perf_counter(), _processor_of_children()
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            busy = (_processor_of_children() - before) / (time.perf_counter() - start)
            seconds.append(busy / float(re.findall(r"([0-9.]+) fps", printed)[-1]))
        speeds.append(f"{kind} {1 / statistics.mean(seconds):,.0f} images/s")
    return f"the limit, decoding with tjbench: {', '.join(speeds)}"


def _processor_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _compare(folder: Path, rounds: int, old: str, count: int) -> None:
    """Time the ways in turn and print the results."""
    through_luigi, output = fetch_dataset(folder)
    ours: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    theirs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    by_luigi = []
    (folder / "none").mkdir()
    for _ in range(rounds):
        starts = [runs.timed(command) for command in _commands(folder, "none", old)]
        for kind in KINDS:
            for results, command, start in zip((ours, theirs), _commands(folder, kind, old), starts, strict=True):
                run = runs.timed(command)
                results[kind].append(Run(run.seconds, run.peak, run.processor - start.processor))
        for record in (output / ".made").glob("Verify*"):
            record.unlink()
        by_luigi.append(runs.timed(through_luigi))
    for kind in KINDS:
        print_comparison(kind, len(list((folder / kind).iterdir())), {"ours": ours[kind], "old way": theirs[kind]})
    print_comparison(
        "both", count, {"ours": _add_kinds(ours), "through luigi": by_luigi, "old way": _add_kinds(theirs)}
    )


def _commands(folder: Path, kind: str, old: str) -> tuple[list[str], list[str]]:
    """The commands that verify the photos of a kind: this tool alone, and the old way."""
    ours = [sys.executable, "-m", "bench.verify", str(folder), kind]
    return ours, runs.old_way(old, "verify", str(folder / kind), "-j", "1")


def _add_kinds(results: Mapping[str, Sequence[Run]]) -> list[Run]:
    """The sum of both kinds in each round."""
    pairs = zip(*results.values(), strict=True)
    return [
        Run(sum(run.seconds for run in pair), max(run.peak for run in pair), sum(run.processor for run in pair))
        for pair in pairs
    ]


def print_comparison(name: str, count: int, results: Mapping[str, Sequence[Run]]) -> None:
    """Print the medians, and compare each way with the last one."""
    seconds = {way: statistics.median(run.processor for run in rounds) for way, rounds in results.items()}
    old = list(results)[-1]
    for way, rounds in results.items():
        speed = f"{seconds[way]:7.2f} s {count / seconds[way]:8,.0f} images/s {runs.median_peak(rounds):5,.0f} MiB"
        ratio = "" if way == old else f", {seconds[old] / seconds[way]:.2f} times as fast"
        print(f"  {name:11} {way:13} {speed}{ratio}", flush=True)


if __name__ == "__main__":
    verify_all(Path(sys.argv[1]), sys.argv[2])
