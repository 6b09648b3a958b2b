"""The packed store compared with a file for each image: fetching, verifying, writing shards, and opening the store."""

import io
import itertools
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image

from bench import archive, photos, runs, server
from bench.fetch import UNLIMITED
from bench.runs import Run
from gbif_webdataset.export.export_images import list_images
from gbif_webdataset.storage.chunks import index_name, pack_folder_name
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.pack_index import ADDED, PackedImage, format_line
from gbif_webdataset.storage.paths import DatasetPaths

STORES = ("packed", "files")
PROCESSES = "2"
CHUNKS, IMAGES_PER_CHUNK, IMAGE_BYTES = 1_000, 1_000, 20_480
OPENED_IMAGES = 1_000
DISK_BYTES = 4 << 30


def bench(images: int, rounds: int) -> None:
    """Fetch, verify and write shards of so many photos with each store in turn; then open a store of CHUNKS chunks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos.write(folder / "photos", images)
        with server.serving(folder / "photos", folder) as (kind, url):
            job = Job(folder, images, url)
            print(f"store: {images:,} images of {photos.SIZE:,} bytes from {kind}, medians of {rounds}", flush=True)
            _compare("fetch", images, rounds, job.fetch)
            job.keep_outputs()
            _compare("verify", images, rounds, job.verify)
            _compare("shards", images, rounds, job.write_shards)
    _bench_opening(rounds)


class Job:
    """A dataset with each store. Their manifest was written before, so that reading is not measured."""

    def __init__(self, folder: Path, images: int, url: str) -> None:
        self.folder, self.images = folder, images
        self._archive, self._read = folder / "archive.zip", folder / "read"
        self._numbers = itertools.count()
        self._outputs: dict[str, Path] = {}
        archive.write_plain(self._archive, (f"{url}/{number}.jpg" for number in range(images)))
        runs.timed(self._command("ReadArchive", "files", self._read))

    def fetch(self, store: str) -> Run:
        """Download all images into a new output."""
        output = self.folder / f"output-{next(self._numbers)}"
        shutil.copytree(self._read, output)
        run = runs.timed(self._command("FetchImages", store, output))
        found = sum(image.bytes for image in list_images(DatasetPaths.under(output)))
        if found != self.images * photos.SIZE:
            raise runs.BenchError(f"--store {store} has {found:,} bytes of images")
        if older := self._outputs.get(store):
            runs.truncate_files(older)
        self._outputs[store] = output
        return run

    def keep_outputs(self) -> None:
        """Make all stages of the last outputs once, so that each can be measured alone."""
        for store, output in self._outputs.items():
            runs.timed(self._command("CreateWebDataset", store, output))

    def verify(self, store: str) -> Run:
        """Verify all images again."""
        output = self._outputs[store]
        for record in (output / ".made").glob("Verify*"):
            record.unlink()
        return runs.timed(self._command("VerifyImages", store, output))

    def write_shards(self, store: str) -> Run:
        """Write all shards again."""
        output = self._outputs[store]
        (output / ".made" / "CreateWebDataset.json").unlink()
        return runs.timed(self._command("CreateWebDataset", store, output))

    def _command(self, task: str, store: str, output: Path) -> list[str]:
        options = ("--store", store, "--chunks", PROCESSES, "--workers", PROCESSES, *UNLIMITED)
        labels = ("--SplitDataset-category-key", "datasetKey")
        return runs.luigi(task, self._archive, output, *options, *labels)


def bench_cold(images: int, rounds: int) -> None:
    """Verify so many small photos, with each store in turn, on a disk that is mounted again before each run.

    It needs root and loop devices.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = SmallPhotos(folder, images)
        try:
            print(f"store: {images:,} photos of {len(job.photo(0)):,} bytes, medians of {rounds}", flush=True)
            _compare("verify, nothing in memory", images, rounds, job.verify)
        finally:
            subprocess.run(["umount", str(job.disk)], check=True)


class SmallPhotos:
    """A dataset of small photos with each store, on a disk of its own."""

    def __init__(self, folder: Path, images: int) -> None:
        self._archive, self._image, self.disk = folder / "archive.zip", folder / "disk.img", folder / "disk"
        cache = folder / "cache"
        (cache / "bench").mkdir(parents=True)
        for number in range(images):
            (cache / "bench" / f"{archive.FIRST_ID + number}.jpg").write_bytes(self.photo(number))
        archive.write_plain(self._archive, (f"http://127.0.0.1/{number}.jpg" for number in range(images)))
        with self._image.open("wb") as file:
            file.truncate(DISK_BYTES)
        runs.timed(["mkfs.ext4", "-q", str(self._image)])
        self.disk.mkdir()
        self._mount()
        for store in STORES:
            options = ("--FetchChunk-cache-path", str(cache), "--FetchChunk-min-free-bytes", "0")
            runs.timed(self._command("FetchImages", store, *options))

    @staticmethod
    def photo(number: int) -> bytes:
        """A small JPEG that no other photo equals."""
        file = io.BytesIO()
        Image.linear_gradient("L").resize((96, 64)).save(file, "JPEG", comment=f"photo {number:012}")
        return file.getvalue()

    def verify(self, store: str) -> Run:
        """Verify all photos again, which are read from the disk."""
        for record in (self.disk / store / ".made").glob("Verify*"):
            record.unlink()
        runs.timed(["umount", str(self.disk)])
        self._mount()
        return runs.timed(self._command("VerifyImages", store))

    def _mount(self) -> None:
        """Mount the disk, without a cache of its own image."""
        runs.timed(["mount", "-o", "loop", str(self._image), str(self.disk)])
        listed = subprocess.run(
            ["losetup", "--list", "--noheadings", "--output", "NAME", "--associated", str(self._image)],
            capture_output=True,
            text=True,
            check=True,
        )
        runs.timed(["losetup", "--direct-io=on", listed.stdout.strip()])

    def _command(self, task: str, store: str, *options: str) -> list[str]:
        shared = ("--store", store, "--chunks", PROCESSES, "--workers", PROCESSES)
        return runs.luigi(task, self._archive, self.disk / store, *shared, *options)


def _compare(name: str, images: int, rounds: int, work: Callable[[str], Run]) -> None:
    ways = {store: partial(work, store) for store in STORES}
    results = runs.in_turn(ways, rounds)
    print(f"{name}, {runs.describe_load()}")
    runs.print_comparison(results, images)
    processor = {store: statistics.median(run.processor for run in results[store]) for store in STORES}
    print(
        f"  processor time: packed {processor['packed']:.2f} s, files {processor['files']:.2f} s, "
        f"{processor['files'] / processor['packed']:.2f} times as fast",
        flush=True,
    )


def _bench_opening(rounds: int) -> None:
    """Find OPENED_IMAGES images in a store of CHUNKS chunks."""
    with tempfile.TemporaryDirectory() as name:
        images = Path(name)
        for chunk in range(CHUNKS):
            _write_chunk(images, chunk)
        rng, results = random.Random(0), []
        paths = [f"d/{rng.randrange(CHUNKS)}-{rng.randrange(IMAGES_PER_CHUNK)}.jpg" for _ in range(OPENED_IMAGES)]
        for _ in range(rounds):
            begun, worked = time.perf_counter(), time.process_time()
            reader = ImageReader(images)
            reader.find_places(paths)
            results.append(Run(time.perf_counter() - begun, 0, time.process_time() - worked))
            if not all(map(reader.has_image, paths)):
                raise runs.BenchError("an image was not found")
    processor = statistics.median(run.processor for run in results)
    print(
        f"opening a store of {CHUNKS:,} chunks with {CHUNKS * IMAGES_PER_CHUNK:,} images: "
        f"{runs.median_seconds(results):.2f} s, {processor:.2f} s of processor time, {runs.describe_load()}"
    )


def _write_chunk(images: Path, chunk: int) -> None:
    """Write the index of a chunk, and a pack of its size without contents."""
    folder = images / pack_folder_name(chunk)
    folder.mkdir()
    lines = [
        format_line(PackedImage(f"d/{chunk}-{number}.jpg", 0, number * IMAGE_BYTES, IMAGE_BYTES, "0" * 64), ADDED)
        for number in range(IMAGES_PER_CHUNK)
    ]
    (images / index_name(chunk)).write_bytes(b"".join(lines))
    with (folder / "000.tar").open("wb") as file:
        file.truncate(IMAGE_BYTES * (IMAGES_PER_CHUNK + 1))
