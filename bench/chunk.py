"""Speed of fetch_chunk in one process: compared with the wait for each answer, and without some of its work."""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from bench import photos, runs, server
from bench.runs import Run
from gbif_webdataset.fetch import download, fetch_chunk, journal
from gbif_webdataset.fetch.address_guard import AddressGuard
from gbif_webdataset.fetch.fetch_options import FetchOptions
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.image_response import Download, DownloadLimits
from gbif_webdataset.storage.chunks import chunk_name

LIMITS = DownloadLimits(
    request_timeout=30, max_seconds=300, max_bytes=100_000_000, user_agent="gbif-webdataset-bench", respect_opt_out=True
)
Omission = Callable[[], contextlib.AbstractContextManager[None]]


def bench_latency(images: int, threads: int, rounds: int, latency: float) -> None:
    """Fetch from a server whose answers take `latency` seconds, and compare with what the wait allows."""
    with tempfile.TemporaryDirectory() as folder, server.serving_slowly(latency) as url:
        found = runs.in_turn({"ours": lambda: _fetched(url, images, threads, Path(folder))}, rounds)["ours"]
    most, speed = threads / latency, images / runs.seconds_of(found)
    busy = statistics.median(run.processor / run.seconds for run in found)
    print(f"fetch: {images:,} images, each {1000 * latency:g} ms after it is asked for, {runs.load()}")
    print(f"  one process, {threads} threads, medians of {rounds}: {speed:,.0f} images/s,")
    print(f"  {speed / most:.2f} of {most:,.0f}/s; {busy:.0%} of a processor")


def bench_costs(images: int, threads: int, rounds: int) -> None:
    """Fetch with all that is done, and with one thing after the other left out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos.write(folder / "photos", images)
        with server.serving(folder / "photos", folder) as (kind, url):

            def without(omission: Omission) -> Run:
                with omission():
                    return _fetched(url, images, threads, folder)

            ways = {"all": contextlib.nullcontext, **OMISSIONS}
            found = runs.in_turn({name: partial(without, omission) for name, omission in ways.items()}, rounds)
    whole = found.pop("all")
    print(f"fetch: {images:,} images from {kind}, one process, {threads} threads, medians of {rounds}, {runs.load()}")
    print(f"  {images / runs.seconds_of(whole):,.0f} images/s, of which take      time  processor")
    for name, rest in found.items():
        time_share = _share([run.seconds for run in whole], [run.seconds for run in rest])
        processor_share = _share([run.processor for run in whole], [run.processor for run in rest])
        print(f"  {name:28} {time_share:10.1%} {processor_share:10.1%}")


def _share(whole: list[float], rest: list[float]) -> float:
    """The share of the whole that is no part of the rest: the median of the rounds, each of which is its own ratio."""
    return statistics.median(1 - less / more for more, less in zip(whole, rest, strict=True))


def _fetched(url: str, images: int, threads: int, folder: Path) -> Run:
    output = Path(tempfile.mkdtemp(dir=folder))
    manifest = output / chunk_name(0)
    rows = {
        "image_path": [f"bench/{number}.jpg" for number in range(images)],
        "identifier": [f"{url}/{number}.jpg" for number in range(images)],
    }
    pq.write_table(pa.table(rows), manifest)
    hosts = HostTable(HostLimits(threads, 0), {})
    options = FetchOptions(threads, 0, hosts, LIMITS, AddressGuard(["127.0.0.0/8"]), max_failed_share=0)
    begun, worked = time.perf_counter(), time.process_time()
    counts = fetch_chunk.fetch_chunk(output, manifest, 0, options, lambda _: None)
    seconds = time.perf_counter() - begun
    processor = time.process_time() - worked
    runs.empty(output)
    if counts != {"fetched": images}:
        raise runs.BenchError(f"not all images came: {dict(counts)}")
    return Run(seconds, 0, processor)


@contextlib.contextmanager
def _no_journal() -> Iterator[None]:
    with mock.patch.object(journal.Journal, "append", lambda *_: None):
        yield


@contextlib.contextmanager
def _no_table() -> Iterator[None]:
    with mock.patch.object(fetch_chunk, "write_ledger", lambda *_: None):
        yield


@contextlib.contextmanager
def _no_syncing() -> Iterator[None]:
    with mock.patch.object(os, "fsync", lambda _: None):
        yield


@contextlib.contextmanager
def _no_renaming() -> Iterator[None]:
    with mock.patch.object(Path, "replace", lambda _, target: target):
        yield


@contextlib.contextmanager
def _no_files() -> Iterator[None]:
    download_image = download.Downloader.download_image

    def discard(self: download.Downloader, url: str, _: Path, *redirected: Any) -> Download:
        return download_image(self, url, Path(os.devnull), *redirected)

    with mock.patch.object(download.Downloader, "download_image", discard), _no_renaming():
        yield


OMISSIONS: dict[str, Omission] = {
    "the journal": _no_journal,
    "the ledger's table": _no_table,
    "syncing at the end": _no_syncing,
    "renaming when it is whole": _no_renaming,
    "files at all": _no_files,
}
