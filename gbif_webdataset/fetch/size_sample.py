"""Ask hosts for the sizes of a sample of their images, without downloading them."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from gbif_webdataset.fetch.download import NO_REDIRECTS, Downloader, RedirectedError, Trail
from gbif_webdataset.fetch.fetch_options import FetchOptions
from gbif_webdataset.fetch.host_limits import parse_host
from gbif_webdataset.fetch.host_queues import BackoffPolicy, HostQueues
from gbif_webdataset.fetch.image_response import Download, DownloadError
from gbif_webdataset.terms.outcomes import PERMANENT_FAILURES, REFUSALS, FetchFailure

MAX_SAMPLING_SECONDS = 60.0
"""After this time no further sizes are requested."""
SAMPLING_BACKOFF = BackoffPolicy(max_failures=2, pause=0.0, max_pauses=0, max_wait=5.0)
CONCLUSIVE_FAILURES = PERMANENT_FAILURES | {FetchFailure.TOO_LARGE, *REFUSALS}
"""Failures after which the image will hardly be downloaded."""


@dataclass
class HostAnswers:
    """The answers of a host for its sample: sizes in bytes, failures by code, and the seconds that each answer took.

    `unreached` is the number of failures for which no connection was made.
    """

    sizes: list[int] = field(default_factory=list)
    without_size: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    unreached: int = 0

    @property
    def is_unreachable(self) -> bool:
        """Whether the host was asked, and no connection was made."""
        return bool(self.unreached) and self.unreached == self.failures.total() and not (self.sizes or self.seconds)

    @property
    def available_share(self) -> float:
        """The estimated share of the host's images, 0 to 1, that can be downloaded; 1 if it is not known."""
        available = len(self.sizes) + self.without_size
        failed = sum(number for code, number in self.failures.items() if code in CONCLUSIVE_FAILURES)
        return available / (available + failed) if available + failed else 1.0


@dataclass(frozen=True)
class _SizeRequest:
    """A request for the size of an image of `host`. After a redirect, `redirect` is the URL to request."""

    host: str
    url: str
    ranged: bool = False
    redirect: str = ""
    trail: Trail = NO_REDIRECTS


class SizeSampler:
    """Requests sizes within the same host limits as downloads, and abandons failing hosts sooner."""

    def __init__(self, options: FetchOptions) -> None:
        max_seconds = min(options.limits.max_seconds, 2 * options.limits.request_timeout)
        self._options = replace(options, limits=replace(options.limits, max_seconds=max_seconds))
        self._queues: HostQueues[_SizeRequest] = HostQueues(options.hosts.find_limits, SAMPLING_BACKOFF)
        self._answers: dict[str, HostAnswers] = {}
        self._lock = threading.Lock()

    def sample_sizes(self, urls: Mapping[str, list[str]]) -> dict[str, HostAnswers]:
        """The answers of each host, for the `urls` by host."""
        self._answers = {host: HostAnswers() for host in urls}
        for host, sample in urls.items():
            for url in sample:
                self._queues.add_job(host, _SizeRequest(host, url))
        workers = self._options.workers
        timer = threading.Timer(MAX_SAMPLING_SECONDS, self._queues.close)
        timer.start()
        try:
            with (
                Downloader(self._options.limits, self._options.guard, workers) as downloader,
                ThreadPoolExecutor(workers, "sample") as pool,
            ):
                try:
                    for thread in [pool.submit(self._run_requests, downloader) for _ in range(workers)]:
                        thread.result()
                finally:
                    self._queues.close()
        finally:
            timer.cancel()
        return self._answers

    def _run_requests(self, downloader: Downloader) -> None:
        while turn := self._queues.take_job():
            try:
                if not turn.is_abandoned:
                    self._send_request(turn.host, turn.job, downloader)
            finally:
                self._queues.finish_job(turn.host)

    def _send_request(self, host: str, request: _SizeRequest, downloader: Downloader) -> None:
        """Send a HEAD. If the host refuses it or reports no size, request the first byte later."""
        started, failure = time.monotonic() - request.trail.seconds, None
        try:
            found = downloader.measure_image(request.redirect or request.url, request.ranged, request.trail)
        except RedirectedError as redirected:
            self._queues.report_success(host)
            trail = Trail(request.trail.redirects + 1, time.monotonic() - started, redirected.cookies)
            self._queues.add_job(parse_host(redirected.url), replace(request, redirect=redirected.url, trail=trail))
            return
        except DownloadError as error:
            found, failure = error.download, error
        is_busy = failure is not None and failure.is_busy
        is_refused = (found.http_status or 0) >= HTTPStatus.BAD_REQUEST and not is_busy
        if not request.ranged and (is_refused or not (failure or found.bytes)):
            self._queues.add_job(request.host, _SizeRequest(request.host, request.url, ranged=True))
            return
        if failure and failure.is_host_failure:
            self._queues.report_failure(host, is_busy, failure.retry_after)
        else:
            self._queues.report_success(host)
        self._add_answer(request.host, found, failure, time.monotonic() - started)

    def _add_answer(self, host: str, found: Download, failure: DownloadError | None, seconds: float) -> None:
        code = failure.code if failure else ""
        if not code and (found.content_type or "").lower().startswith("text/"):
            code = FetchFailure.NOT_AN_IMAGE
        with self._lock:
            answers = self._answers[host]
            if found.http_status is not None:
                answers.seconds.append(seconds)
            if code:
                answers.failures[code] += 1
                answers.unreached += failure is not None and failure.is_unreachable
            elif found.bytes:
                answers.sizes.append(found.bytes)
            else:
                answers.without_size += 1
