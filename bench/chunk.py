"""Speed of fetch_chunk in one process: compared with the wait for each answer, and without some of its work."""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from bench import photos, runs, server
from bench.runs import Run
from gbif_webdataset.fetch import download, fetch_chunk, journal
from gbif_webdataset.fetch.fetch_options import FetchOptions
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.image_response import Download, DownloadLimits
from gbif_webdataset.network.address_guard import AddressGuard
from gbif_webdataset.storage.chunks import chunk_name

LIMITS = DownloadLimits(
    request_timeout=30, max_seconds=300, max_bytes=100_000_000, user_agent="gbif-webdataset-bench", respect_opt_out=True
)
Omission = Callable[[], contextlib.AbstractContextManager[None]]


def bench_latency(images: int, threads: int, rounds: int, latency: float) -> None:
    """Fetch from a server that answers after `latency` seconds; compare with the speed that this delay allows."""
    with tempfile.TemporaryDirectory() as folder, server.serving_slowly(latency) as url:
        results = runs.in_turn({"ours": lambda: _fetch(url, images, threads, Path(folder))}, rounds)["ours"]
    limit, speed = threads / latency, images / runs.median_seconds(results)
    busy = statistics.median(run.processor / run.seconds for run in results)
    print(f"fetch: {images:,} images, each sent {1000 * latency:g} ms after its request, {runs.describe_load()}")
    print(f"  one process, {threads} threads, medians of {rounds}: {speed:,.0f} images/s,")
    print(f"  {speed / limit:.2f} of {limit:,.0f}/s; {busy:.0%} of a processor")


def bench_costs(images: int, threads: int, rounds: int) -> None:
    """Fetch with all parts of the work, and without each part in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos.write(folder / "photos", images)
        with server.serving(folder / "photos", folder) as (kind, url):

            def without(omission: Omission) -> Run:
                with omission():
                    return _fetch(url, images, threads, folder)

            ways = {"all": contextlib.nullcontext, **OMISSIONS}
            results = runs.in_turn({name: partial(without, omission) for name, omission in ways.items()}, rounds)
    complete = results.pop("all")
    how = f"one process, {threads} threads, medians of {rounds}, {runs.describe_load()}"
    print(f"fetch: {images:,} images from {kind}, {how}")
    print(f"  {images / runs.median_seconds(complete):,.0f} images/s, of which take      time  processor")
    for name, without_part in results.items():
        time_share = _share([run.seconds for run in complete], [run.seconds for run in without_part])
        processor_share = _share([run.processor for run in complete], [run.processor for run in without_part])
        print(f"  {name:28} {time_share:10.1%} {processor_share:10.1%}")


def _share(complete: list[float], without_part: list[float]) -> float:
    """The share of the part that was left out: the median of the shares in each round."""
    return statistics.median(1 - less / more for more, less in zip(complete, without_part, strict=True))


def _fetch(url: str, images: int, threads: int, folder: Path) -> Run:
    output = Path(tempfile.mkdtemp(dir=folder))
    manifest = output / chunk_name(0)
    rows = {
        "image_path": [f"bench/{number}.jpg" for number in range(images)],
        "identifier": [f"{url}/{number}.jpg" for number in range(images)],
    }
    pq.write_table(pa.table(rows), manifest)
    hosts = HostTable(HostLimits(threads, 0), {})
    options = FetchOptions(threads, 0, hosts, LIMITS, AddressGuard(["127.0.0.0/8"]))
    begun, worked = time.perf_counter(), time.process_time()
    counts = fetch_chunk.fetch_chunk(output, manifest, 0, options, lambda _: None).counts
    seconds = time.perf_counter() - begun
    processor = time.process_time() - worked
    runs.truncate_files(output)
    if counts != {"fetched": images}:
        raise runs.BenchError(f"some images were not downloaded: {dict(counts)}")
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
    with mock.patch.object(os, "replace", lambda *_: None):
        yield


@contextlib.contextmanager
def _no_files() -> Iterator[None]:
    download_image = download.Downloader.download_image

    def discard(self: download.Downloader, url: str, _: BinaryIO, *redirected: Any) -> Download:
        with Path(os.devnull).open("wb") as nothing:
            return download_image(self, url, nothing, *redirected)

    with mock.patch.object(download.Downloader, "download_image", discard), _no_renaming():
        yield


OMISSIONS: dict[str, Omission] = {
    "the journal": _no_journal,
    "the ledger's table": _no_table,
    "syncing files at the end": _no_syncing,
    "renaming complete files": _no_renaming,
    "writing image files": _no_files,
}
