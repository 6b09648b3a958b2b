"""Verifying photos: ours, ours through luigi, and the old way in turn, each by one worker; tjbench for the limit.

What is told is images per second of processor time, which is what one core does, whoever else is at work on the
machine. What a process takes to start is taken off ours and the old way's, not off luigi's.
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
TJBENCH_ON = 16  # photos of each kind


def bench(rounds: int, old: str, share: float) -> None:
    """Measure each of SIZES, on that share of its photos."""
    print(
        f"verify: {'real photos' if real_photos.real() else 'the sample, drawn'}, medians of {rounds}, {runs.load()}",
        flush=True,
    )
    for width, height, most in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder, count = Path(name), max(16, round(most * share))
            # In a process of its own: those that are timed would begin with its memory as their peak.
            writing = [sys.executable, "-m", "bench.real_photos", str(folder), str(width), str(height), str(count)]
            runs.timed(writing)
            size = sum(path.stat().st_size for path in folder.glob("*/*.jpg"))
            print(f"{width} x {height}: {count:,} photos, {size / count / 1e3:,.0f} kB each", flush=True)
            _compare(folder, rounds, old, count)
            print(f"  {limit(folder)}", flush=True)


def look(folder: Path, kind: str) -> None:
    """Look at every photo of a kind, one after another; ends the process where one is found bad."""
    for name, sha256 in real_photos.listed(folder):
        if name.startswith(kind):
            found = check_image(folder / name, sha256, MAX_PIXELS)
            if not found.valid:
                sys.exit(f"{name}: {found.error}")


def fetched(folder: Path) -> tuple[list[str], Path]:
    """Make a dataset whose photos are fetched; the command that verifies them by one worker, and its output."""
    names = [name for name, _ in real_photos.listed(folder)]
    cache, output = folder / "cache" / "bench", folder / "output"
    cache.mkdir(parents=True)
    for number, name in enumerate(names):
        os.link(folder / name, cache / f"{archive.FIRST_ID + number}.jpg")
    archive.write_plain(folder / "archive.zip", (f"http://127.0.0.1/{name}" for name in names))
    options = ["--chunks", "1", "--FetchChunk-cache-path", str(cache.parent), "--VerifyChunk-num-workers", "1"]
    runs.timed(runs.luigi("FetchImages", folder / "archive.zip", output, *options))
    return runs.luigi("VerifyImages", folder / "archive.zip", output, *options), output


def limit(folder: Path) -> str:
    """What libjpeg-turbo's own tjbench decodes to an eighth; its -grayscale would take the colours out beforehand."""
    if not shutil.which("tjbench"):
        return "tjbench is not installed"
    told = []
    for kind in KINDS:
        seconds = []
        for path in sorted((folder / kind).glob("*.jpg"))[:TJBENCH_ON]:
            command = ["tjbench", str(path), "-scale", "1/8", "-nowrite", "-benchtime", "0.2", "-warmup", "0.1"]
            begun, before = time.perf_counter(), _processor_of_children()
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            busy = (_processor_of_children() - before) / (time.perf_counter() - begun)
            seconds.append(busy / float(re.findall(r"([0-9.]+) fps", printed)[-1]))
        told.append(f"{kind} {1 / statistics.mean(seconds):,.0f} images/s")
    return f"the limit, tjbench's decoding alone: {', '.join(told)}"


def _processor_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _compare(folder: Path, rounds: int, old: str, count: int) -> None:
    """Time the ways in turn, and print what they took."""
    through_luigi, output = fetched(folder)
    ours: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    theirs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    by_luigi = []
    (folder / "none").mkdir()
    for _ in range(rounds):
        starts = [runs.timed(command) for command in _commands(folder, "none", old)]
        for kind in KINDS:
            for found, command, start in zip((ours, theirs), _commands(folder, kind, old), starts, strict=True):
                run = runs.timed(command)
                found[kind].append(Run(run.seconds, run.peak, run.processor - start.processor))
        for record in (output / ".made").glob("Verify*"):
            record.unlink()
        by_luigi.append(runs.timed(through_luigi))
    for kind in KINDS:
        show(kind, len(list((folder / kind).iterdir())), {"ours": ours[kind], "old way": theirs[kind]})
    show("both", count, {"ours": _together(ours), "through luigi": by_luigi, "old way": _together(theirs)})


def _commands(folder: Path, kind: str, old: str) -> tuple[list[str], list[str]]:
    """What verifies the photos of a kind: ours, and the old way."""
    ours = [sys.executable, "-m", "bench.verify", str(folder), kind]
    return ours, runs.old_way(old, "verify", str(folder / kind), "-j", "1")


def _together(found: Mapping[str, Sequence[Run]]) -> list[Run]:
    """The rounds of the two kinds as one."""
    pairs = zip(*found.values(), strict=True)
    return [
        Run(sum(run.seconds for run in pair), max(run.peak for run in pair), sum(run.processor for run in pair))
        for pair in pairs
    ]


def show(name: str, count: int, found: Mapping[str, Sequence[Run]]) -> None:
    """Print the medians of some photos, and how each way compares with the last."""
    seconds = {way: statistics.median(run.processor for run in done) for way, done in found.items()}
    old = list(found)[-1]
    for way, done in found.items():
        speed = f"{seconds[way]:7.2f} s {count / seconds[way]:8,.0f} images/s {runs.peak_of(done):5,.0f} MiB"
        ratio = "" if way == old else f", {seconds[old] / seconds[way]:.2f} times as fast"
        print(f"  {name:11} {way:13} {speed}{ratio}", flush=True)


if __name__ == "__main__":
    look(Path(sys.argv[1]), sys.argv[2])
