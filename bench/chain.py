"""The whole job, from the archive to the report, compared with the old scripts; and a run that has nothing to do."""

import shutil
import statistics
import struct
import sys
import tempfile
from pathlib import Path

from bench import archive, idle_dataset, runs, server
from bench.archive import Differences
from bench.fetch import UNLIMITED
from bench.runs import Run

SIZE = (1024, 768)  # pixels of the photos
DISTINCT_PHOTOS = 2_000  # the others have their pixels, but other bytes
MEDIA_PER_OCCURRENCE = 1.3
SIDE = "450"
CHUNKS, PROCESSES = "4", "2"
IDLE_SIZES = ((20_000, 16), (1_000_000, 1000))  # images, chunks


def bench(images: int, rounds: int, old: str) -> None:
    """Measure about so many photos in each way, and then runs of this tool that have nothing to do."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = folder / "photos"
        photos.mkdir()
        with server.serving(photos, folder) as (kind, url):
            if kind != "nginx":
                raise runs.BenchError("chain: the photos need a fast server; install nginx")
            source = folder / "archive.zip"
            occurrences = round(images / MEDIA_PER_OCCURRENCE)
            count = archive.write(source, occurrences, Differences(varied=True), url=url)
            _write_photos(folder / "drawn", photos, count)
            ways = {
                "ours": lambda: _run_ours(source, folder / "ours"),
                "old way": lambda: _run_old_way(old, source, folder / "old"),
            }
            results = runs.in_turn(ways, rounds)
    print(f"chain: {count:,} media, photos of {SIZE[0]} x {SIZE[1]} pixels from nginx, {runs.describe_load()}")
    runs.print_comparison(results, count)
    bench_idle(rounds)


def bench_idle(rounds: int) -> None:
    """Measure runs that have nothing to do, for each of IDLE_SIZES."""
    for images, chunks in IDLE_SIZES:
        with tempfile.TemporaryDirectory() as name:
            command = idle_dataset.make_dataset(Path(name), images, chunks)
            measured = [runs.timed(command) for _ in range(rounds)]
        seconds = runs.median_seconds(measured)
        processor = statistics.median(run.processor for run in measured)
        print(
            f"  nothing to do, {images:,} images in {chunks:,} chunks: {seconds:.2f} s, {processor:.2f} s of processor "
            f"time, {runs.median_peak(measured):,.0f} MiB, {runs.describe_load()}",
            flush=True,
        )


def _write_photos(drawn: Path, photos: Path, count: int) -> None:
    """Write 0.jpg, 1.jpg and so on; all have different bytes."""
    distinct = str(min(count, DISTINCT_PHOTOS))
    runs.timed([sys.executable, "-m", "bench.real_photos", str(drawn), *map(str, SIZE), distinct])
    sources = [path.read_bytes() for path in sorted(drawn.rglob("*.jpg"))]
    for number in range(count):
        comment, data = b"photo %d" % number, sources[number % len(sources)]
        segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
        (photos / f"{number}.jpg").write_bytes(data[:2] + segment + data[2:])


def _run_ours(source: Path, output: Path) -> Run:
    shutil.rmtree(output, ignore_errors=True)
    resizing = ("--CreateWebDataset-resize-min-size", SIDE)
    return runs.timed(
        runs.luigi("ReportDataset", source, output, "--chunks", CHUNKS, "--workers", PROCESSES, *UNLIMITED, *resizing)
    )


def _run_old_way(script: str, source: Path, output: Path) -> Run:
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    return runs.timed(runs.old_way(script, "all", str(source), str(output), "-j", PROCESSES))
