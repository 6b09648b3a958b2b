"""What fetching would take: images by host, and from the sizes of a few of them the bytes, the time and the disk."""

import statistics
import threading
import time
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from zlib import crc32

from gbif_webdataset.fetch.download import Download, Downloader, DownloadError, MovedError
from gbif_webdataset.fetch.fetch_chunk import (
    ASKED_TOO_MUCH,
    OF_THE_HOST,
    Plan,
    deleted,
    holds,
    host_of,
    rows_of,
    stays,
)
from gbif_webdataset.fetch.host_queues import HostQueues, Patience
from gbif_webdataset.fetch.inaturalist import in_size
from gbif_webdataset.fetch.ledger import Known
from gbif_webdataset.formatting import format_count, format_estimate, format_size
from gbif_webdataset.storage.free_space import free_bytes
from gbif_webdataset.terms.outcomes import TEMPORARY_FAILURES, Status

MOST_HOSTS = 40
SHOWN = 20  # hosts in the table
WIDEST = 60  # characters of a host's name in the table
LONGEST = 60.0  # seconds after which no further image is asked for
SAYS_NOTHING = {*TEMPORARY_FAILURES, "too-slow"}  # of whether images will come
IMPATIENCE = Patience(failures=2, pause=0.0, pauses=0, longest=5.0)


@dataclass
class Left:
    """What is left of a host: `images`, the `requests` that they take, and some of the URLs, each with its rank."""

    images: int = 0
    requests: int = 0
    sample: list[tuple[int, str]] = field(default_factory=list)

    def add(self, url: str, images: int, sample: int) -> None:
        """Count a URL that so many images show, and keep it if it is among the `sample` that chance ranks first."""
        self.images += images
        self.requests += 1
        rank = crc32(url.encode())
        if sample and (len(self.sample) < sample or rank < self.sample[-1][0]):
            insort(self.sample, (rank, url))
            del self.sample[sample:]


@dataclass
class Answers:
    """What a host said of its sample: sizes in bytes, codes of failures, and seconds of each answer."""

    sizes: list[int] = field(default_factory=list)
    without_size: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share of the images, from 0 to 1, that will come, as far as the sample tells."""
        came = len(self.sizes) + self.without_size
        lost = sum(number for code, number in self.failures.items() if code not in SAYS_NOTHING)
        return came / (came + lost) if came + lost else 1.0


@dataclass(frozen=True)
class Line:
    """A host's part: `bytes` and `seconds` at its limits are estimates; `waiting` are those of all its answers."""

    host: str
    images: int
    requests: int
    bytes: float | None
    seconds: float
    waiting: float
    answers: Answers


@dataclass(frozen=True)
class Outlook:
    """What fetching would take: `done` are the images that it leaves alone, `lines` the hosts with most images first.

    `bytes` is None where no host told a size; `seconds` are at the limits, of the `slowest` host or, where that is
    empty, of num_workers; `free` bytes are on the disk of `folder`, of which `kept` are not to be filled.
    """

    done: Counter[str]
    lines: list[Line]
    bytes: float | None
    seconds: float
    slowest: str
    folder: Path
    free: int
    kept: int


def look_ahead(
    output: Path, manifests: Iterable[Path], plan: Plan, sample: int, announce: Callable[[int, int], None]
) -> Outlook:
    """What fetching the chunks `manifests`, in their order, would take by `plan`, which is of the whole job.

    Up to `sample` images of each of MOST_HOSTS hosts are asked for without their bytes; `announce` is told of how
    many, and of how many hosts, before. Nothing is written.
    """
    done, hosts = _count(output, manifests, plan, sample)
    ordered = dict(sorted(hosts.items(), key=lambda host: (-host[1].images, host[0])))
    asked = {host: [url for _, url in left.sample] for host, left in list(ordered.items())[:MOST_HOSTS] if left.sample}
    if asked:
        announce(sum(map(len, asked.values())), len(asked))
    answers = _Asking(plan).ask(asked) if asked else {}
    return _estimate(done, ordered, answers, plan, output)


def _count(output: Path, manifests: Iterable[Path], plan: Plan, sample: int) -> tuple[Counter[str], dict[str, Left]]:
    """How many images are done, as which outcome, and what is left by host."""
    done: Counter[str] = Counter()
    hosts: dict[str, Left] = {}
    for chunk, manifest in enumerate(manifests):
        ended, urls = _foresee(output, manifest, chunk, plan)
        done += ended
        for url, images in urls.items():
            host = host_of(url)
            if host not in hosts:
                hosts[host] = Left()
            hosts[host].add(url, images, sample)
    return done, hosts


def _foresee(output: Path, manifest: Path, chunk: int, plan: Plan) -> tuple[Counter[str], Counter[str]]:
    """Of a chunk: the images that fetch_chunk would leave or copy, by outcome, and those that show each URL to ask."""
    images, known = output / "images", Known.load(output / "fetched", chunk)
    gone = deleted(output / "deleted.csv", known, plan)
    done: Counter[str] = Counter()
    urls: Counter[str] = Counter()
    for path, identifier in rows_of(manifest):
        url = in_size(identifier, plan.inaturalist_size)
        outcome = known.at(url, path)
        if outcome and holds(outcome, images, plan, gone):
            done[outcome.error or outcome.status] += 1
        elif any(stays(other, images, plan) for other in known.with_bytes(url)):
            done[Status.FETCHED] += 1
        elif plan.cache and url == identifier and (plan.cache / path).is_file():
            done[Status.CACHED] += 1
        else:
            urls[url] += 1
    return done, urls


@dataclass(frozen=True)
class _Question:
    """An image of `host`, which redirects led to `at`, after so many `hops` and seconds."""

    host: str
    url: str
    ranged: bool = False
    hops: int = 0
    at: str = ""
    spent: float = 0.0


class _Asking:
    """Asking hosts for sizes, as kindly as fetching asks for images, and with less patience."""

    def __init__(self, plan: Plan) -> None:
        seconds = min(plan.limits.max_seconds, 2 * plan.limits.request_timeout)
        self._plan = replace(plan, limits=replace(plan.limits, max_seconds=seconds))
        self._queues: HostQueues[_Question] = HostQueues(plan.hosts.of, IMPATIENCE)
        self._answers: dict[str, Answers] = {}
        self._lock = threading.Lock()

    def ask(self, urls: Mapping[str, list[str]]) -> dict[str, Answers]:
        """What each host (a key of `urls`) answers."""
        self._answers = {host: Answers() for host in urls}
        for host, asked in urls.items():
            for url in asked:
                self._queues.put(host, _Question(host, url))
        workers = self._plan.workers
        enough = threading.Timer(LONGEST, self._queues.close)
        enough.start()
        try:
            with (
                Downloader(self._plan.limits, self._plan.guard, workers) as downloader,
                ThreadPoolExecutor(workers, "ask") as pool,
            ):
                try:
                    for done in [pool.submit(self._work, downloader) for _ in range(workers)]:
                        done.result()
                finally:
                    self._queues.close()
        finally:
            enough.cancel()
        return self._answers

    def _work(self, downloader: Downloader) -> None:
        while turn := self._queues.take():
            try:
                if not turn.given_up:
                    self._ask_once(turn.host, turn.job, downloader)
            finally:
                self._queues.done(turn.host)

    def _ask_once(self, host: str, question: _Question, downloader: Downloader) -> None:
        """Ask by HEAD and, where that is refused or tells no size, later for the first byte."""
        begun, code, retry_after = time.monotonic() - question.spent, "", 0.0
        try:
            at = question.at or question.url
            found = downloader.measure(at, question.ranged, question.hops, question.spent)
        except MovedError as there:
            self._queues.succeeded(host)
            moved = replace(question, hops=question.hops + 1, at=there.url, spent=time.monotonic() - begun)
            self._queues.put(host_of(there.url), moved)
            return
        except DownloadError as error:
            found, code, retry_after = error.download, error.code, error.retry_after
        is_busy = found.http_status in ASKED_TOO_MUCH
        is_refused = (found.http_status or 0) >= HTTPStatus.BAD_REQUEST and not is_busy
        if not question.ranged and (is_refused or not (code or found.bytes)):
            self._queues.put(question.host, _Question(question.host, question.url, ranged=True))
            return
        if code in OF_THE_HOST:
            self._queues.failed(host, is_busy, retry_after)
        else:
            self._queues.succeeded(host)
        self._note(question.host, found, code, time.monotonic() - begun)

    def _note(self, host: str, found: Download, code: str, seconds: float) -> None:
        if not code and (found.content_type or "").lower().startswith("text/"):
            code = "not-an-image"
        with self._lock:
            answers = self._answers[host]
            if found.http_status is not None:
                answers.seconds.append(seconds)
            if code:
                answers.failures[code] += 1
            elif found.bytes:
                answers.sizes.append(found.bytes)
            else:
                answers.without_size += 1


def _estimate(
    done: Counter[str], hosts: Mapping[str, Left], answers: Mapping[str, Answers], plan: Plan, output: Path
) -> Outlook:
    """Add up. A host that told nothing is taken for one like the others."""
    sizes = [size for found in answers.values() for size in found.sizes]
    seconds = [each for found in answers.values() for each in found.seconds]
    size = statistics.fmean(sizes) if sizes else None
    latency = statistics.median(seconds) if seconds else 0.0
    lines = [_line(host, left, answers.get(host, Answers()), plan, size, latency) for host, left in hosts.items()]
    known = [line.bytes for line in lines if line.bytes is not None]
    slowest = max(lines, key=lambda line: line.seconds, default=None)
    longest = slowest.seconds if slowest else 0.0
    by_workers = sum(line.waiting for line in lines) / plan.workers
    return Outlook(
        done,
        lines,
        sum(known) if len(known) == len(lines) else None,
        max(longest, by_workers),
        slowest.host if slowest and longest >= by_workers else "",
        output,
        free_bytes(output),
        plan.min_free_bytes,
    )


def _line(host: str, left: Left, answers: Answers, plan: Plan, size: float | None, latency: float) -> Line:
    """A host's part; `size` and `latency` are the other hosts', where this one told none."""
    limits = plan.hosts.of(host)
    interval = 1 / limits.requests_per_second if limits.requests_per_second else 0.0
    size = statistics.fmean(answers.sizes) if answers.sizes else size
    latency = statistics.median(answers.seconds) if answers.seconds else latency
    is_blocked = set(answers.failures) == {"blocked-address"} and not answers.share
    return Line(
        host,
        left.images,
        left.requests,
        0.0 if not answers.share else None if size is None else left.images * answers.share * size,
        0.0 if is_blocked else left.requests * max(interval, latency / limits.connections),
        0.0 if is_blocked else left.requests * latency,
        answers,
    )


def text(outlook: Outlook) -> str:
    """What people read: how much is left of whom, how large it is, how long it takes, and whether it fits."""
    had = outlook.done[Status.FETCHED], outlook.done[Status.CACHED]
    failed = outlook.done.total() - sum(had)
    left = sum(line.images for line in outlook.lines)
    counts = [
        f"{left + outlook.done.total():,} images in the manifest: {had[0]:,} are fetched already",
        f"{had[1]:,} come from cache_path" if had[1] else "",
        f"{failed:,} failed for good" if failed else "",
        f"{left:,} are left, at {format_count(len(outlook.lines), 'host')}" if left else "nothing is left to fetch",
    ]
    paragraphs = [", ".join(filter(None, counts))]
    if left:
        paragraphs += [_table(outlook), *_sums(outlook)]
    return "\n".join(paragraphs)


def _table(outlook: Outlook) -> str:
    """The hosts with most images, the others as one, and all; in columns of the same width."""
    shown, others = outlook.lines[:SHOWN], outlook.lines[SHOWN:]
    rows = [("host", "images", "each", "bytes", "time", "asked")]
    rows += [_row(_shown(line.host), [line], line.seconds, _account(line.answers)) for line in shown]
    if others:
        rows.append(_row(f"{format_count(len(others), 'host')} more", others, max(line.seconds for line in others), ""))
    rows.append(_row("all", outlook.lines, outlook.seconds, ""))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        f"  {row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:5], widths[1:], strict=True))
        + f"  {row[5]}".rstrip()
        for row in rows
    )


def _row(name: str, lines: list[Line], seconds: float, asked: str) -> tuple[str, str, str, str, str, str]:
    images = sum(line.images for line in lines)
    told = [line.bytes for line in lines if line.bytes is not None]
    total = sum(told) if len(told) == len(lines) else None
    each, together = ("?", "?") if total is None else (format_size(round(total / images)), format_size(round(total)))
    return name, f"{images:,}", each, together, format_estimate(seconds), asked


def _account(answers: Answers) -> str:
    """What a host answered, such as '4 sizes, not-found 1'."""
    parts = [f"{len(answers.sizes)} sizes"] if answers.sizes else []
    parts += [f"without a size {answers.without_size}"] if answers.without_size else []
    parts += [f"{code} {number}" for code, number in answers.failures.most_common()]
    return ", ".join(parts) or "not asked"


def _sums(outlook: Outlook) -> list[str]:
    """The bytes, the time and the disk in a line each, and a warning where they don't go together."""
    told = sum(len(line.answers.sizes) for line in outlook.lines)
    room = outlook.free - outlook.kept
    disk = f"disk   {format_size(outlook.free)} are free at {outlook.folder}"
    disk += f", of which min_free_bytes keeps {format_size(outlook.kept)}" if outlook.kept else ""
    limit = f"as fast as {_shown(outlook.slowest)} may be asked" if outlook.slowest else "by num_workers"
    pace = f"time   about {format_estimate(outlook.seconds)}, {limit}"
    if outlook.bytes is None:
        return ["bytes  unknown: no host told a size", pace, disk]
    if outlook.bytes and outlook.seconds:
        pace += f", on a line that bears {format_size(round(outlook.bytes / outlook.seconds))} a second"
    lines = [
        f"bytes  about {format_size(round(outlook.bytes))}, from the sizes of {told:,}; the shards come on top",
        pace,
        disk,
    ]
    if outlook.bytes > room:
        lines.append(
            f"WARNING: {format_size(round(outlook.bytes))} do not fit into the {format_size(max(0, room))} "
            "that may be filled: "
            "free some space, choose another --output or take less, such as --FetchChunk-inaturalist-size large"
        )
    return lines


def _shown(host: str) -> str:
    """A host's name, which is anybody's text, for the terminal."""
    name = "".join(letter if letter.isprintable() else "?" for letter in host) or "(no host)"
    return name if len(name) <= WIDEST else f"{name[: WIDEST - 3]}..."
