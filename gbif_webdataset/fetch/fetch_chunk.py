"""Fetching the images of a chunk: kind to hosts, wary of what they send, and never twice."""

import contextlib
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gbif_webdataset.errors import FetchError
from gbif_webdataset.fetch.address_guard import AddressGuard
from gbif_webdataset.fetch.download import Downloader, DownloadError, Limits, MovedError
from gbif_webdataset.fetch.host_limits import HostTable
from gbif_webdataset.fetch.host_queues import PATIENCE, HostQueues, Patience
from gbif_webdataset.fetch.inaturalist import AS_GIVEN, in_size
from gbif_webdataset.fetch.ledger import (
    READ_AT_ONCE,
    Journal,
    Known,
    Outcome,
    Packed,
    forget_journal,
    journal_path,
    packed,
    write,
)
from gbif_webdataset.images.convert import kind_of
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import TEMPORARY, file_sha256
from gbif_webdataset.storage.chunks import chunk_name
from gbif_webdataset.storage.free_space import Room
from gbif_webdataset.terms.outcomes import TEMPORARY_FAILURES, FetchFailure, Status

LONGEST_BACKOFF = 60.0
RETRIES = PASSING, ALL, NONE = "may-pass", "all", "none"
ASKED_TOO_MUCH = {429, 503}
# What says of the host that it is down, or shuts us out; anything else says that it answers.
OF_THE_HOST = {
    "timeout", "too-slow", "connection", "name-not-resolved", "too-many-requests", "server-error", "forbidden",
    "unauthorized", "tls", "bad-certificate",
}  # fmt: skip
HOST = re.compile(r"(https?)://(?:[^/?#]*@)?(\[[^/?#\]]*\]|[^/?#:]*)(:[^/?#]*)?", re.IGNORECASE)
OWN_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Plan:
    """How a chunk is fetched. `retries` after the first try; `max_failed_share` of images may fail for now.

    The first retry of an image waits `retry_pause` seconds, each further one twice as long.
    """

    workers: int
    retries: int
    hosts: HostTable
    limits: Limits
    guard: AddressGuard
    cache: Path | None = None
    max_failed_share: float = 0.5
    refetch_deleted: bool = False
    retry_failed: str = PASSING
    patience: Patience = PATIENCE
    inaturalist_size: str = AS_GIVEN
    min_free_bytes: int = 0
    retry_pause: float = 1.0


@dataclass(frozen=True, slots=True)
class _Job:
    """One URL to ask for, and every row of the chunk that shows it; and how far `hops` redirects have led to."""

    url: str
    paths: tuple[str, ...]
    attempts: int = 0
    hops: int = 0
    at: str = ""
    spent: float = 0.0  # seconds since the first of them

    def moved(self, url: str, spent: float) -> "_Job":
        """The same, at another URL after a request of so many seconds."""
        return replace(self, hops=self.hops + 1, at=url, spent=self.spent + spent)


def fetch_chunk(
    output: Path, manifest: Path, chunk: int, plan: Plan, progress: Callable[[Counter[str]], None]
) -> Counter[str]:
    """Fetch what `manifest`, a chunk of it, asks for into `output`/images; write `output`/fetched/chunk-NNNNN.parquet.

    What an earlier run fetched stays; what failed for good is not tried again. Returns, and tells `progress` after
    each image, how many images ended as `fetched`, `cached` or one of the error codes.
    Raises FetchError where more than `plan.max_failed_share` of the images failed for reasons that may pass, or, once
    the images under way are there, where less than `plan.min_free_bytes` are free.
    """
    folder, images = output / "fetched", output / "images"
    with Journal(journal_path(folder, chunk)) as journal:
        run = _Run(images, plan, journal, progress)
        run.settle(rows_of(manifest), Known.load(folder, chunk), output / "deleted.csv")
        run.fetch()
        _judge(chunk, run.counts, plan.max_failed_share)
        write(manifest, folder / chunk_name(chunk), run.ended)
        forget_journal(folder, chunk)
    return run.counts


class _Run:
    """One chunk's fetching: the outcomes so far, and the jobs that are left."""

    def __init__(self, images: Path, plan: Plan, journal: Journal, progress: Callable[[Counter[str]], None]) -> None:
        self.images, self.plan, self._journal, self._progress = images, plan, journal, progress
        self.ended: dict[str, Packed] = {}
        self.counts: Counter[str] = Counter()
        self._room = Room(images, plan.min_free_bytes)
        self._rows: dict[str, str] = {}
        self._jobs: list[_Job] = []
        self._queues: HostQueues[_Job] = HostQueues(plan.hosts.of, plan.patience)
        self._lock = threading.Lock()
        self._folders: dict[str, Path] = {}
        self._failed_before: dict[str, Outcome] = {}

    def settle(self, rows: Iterable[tuple[str, str]], known: Known, listing: Path) -> None:
        """Take over what is known of the rows (image_path, identifier), and keep a job for every other URL."""
        gone = deleted(listing, known, self.plan)
        open_paths: dict[str, list[str]] = {}
        moved: list[tuple[Path, Outcome]] = []
        for path, identifier in rows:
            url = in_size(identifier, self.plan.inaturalist_size)
            outcome = known.at(url, path)
            if outcome and holds(outcome, self.images, self.plan, gone):
                self._settled(outcome)
            elif copy := self._copied(path, url, known):
                moved.append((copy[0], replace(copy[1], image_path=path, identifier=identifier)))
            else:
                self._rows[path] = identifier
                open_paths.setdefault(url, []).append(path)
                if outcome and not outcome.has_bytes:
                    self._failed_before[path] = outcome
        for temporary, outcome in moved:
            temporary.replace(self.images / outcome.image_path)
            self._record(outcome)
        self._jobs = [_Job(url, tuple(paths)) for url, paths in open_paths.items()]

    def fetch(self) -> None:
        """Take what the cache has, and ask hosts for the rest, with `plan.workers` threads."""
        with (
            Downloader(self.plan.limits, self.plan.guard, self.plan.workers) as downloader,
            ThreadPoolExecutor(self.plan.workers, "fetch") as pool,
        ):
            try:
                for _ in (pool.map if self.plan.cache else map)(self._begin, self._jobs):
                    pass
                self._jobs.clear()  # the queues have them, each until it is done
                for done in [pool.submit(self._work, downloader) for _ in range(self.plan.workers)]:
                    done.result()
            finally:
                self._queues.close()

    def _begin(self, job: _Job) -> None:
        """Copy a job's image from the cache, which no host's limits hold up, or queue it at its host."""
        if self.plan.cache:
            as_given = [path for path in job.paths if self._rows[path] == job.url]
            self._room.check()
            temporary = self._temporary(job.paths[0])
            if cached := _from_cache(self.plan.cache, as_given, temporary):
                size, sha256 = cached
                self._finish(job, self._outcome(job, Status.CACHED, bytes=size, sha256=sha256), temporary)
                return
        self._queues.put(host_of(job.url), job)

    def _work(self, downloader: Downloader) -> None:
        try:
            while turn := self._queues.take():
                try:
                    self._room.check()
                    if turn.given_up:
                        self._give_up(turn.job)
                    else:
                        self._do(turn.host, turn.job, downloader)
                finally:
                    self._queues.done(turn.host)
        except BaseException:
            self._queues.close()
            raise

    def _give_up(self, job: _Job) -> None:
        """Leave a job of a host that doesn't answer to the next run."""
        outcome = self._outcome(job, Status.FAILED, error=FetchFailure.HOST_UNAVAILABLE, attempts=job.attempts)
        self._finish(job, outcome, self._temporary(job.paths[0]))

    def _do(self, host: str, job: _Job, downloader: Downloader) -> None:
        """Try a job once: record its end, or put it back for another try, or where a redirect leads to."""
        temporary, begun = self._temporary(job.paths[0]), time.monotonic()
        tried = _Job(job.url, job.paths, job.attempts + 1)
        try:
            download, error = downloader.get(job.at or job.url, temporary, job.hops, job.spent), ""
            self._queues.succeeded(host)
        except MovedError as there:
            self._queues.succeeded(host)
            self._queues.put(host_of(there.url), job.moved(there.url, time.monotonic() - begun))
            return
        except DownloadError as failure:
            temporary.unlink(missing_ok=True)
            if self._is_put_back(host, tried, failure):
                return
            download, error = failure.download, failure.code
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        status = Status.FAILED if error else Status.FETCHED
        outcome = self._outcome(tried, status, error=error, attempts=tried.attempts, **vars(download))
        self._finish(job, outcome, temporary)

    def _is_put_back(self, host: str, tried: _Job, failure: DownloadError) -> bool:
        """Note what a failure says of the host, and put the job back if another try may help."""
        if failure.code in OF_THE_HOST:
            self._queues.failed(host, failure.download.http_status in ASKED_TOO_MUCH, failure.retry_after)
        else:
            self._queues.succeeded(host)
        if failure.code not in TEMPORARY_FAILURES or tried.attempts > self.plan.retries:
            return False
        pause = min(self.plan.retry_pause * 2.0 ** (tried.attempts - 1), LONGEST_BACKOFF)
        self._queues.put(host_of(tried.url), tried, pause)
        return True

    def _outcome(self, job: _Job, status: str, **reached: Any) -> Outcome:
        path = job.paths[0]
        return Outcome(path, self._rows[path], status, fetched_at=_now(), requested_url=job.url, **reached)

    def _finish(self, job: _Job, outcome: Outcome, temporary: Path) -> None:
        for path in job.paths[1:]:
            if outcome.has_bytes:
                beside = self._temporary(path)
                shutil.copyfile(temporary, beside)
                beside.replace(self.images / path)
            self._record(replace(outcome, image_path=path, identifier=self._rows[path]))
        if outcome.has_bytes:
            temporary.replace(self.images / outcome.image_path)
        self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        before = self._failed_before.get(outcome.image_path)
        if before and not _is_news(before, outcome):
            outcome = before  # what was made from the ledger stays fresh
        self._journal.append(outcome)
        with self._lock:
            self._settled(outcome)

    def _settled(self, outcome: Outcome) -> None:
        self.ended[outcome.image_path] = packed(outcome)
        self.counts[outcome.error or outcome.status] += 1
        self._progress(self.counts)

    def _copied(self, path: str, url: str, known: Known) -> tuple[Path, Outcome] | None:
        """A temporary copy of the URL's bytes where an earlier run left them under another path, and their outcome.

        A run that was killed while it moved images may have left the only copy under the temporary name.
        """
        for outcome in known.with_bytes(url):
            self._room.check()
            temporary = self._temporary(path)
            for source in (temporary, self.images / outcome.image_path):
                with contextlib.suppress(FileNotFoundError):
                    if source != temporary:
                        shutil.copyfile(source, temporary)
                    if file_sha256(temporary) == outcome.sha256:
                        return temporary, outcome
        return None

    def _temporary(self, path: str) -> Path:
        """Where the bytes of an image are until they are complete; its folder is made."""
        folder, _, name = path.rpartition("/")
        target = self._folders.get(folder)
        if target is None:
            target = self.images / folder
            target.mkdir(parents=True, exist_ok=True)
            self._folders[folder] = target
        return target / f"{TEMPORARY}{name}"


def rows_of(manifest: Path) -> Iterator[tuple[str, str]]:
    """Each image path in a chunk of the manifest, and its URL."""
    columns = ["image_path", "identifier"]
    for batch in pq.ParquetFile(manifest).iter_batches(READ_AT_ONCE, columns=columns, use_threads=False):
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


def host_of(url: str) -> str:
    """The host in a URL, which need not be a valid one, with its port where that is none of HTTP's own."""
    found = HOST.match(url)
    if not found:
        return ""
    scheme, name, port = found[1].lower(), found[2].lower().removesuffix("."), found[3] or ""
    return name if port in ("", ":", OWN_PORTS[scheme]) else name + port


def is_tried_again(code: str, retry_failed: str) -> bool:
    """Whether an image that ended as `code` is tried again: where it failed, and that may pass or `all` are."""
    if code in (Status.FETCHED, Status.CACHED):
        return False
    return retry_failed == ALL or (retry_failed == PASSING and code in TEMPORARY_FAILURES)


def holds(outcome: Outcome, images: Path, plan: Plan, gone: set[str]) -> bool:
    """Whether nothing is to be done about an image: its earlier outcome stays, or its bytes were deleted on purpose."""
    return stays(outcome, images, plan) or (outcome.has_bytes and outcome.image_path in gone)


def stays(outcome: Outcome, images: Path, plan: Plan) -> bool:
    """Whether an earlier outcome holds: its file is there in full, or it failed for good under this plan, too."""
    if outcome.status == Status.FAILED and plan.retry_failed == ALL:
        return False
    if outcome.error == "too-large":
        return (outcome.bytes or 0) > plan.limits.max_bytes
    if outcome.error == "opted-out":
        return plan.limits.respect_opt_out
    if outcome.error == "blocked-address":
        return not plan.guard.opens_some
    if not outcome.has_bytes:
        return not is_tried_again(outcome.error, plan.retry_failed)
    with contextlib.suppress(FileNotFoundError):
        return (images / outcome.image_path).stat().st_size == outcome.bytes
    return False


def deleted(listing: Path, known: Known, plan: Plan) -> set[str]:
    """The paths of images whose bytes came, and which DeleteImages took away; none where they are to come again."""
    if plan.refetch_deleted or not listing.exists():
        return set()
    gone = set()
    with tables.open_csv(listing) as lines:
        for line in lines:
            outcome = known.at(in_size(line["identifier"], plan.inaturalist_size), line["image_path"])
            if outcome and outcome.has_bytes:
                gone.add(outcome.image_path)
    return gone


def _from_cache(cache: Path, paths: Iterable[str], temporary: Path) -> tuple[int, str] | None:
    """Copy the image from one of its paths in an older tree of images, if it is there and is one: (bytes, sha256)."""
    for path in paths:
        try:
            shutil.copyfile(cache / path, temporary)
        except FileNotFoundError:
            continue
        with temporary.open("rb") as file:
            if kind_of(file.read(64)):
                return temporary.stat().st_size, file_sha256(temporary)
    return None


def _is_news(before: Outcome, outcome: Outcome) -> bool:
    """Whether a failure is another than that of an earlier run.

    It is chance which images of a host that is down are asked for, and which are left alone.
    """
    errors = {before.error, outcome.error}
    if FetchFailure.HOST_UNAVAILABLE in errors and errors <= OF_THE_HOST | {FetchFailure.HOST_UNAVAILABLE}:
        return False
    return (before.error, before.http_status) != (outcome.error, outcome.http_status)


def _judge(chunk: int, counts: Counter[str], max_failed_share: float) -> None:
    failed = Counter({code: number for code, number in counts.items() if code in TEMPORARY_FAILURES})
    count, total = failed.total(), counts.total()
    if count > max_failed_share * total:
        reasons = ", ".join(f"{error} {number:,}" for error, number in failed.most_common())
        raise FetchError(
            f"chunk {chunk}: {count:,} of {total:,} images failed for reasons that may pass ({reasons}), more "
            f"than max_failed_share {max_failed_share:g}; what was fetched is kept: check the network and run it again"
        )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
