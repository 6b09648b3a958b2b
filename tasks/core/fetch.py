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

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core import tables
from tasks.core.addresses import AddressGuard
from tasks.core.download import Download, Downloader, DownloadError, Limits
from tasks.core.errors import FetchError
from tasks.core.files import TEMPORARY, sha256_of
from tasks.core.hosts import PATIENCE, HostQueues, Patience
from tasks.core.images import kind_of
from tasks.core.ledger import (
    CACHED,
    COLUMNS,
    FAILED,
    FETCHED,
    HOST_UNAVAILABLE,
    MAY_PASS,
    Journal,
    Known,
    Outcome,
    chunk_name,
    forget_journal,
    journal_path,
)  # fmt: skip
from tasks.core.rates import HostTable

LONGEST_BACKOFF = 60.0
RETRIES = PASSING, ALL, NONE = "may-pass", "all", "none"
ASKED_TOO_MUCH = {429, 503}
# What says of the host that it is down, or shuts us out; anything else says that it answers.
OF_THE_HOST = {
    "timeout", "too-slow", "connection", "name-not-resolved", "too-many-requests", "server-error", "forbidden",
    "unauthorized", "tls", "bad-certificate",
}  # fmt: skip
HOST = re.compile(r"https?://(?:[^/?#]*@)?([^/?#]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    """How a chunk is fetched. `retries` after the first try; `max_failed_share` of images may fail for now."""

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


@dataclass(frozen=True, slots=True)
class _Job:
    """One URL, and every row of the chunk that shows it."""

    identifier: str
    paths: tuple[str, ...]
    attempts: int = 0


def fetch_chunk(
    output: Path, manifest: Path, chunk: int, plan: Plan, progress: Callable[[Counter[str]], None]
) -> Counter[str]:
    """Fetch what `manifest`, a chunk of it, asks for into `output`/images; write `output`/fetched/chunk-NNNNN.parquet.

    What an earlier run fetched stays; what failed for good is not tried again. Returns, and tells `progress` after
    each image, how many images ended as `fetched`, `cached` or one of the error codes.
    Raises FetchError where more than `plan.max_failed_share` of the images failed for reasons that may pass.
    """
    folder, images = output / "fetched", output / "images"
    rows = _rows(manifest)
    with Journal(journal_path(folder, chunk)) as journal:
        known = Known.load(folder, chunk)
        gone = set() if plan.refetch_deleted else _deleted(output / "deleted.csv", rows)
        run = _Run(images, plan, journal, progress)
        run.settle(rows, known, gone)
        run.fetch()
        _judge(chunk, run.outcomes.values(), plan.max_failed_share)
        _write(manifest, folder / chunk_name(chunk), run.outcomes)
        forget_journal(folder, chunk)
    return run.counts


class _Run:
    """One chunk's fetching: the outcomes so far, and the jobs that are left."""

    def __init__(self, images: Path, plan: Plan, journal: Journal, progress: Callable[[Counter[str]], None]) -> None:
        self.images, self.plan, self._journal, self._progress = images, plan, journal, progress
        self.outcomes: dict[str, Outcome] = {}
        self.counts: Counter[str] = Counter()
        self._jobs: list[_Job] = []
        self._queues: HostQueues[_Job] = HostQueues(plan.hosts.of, plan.patience)
        self._lock = threading.Lock()
        self._folders: dict[str, Path] = {}
        self._failed_before: dict[str, Outcome] = {}

    def settle(self, rows: dict[str, str], known: Known, gone: set[str]) -> None:
        """Take over what is known of the rows (image_path -> identifier), and keep a job for every other URL."""
        open_paths: dict[str, list[str]] = {}
        moved: list[tuple[Path, Outcome]] = []
        for path, identifier in rows.items():
            outcome = known.at(identifier, path)
            if outcome and (_stays(outcome, self.images, self.plan) or (outcome.has_bytes and path in gone)):
                self._settled(outcome)
            elif copy := self._copied(path, identifier, known):
                moved.append(copy)
            else:
                open_paths.setdefault(identifier, []).append(path)
                if outcome and not outcome.has_bytes:
                    self._failed_before[path] = outcome
        for temporary, outcome in moved:
            temporary.replace(self.images / outcome.image_path)
            self._record(outcome)
        self._jobs = [_Job(identifier, tuple(paths)) for identifier, paths in open_paths.items()]

    def fetch(self) -> None:
        """Take what the cache has, and ask hosts for the rest, with `plan.workers` threads."""
        with (
            Downloader(self.plan.limits, self.plan.guard, self.plan.workers) as downloader,
            ThreadPoolExecutor(self.plan.workers, "fetch") as pool,
        ):
            try:
                for _ in (pool.map if self.plan.cache else map)(self._begin, self._jobs):
                    pass
                for done in [pool.submit(self._work, downloader) for _ in range(self.plan.workers)]:
                    done.result()
            finally:
                self._queues.close()

    def _begin(self, job: _Job) -> None:
        """Copy a job's image from the cache, which no host's limits hold up, or queue it at its host."""
        if self.plan.cache:
            temporary = self._temporary(job.paths[0])
            if cached := _from_cache(self.plan.cache, job, temporary):
                size, sha256 = cached
                outcome = Outcome(job.paths[0], job.identifier, CACHED, bytes=size, sha256=sha256, fetched_at=_now())
                self._finish(job, outcome, temporary)
                return
        self._queues.put(_host(job.identifier), job)

    def _work(self, downloader: Downloader) -> None:
        try:
            while turn := self._queues.take():
                try:
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
        outcome = Outcome(job.paths[0], job.identifier, FAILED, HOST_UNAVAILABLE, None, job.attempts, fetched_at=_now())
        self._finish(job, outcome, self._temporary(job.paths[0]))

    def _do(self, host: str, job: _Job, downloader: Downloader) -> None:
        """Try a job once: record its end, or put it back for another try."""
        temporary, begun = self._temporary(job.paths[0]), _now()
        tried = _Job(job.identifier, job.paths, job.attempts + 1)
        try:
            download, error = downloader.get(job.identifier, temporary), ""
            self._queues.succeeded(host)
        except DownloadError as failure:
            temporary.unlink(missing_ok=True)
            if self._is_put_back(host, tried, failure):
                return
            download, error = failure.download, failure.code
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._finish(job, _outcome(tried, error, download, begun), temporary)

    def _is_put_back(self, host: str, tried: _Job, failure: DownloadError) -> bool:
        """Note what a failure says of the host, and put the job back if another try may help."""
        if failure.code in OF_THE_HOST:
            self._queues.failed(host, failure.download.http_status in ASKED_TOO_MUCH, failure.retry_after)
        else:
            self._queues.succeeded(host)
        if failure.code not in MAY_PASS or tried.attempts > self.plan.retries:
            return False
        self._queues.put(host, tried, min(2.0**tried.attempts / 2, LONGEST_BACKOFF))
        return True

    def _finish(self, job: _Job, outcome: Outcome, temporary: Path) -> None:
        for path in job.paths[1:]:
            if outcome.has_bytes:
                beside = self._temporary(path)
                shutil.copyfile(temporary, beside)
                beside.replace(self.images / path)
            self._record(replace(outcome, image_path=path))
        if outcome.has_bytes:
            temporary.replace(self.images / outcome.image_path)
        self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        before = self._failed_before.get(outcome.image_path)
        if before and (before.error, before.http_status) == (outcome.error, outcome.http_status):
            outcome = before  # nothing new: what was made from the ledger stays fresh
        self._journal.append(outcome)
        with self._lock:
            self._settled(outcome)

    def _settled(self, outcome: Outcome) -> None:
        self.outcomes[outcome.image_path] = outcome
        self.counts[outcome.error or outcome.status] += 1
        self._progress(self.counts)

    def _copied(self, path: str, identifier: str, known: Known) -> tuple[Path, Outcome] | None:
        """A temporary copy of the URL's bytes where an earlier run left them under another path.

        A run that was killed while it moved images may have left the only copy under the temporary name.
        """
        for outcome in known.with_bytes(identifier):
            temporary = self._temporary(path)
            for source in (temporary, self.images / outcome.image_path):
                with contextlib.suppress(FileNotFoundError):
                    if source != temporary:
                        shutil.copyfile(source, temporary)
                    if sha256_of(temporary) == outcome.sha256:
                        return temporary, replace(outcome, image_path=path)
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


def _rows(manifest: Path) -> dict[str, str]:
    table = pq.read_table(manifest, columns=["image_path", "identifier"])
    return dict(zip(table["image_path"].to_pylist(), table["identifier"].to_pylist(), strict=True))


def _host(identifier: str) -> str:
    """The host and port in a URL, which need not be a valid one."""
    found = HOST.match(identifier)
    return found[1].lower() if found else ""


def is_tried_again(code: str, retry_failed: str) -> bool:
    """Whether an image that ended as `code` is tried again: where it failed, and that may pass or `all` are."""
    if code in (FETCHED, CACHED):
        return False
    return retry_failed == ALL or (retry_failed == PASSING and code in MAY_PASS)


def _stays(outcome: Outcome, images: Path, plan: Plan) -> bool:
    """Whether an earlier outcome holds: its file is there in full, or it failed for good under this plan, too."""
    if outcome.status == FAILED and plan.retry_failed == ALL:
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


def _deleted(listing: Path, rows: dict[str, str]) -> set[str]:
    """The paths of `rows` that DeleteImages took away, of the same URL."""
    if not listing.exists():
        return set()
    with tables.plain_csv(listing) as lines:
        return {line["image_path"] for line in lines if rows.get(line["image_path"]) == line["identifier"]}


def _from_cache(cache: Path, job: _Job, temporary: Path) -> tuple[int, str] | None:
    """Copy the image from an older tree of images, if it is there and is one: (bytes, sha256)."""
    for path in job.paths:
        try:
            shutil.copyfile(cache / path, temporary)
        except FileNotFoundError:
            continue
        with temporary.open("rb") as file:
            if kind_of(file.read(64)):
                return temporary.stat().st_size, sha256_of(temporary)
    return None


def _outcome(job: _Job, error: str, download: Download, begun: str) -> Outcome:
    """What became of a job that was tried at the time `begun`; `error` is empty where its image came."""
    return Outcome(
        job.paths[0],
        job.identifier,
        FAILED if error else FETCHED,
        error,
        download.http_status,
        job.attempts,
        download.bytes,
        download.sha256,
        download.content_type,
        download.final_url,
        begun,
    )


def _judge(chunk: int, outcomes: Iterable[Outcome], max_failed_share: float) -> None:
    listed = list(outcomes)
    failed = Counter(outcome.error for outcome in listed if outcome.error in MAY_PASS)
    count = failed.total()
    if listed and count > max_failed_share * len(listed):
        reasons = ", ".join(f"{error} {number:,}" for error, number in failed.most_common())
        raise FetchError(
            f"chunk {chunk}: {count:,} of {len(listed):,} images failed for reasons that may pass ({reasons}), more "
            f"than max_failed_share {max_failed_share:g}; what was fetched is kept: check the network and run it again"
        )


def _write(manifest: Path, target: Path, outcomes: dict[str, Outcome]) -> None:
    """The manifest's rows, each with its outcome, in the manifest's order."""
    source = pq.ParquetFile(manifest)
    schema = pa.schema([*source.schema_arrow.remove_metadata(), *COLUMNS])

    def joined() -> Iterator[pa.RecordBatch]:
        for batch in source.iter_batches():
            ended = [outcomes[path] for path in batch.column("image_path").to_pylist()]
            columns = [pa.array([getattr(outcome, f.name) for outcome in ended], f.type) for f in COLUMNS]
            yield pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema)

    tables.write_parquet(joined(), target, schema)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
