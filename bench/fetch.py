"""FetchImages (with the start of Luigi) compared with a pool of processes and img2dataset; the server is local."""

import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import archive, photos, runs, server
from bench.runs import Run

PROCESSES = 2
IMG2DATASET = "img2dataset==1.47.0"
ENVIRONMENT = runs.ROOT / ".bench" / "img2dataset"
UNLIMITED = (
    *("--FetchChunk-allow-addresses", "127.0.0.0/8", "--FetchChunk-requests-per-second-per-host", "0"),
    *("--FetchChunk-connections-per-host", "1000"),
)


def bench(images: int, threads: int, rounds: int, old: str) -> None:
    """Fetch the same URLs in each way in turn, with two processes. Clients with threads have `threads` in each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos.write(folder / "photos", images)
        with server.serving(folder / "photos", folder) as (kind, url):
            job = Job(folder, [f"{url}/{number}.jpg" for number in range(images)], threads)
            ways: dict[str, Callable[[], Run]] = {"ours": job.ours, "old way": lambda: job.old_way(old)}
            if has_img2dataset(folder, job.urls[:PROCESSES]):
                ways["img2dataset"] = job.img2dataset
            results = runs.in_turn(ways, rounds)
    print(f"fetch: {images:,} images of {photos.SIZE:,} bytes from {kind}, medians of {rounds}, {runs.describe_load()}")
    runs.print_comparison(results, images)


@dataclass
class Job:
    """The URLs of the photos as each way needs them: in an archive that is read already, and in a text file."""

    folder: Path
    urls: list[str]
    threads: int

    def __post_init__(self) -> None:
        self.archive, self.listing = self.folder / "archive.zip", self.folder / "urls.txt"
        self.read = self.folder / "read"
        self._outputs = (self.folder / f"output-{number}" for number in itertools.count())
        self.listing.write_text("\n".join(self.urls))
        archive.write_plain(self.archive, self.urls)
        runs.timed(runs.luigi("ReadArchive", self.archive, self.read, "--chunks", str(PROCESSES)))

    def ours(self) -> Run:
        """FetchImages. Its manifest was written before."""
        output = next(self._outputs)
        shutil.copytree(self.read, output)
        options = ("--chunks", str(PROCESSES), "--workers", str(PROCESSES), *UNLIMITED)
        threads = ("--FetchChunk-num-workers", str(self.threads))
        return self.timed(runs.luigi("FetchImages", self.archive, output, *options, *threads), output)

    def old_way(self, script: str) -> Run:
        """A pool of processes, with a GET for each URL."""
        output = next(self._outputs)
        return self.timed(runs.old_way(script, "fetch", str(self.listing), str(output), "-j", str(PROCESSES)), output)

    def img2dataset(self) -> Run:
        """img2dataset, which stores and hashes the bytes as they are."""
        output = next(self._outputs)
        options = {
            "url_list": self.listing,
            "output_folder": output,
            "output_format": "files",
            "compute_hash": "sha256",
            "resize_mode": "no",
            "disable_all_reencoding": True,
            "processes_count": PROCESSES,
            "thread_count": self.threads,
            "number_sample_per_shard": -(-len(self.urls) // PROCESSES),
        }
        program = ENVIRONMENT / "bin" / "img2dataset"
        return self.timed([str(program), *(f"--{name}={value}" for name, value in options.items())], output)

    def timed(self, command: list[str], output: Path) -> Run:
        """Run the command and check that every photo is complete."""
        run = runs.timed(command)
        sizes = [path.stat().st_size for path in output.rglob("*.jpg")]
        runs.truncate_files(output)
        if sizes != [photos.SIZE] * len(self.urls):
            raise runs.BenchError(f"{command[0]} left {len(sizes):,} images, {sum(sizes):,} bytes")
        return run


def has_img2dataset(folder: Path, urls: list[str]) -> bool:
    """Install img2dataset (once) and try it. If that fails, print why."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its dependency would look for a newer version
    (folder / "trial").mkdir()
    try:
        if not (ENVIRONMENT / "bin" / "img2dataset").exists():
            runs.timed([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)])
            runs.timed([str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", IMG2DATASET])
        Job(folder / "trial", urls, 1).img2dataset()
    except (runs.BenchError, OSError) as error:
        print(f"fetch: without img2dataset: {str(error).splitlines()[-1]}")
        return False
    return True
