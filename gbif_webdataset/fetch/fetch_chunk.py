"""Fetch the images of a chunk: politely, with distrust of what hosts send, and nothing twice."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from gbif_webdataset.fetch.attempts import RetryBacklog, save_attempts
from gbif_webdataset.fetch.download import NO_REDIRECTS, Downloader, RedirectedError, Trail
from gbif_webdataset.fetch.earlier_outcomes import (
    EarlierOutcomes,
    Settlement,
    find_deleted_images,
    load_unused_images,
)
from gbif_webdataset.fetch.fetch_options import FetchOptions
from gbif_webdataset.fetch.host_limits import parse_host
from gbif_webdataset.fetch.host_queues import HostQueues
from gbif_webdataset.fetch.image_files import ImageFiles
from gbif_webdataset.fetch.image_response import DownloadError
from gbif_webdataset.fetch.inaturalist import change_photo_size
from gbif_webdataset.fetch.journal import Journal, delete_journal, journal_path
from gbif_webdataset.fetch.ledger import Outcome, read_manifest_urls, write_ledger
from gbif_webdataset.fetch.outcome_recorder import OutcomeRecorder
from gbif_webdataset.fetch.reachability import HostNotes, Reachability
from gbif_webdataset.fetch.shared_limits import SharedLimits
from gbif_webdataset.remote.remote_images import RemoteImages
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.storage.chunks import chunk_name
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.image_store import PACKED, ImageStore, choose_chunk_kind, create_store, is_packed
from gbif_webdataset.storage.store_conversion import convert_store
from gbif_webdataset.terms.outcomes import RETRIED_AT_ONCE, FetchFailure, Status


@dataclass(frozen=True)
class ChunkResult:
    """The images of a chunk by Status, or by FetchFailure if they failed, and those that may succeed in a later run."""

    counts: Counter[str]
    backlog: RetryBacklog


def fetch_chunk(
    output: Path, manifest: Path, chunk: int, options: FetchOptions, progress: Callable[[Counter[str]], None]
) -> ChunkResult:
    """What became of the images of `manifest`, a chunk of the manifest.

    They are fetched to `output`/images, and the ledger `output`/fetched/chunk-NNNNN.parquet is written. Images that an
    earlier run fetched are kept, and permanent failures are not retried. `progress` is called with the counts after
    each image.

    Raises:
        FetchError: no host could be reached, and this machine has no route to the internet or nothing was ever
            downloaded; or fewer than `options.min_free_bytes` are free. Images that were fetched are kept.
        BusyError: another process is fetching this chunk.
    """
    folder, images = output / "fetched", output / "images"
    with Journal(journal_path(folder, chunk)) as journal:
        recorder = OutcomeRecorder(journal, progress, options.limits.max_seconds)
        reachability = Reachability(HostNotes(output / ".scratch"), images, options.run_started)
        earlier = EarlierOutcomes.load(folder, chunk)
        store = _make_store(images, chunk, options, earlier, read_manifest_urls(manifest))
        with store.writing():
            files = ImageFiles(store, images, options.min_free_bytes)
            fetcher = ChunkFetcher(files, recorder, options, reachability)
            fetcher.settle_images(read_manifest_urls(manifest), earlier, output / "deleted.csv")
            del earlier  # it takes as much memory as the outcomes of this run
            is_stopped = fetcher.fetch_images()
            store.tidy()
        if is_stopped or reachability.is_offline:
            if not journal.drop_temporary_failures():
                delete_journal(folder, chunk)
            raise reachability.make_error()
        write_ledger(manifest, folder / chunk_name(chunk), recorder.outcomes)
        save_attempts(folder, chunk, recorder.attempts)
        delete_journal(folder, chunk)
    return ChunkResult(recorder.counts, recorder.backlog)


def _make_store(
    images: Path, chunk: int, options: FetchOptions, earlier: EarlierOutcomes, rows: Iterable[tuple[str, str]]
) -> ImageStore:
    """The store of the chunk, with the images that the chunk had in a store of the other kind."""
    stored = earlier.list_downloaded()
    kind = choose_chunk_kind(images, chunk, options.store, stored)
    store = create_store(images, chunk, kind, options.pack_bytes)
    if kind == PACKED or is_packed(images, chunk):
        own = {path for path, _ in rows}
        if chunk == 0:
            unused = load_unused_images(images.parent / "fetched")
            own.update(unused)
            stored.update(unused)
        convert_store(images, chunk, store, stored, own)
    return store


@dataclass(frozen=True, slots=True)
class _Job:
    """A URL to request, and the paths of all images of the chunk that have this URL.

    After a redirect, `redirect` is the URL to request and `trail` the requests so far.
    """

    url: str
    paths: tuple[str, ...]
    attempts: int = 0
    redirect: str = ""
    trail: Trail = NO_REDIRECTS


def _open_cache(images: Path | StoreAddress | None, jobs: Iterable[_Job]) -> ImageReader | RemoteImages | None:
    """The images of an older dataset, those of the jobs ready to be read; None without such a dataset."""
    if images is None:
        return None
    if isinstance(images, StoreAddress):
        return RemoteImages(images)
    cache = ImageReader(images)
    cache.find_places([path for job in jobs for path in job.paths])
    return cache


class ChunkFetcher:
    """Fetches the images of one chunk: first `settle_images`, then `fetch_images`."""

    def __init__(
        self, files: ImageFiles, recorder: OutcomeRecorder, options: FetchOptions, reachability: Reachability
    ) -> None:
        self._files, self._recorder, self._options, self._reachability = files, recorder, options, reachability
        self._identifiers: dict[str, str] = {}  # of the images that are not settled, by path
        self._jobs: list[_Job] = []
        shared = SharedLimits(files.images.parent / ".scratch" / "hosts", options.hosts, options.chunks)
        self._queues: HostQueues[_Job] = HostQueues(shared.find_limits, options.backoff, reachability.noted, shared)

    def settle_images(self, rows: Iterable[tuple[str, str]], earlier: EarlierOutcomes, deleted_csv: Path) -> None:
        """Keep or copy what earlier runs fetched of `rows` (image path, URL), and make jobs for the other URLs."""
        deleted = find_deleted_images(deleted_csv, earlier, self._options)
        settlement = Settlement(earlier, self._files.store, self._options, deleted)
        paths_by_url: dict[str, list[str]] = {}
        copies: dict[str, Outcome] = {}
        for path, identifier in rows:
            url = change_photo_size(identifier, self._options.inaturalist_size)
            outcome = earlier.find(url, path)
            attempt = earlier.find_attempt(outcome) if outcome and not outcome.has_bytes else None
            if outcome and settlement.is_settled(outcome):
                self._recorder.keep(outcome, attempt)
            elif copied := self._files.stage_copy(earlier.find_downloaded(url), path):
                copies[path] = replace(copied, image_path=path, identifier=identifier)
            else:
                self._identifiers[path] = identifier
                paths_by_url.setdefault(url, []).append(path)
                if outcome and attempt:
                    self._recorder.note_earlier_failure(outcome, attempt)
        # Images may change places with each other, so no file is replaced before all are copied.
        for path in self._files.store.finish_copies():
            self._recorder.record(copies[path])
        self._jobs = [_Job(url, tuple(paths)) for url, paths in paths_by_url.items()]

    def fetch_images(self) -> bool:
        """Copy images from the cache and request the others from their hosts, with `options.workers` threads.

        Whether it stopped before the end because no host can be reached.
        """
        options, ended = self._options, threading.Event()
        start_job = partial(self._start_job, _open_cache(options.cache, self._jobs))
        with (
            Downloader(options.limits, options.guard, options.workers) as downloader,
            ThreadPoolExecutor(options.workers + 1, "fetch") as pool,
        ):
            try:
                for _ in (pool.map if options.cache else map)(start_job, self._jobs):
                    pass
                self._jobs.clear()  # the queues have the jobs, and free each when it is done
                watch = pool.submit(self._reachability.stop_if_offline, ended, self._queues)
                for thread in [pool.submit(self._run_jobs, downloader) for _ in range(options.workers)]:
                    thread.result()
            finally:
                ended.set()
                self._queues.close()
        return watch.result()

    def _start_job(self, cache: ImageReader | RemoteImages | None, job: _Job) -> None:
        """Copy the image from the cache, where no host limits apply, or queue the job at its host."""
        if cache:
            # The cache has images in the size that the archive names.
            paths = [path for path in job.paths if self._identifiers[path] == job.url]
            with self._files.new_file(job.paths[0]) as file:
                if cached := self._files.copy_cached(cache, paths, file):
                    size, sha256 = cached
                    self._store_image(self._make_outcomes(job, Status.CACHED, bytes=size, sha256=sha256), file)
                    return
        self._queues.add_job(parse_host(job.url), job)

    def _run_jobs(self, downloader: Downloader) -> None:
        try:
            while turn := self._queues.take_job():
                try:
                    self._files.check_free_space()
                    if turn.is_abandoned:
                        self._abandon_job(turn.job)
                    else:
                        self._try_job(turn.host, turn.job, downloader)
                finally:
                    self._queues.finish_job(turn.host)
        except BaseException:
            self._queues.close()
            raise

    def _abandon_job(self, job: _Job) -> None:
        """Leave a job to a later run, as its host does not answer."""
        host, error = parse_host(job.redirect or job.url), FetchFailure.HOST_UNAVAILABLE
        if host in self._reachability.noted:
            self._reachability.report_unreachable(host, error)
        self._record_failure(job, error=error, attempts=job.attempts)

    def _try_job(self, host: str, job: _Job, downloader: Downloader) -> None:
        """Attempt a job once. Record its outcome, or queue it again for a retry or after a redirect."""
        started, attempts = time.monotonic(), job.attempts + 1
        try:
            with self._files.new_file(job.paths[0]) as file:
                download = downloader.download_image(job.redirect or job.url, file, job.trail)
                self._report_success(host)
                self._store_image(self._make_outcomes(job, Status.FETCHED, attempts=attempts, **vars(download)), file)
        except RedirectedError as redirected:
            self._report_success(host)
            trail = job.trail.extend(time.monotonic() - started, redirected.cookies)
            moved = replace(job, redirect=redirected.url, trail=trail)
            self._queues.add_job(parse_host(redirected.url), moved)
        except DownloadError as failure:
            self._report_failure(host, failure)
            if failure.code in RETRIED_AT_ONCE and attempts <= self._options.retries:
                retry = _Job(job.url, job.paths, attempts)
                self._queues.add_job(parse_host(job.url), retry, self._options.find_retry_pause(attempts))
                return
            self._record_failure(job, error=failure.code, attempts=attempts, **vars(failure.download))

    def _report_success(self, host: str) -> None:
        self._reachability.report_reached(host)
        self._queues.report_success(host)

    def _report_failure(self, host: str, failure: DownloadError) -> None:
        if failure.is_unreachable:
            self._reachability.report_unreachable(host, failure.code)
        elif failure.code != FetchFailure.BAD_URL and self._reachability.report_reached(host):
            self._queues.report_success(host)  # it answers again: what it answered counts like that of any other host
        if not failure.is_host_failure:
            self._queues.report_success(host)
        elif self._queues.report_failure(host, failure.is_busy, failure.retry_after):
            self._reachability.share(host)

    def _make_outcomes(self, job: _Job, status: str, **values: Any) -> list[Outcome]:
        """The outcome for each image of the job, the first image at the end."""
        values |= {"fetched_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "requested_url": job.url}
        return [Outcome(path, self._identifiers[path], status, **values) for path in reversed(job.paths)]

    def _store_image(self, outcomes: Iterable[Outcome], file: BinaryIO) -> None:
        for outcome in outcomes:  # a store of files renames the file in the end
            self._files.store.put(outcome.image_path, file, str(outcome.sha256))
            self._recorder.record(outcome)

    def _record_failure(self, job: _Job, **values: Any) -> None:
        for outcome in self._make_outcomes(job, Status.FAILED, **values):
            self._recorder.record(outcome)
