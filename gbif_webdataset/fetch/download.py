"""One download over HTTP: an image is written to a file, within limits on its size and time."""

import io
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from urllib3 import BaseHTTPResponse, Retry
from urllib3.exceptions import (
    DecodeError,
    HTTPError,
    IncompleteRead,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)

from gbif_webdataset.fetch.address_guard import AddressGuard, BlockedAddressError
from gbif_webdataset.fetch.connections import ConnectionPools
from gbif_webdataset.fetch.image_response import (
    PIECE_BYTES,
    Download,
    DownloadError,
    DownloadLimits,
    check_response,
    read_size,
    save_image,
)
from gbif_webdataset.terms.outcomes import FetchFailure

MAX_REDIRECTS = 5
NO_RETRY = Retry(total=False, redirect=False)


class RedirectedError(Exception):
    """A redirect to `url`, which may be at another host."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


@dataclass(frozen=True)
class Trail:
    """The requests that led to a URL: the number of redirects so far, and the seconds that they took."""

    redirects: int = 0
    seconds: float = 0.0

    def extend(self, seconds: float) -> "Trail":
        """The trail after one more redirect, whose request took so many seconds."""
        return Trail(self.redirects + 1, self.seconds + seconds)


NO_REDIRECTS = Trail()

ResponseReader = Callable[[BaseHTTPResponse, Download], Download]


class Downloader:
    """Downloads for many threads. Threads share connections, but no cookies and no passwords.

    requests makes the connection pools, so proxies and certificates work as usual. Requests are sent without its
    sessions, which would take as much CPU time per request as everything else together.
    """

    def __init__(self, limits: DownloadLimits, guard: AddressGuard, connections: int = 4) -> None:
        self._limits = limits
        self._pools = ConnectionPools(guard, self._make_response, connections)
        self._headers = {"User-Agent": limits.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"}
        self._thread = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pools.close()

    def download_image(self, url: str, target: Path, trail: Trail | None = None) -> Download:
        """Write the image at `url` to `target`.

        Without a `trail` redirects are followed. With it they are raised, so that the next host can be asked when its
        limits allow it; the time of the trail counts towards `max_seconds`.

        Raises:
            DownloadError: no image was downloaded.
            RedirectedError: the host redirects to another URL.
        """
        self._start_clock(trail)

        def save(response: BaseHTTPResponse, reached: Download) -> Download:
            return save_image(response, target, reached, self._limits.max_bytes)

        return self._request("GET", url, {}, save, trail)

    def measure_image(self, url: str, ranged: bool, trail: Trail) -> Download:
        """The same as `download_image` without the image; `bytes` is None if the host does not report the size.

        The request is a HEAD or, with `ranged`, a GET of the first byte.

        Raises:
            DownloadError: the image could not be downloaded.
            RedirectedError: the host redirects to another URL.
        """
        self._start_clock(trail)

        def read(response: BaseHTTPResponse, reached: Download) -> Download:
            return read_size(response, reached, self._limits.max_bytes)

        if ranged:
            return self._request("GET", url, {"Range": "bytes=0-0"}, read, trail)
        return self._request("HEAD", url, {}, read, trail)

    def _start_clock(self, trail: Trail | None) -> None:
        self._thread.deadline = time.monotonic() + self._limits.max_seconds - (trail.seconds if trail else 0.0)

    def _count_seconds_left(self) -> float:
        """Seconds until the image of this thread has taken too long."""
        return float(self._thread.deadline - time.monotonic())

    def _request(
        self, method: str, url: str, headers: dict[str, str], read: ResponseReader, trail: Trail | None
    ) -> Download:
        reached = Download()
        try:
            response, final_url = self._follow_redirects(method, url, self._headers | headers, trail)
            with closing(response):
                content_type = response.headers.get("Content-Type")
                reached = Download(response.status, content_type=content_type, final_url=final_url)
                expected = HTTPStatus.PARTIAL_CONTENT if "Range" in headers else HTTPStatus.OK
                check_response(response, reached, self._limits, expected)
                return read(response, reached)
        except BlockedAddressError as error:
            raise DownloadError(FetchFailure.BLOCKED_ADDRESS, reached) from error
        except (requests.RequestException, HTTPError, UnicodeError, ValueError) as error:
            is_late = self._count_seconds_left() <= 0
            raise DownloadError(FetchFailure.TOO_SLOW if is_late else _classify_error(error), reached) from error

    def _make_response(self, connected: socket.socket, **options: Any) -> HTTPResponse:
        """A response that ends at the deadline, even if its status line, headers or chunk sizes arrive very slowly."""
        response = _FinalResponse(connected, **options)
        reader = _DeadlineReader(response.fp.detach(), connected, self._count_seconds_left)
        response.fp = io.BufferedReader(reader, PIECE_BYTES)
        return response

    def _follow_redirects(
        self, method: str, url: str, headers: dict[str, str], trail: Trail | None
    ) -> tuple[BaseHTTPResponse, str]:
        """The response after all redirects, with its body unread, and its URL."""
        for redirects in range(trail.redirects if trail else 0, MAX_REDIRECTS + 1):
            route, path, url = self._pools.find_route(url)
            timeout = min(self._limits.request_timeout, self._count_seconds_left())
            if timeout <= 0:
                raise requests.Timeout
            response = route.pool.urlopen(
                method,
                path,
                headers=headers | route.headers,
                retries=NO_RETRY,
                redirect=False,
                assert_same_host=False,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
            location = response.get_redirect_location()
            if not location:
                return response, url
            response.close()
            url = urljoin(url, location.encode("latin-1").decode())
            if urlsplit(url).scheme not in ("http", "https"):
                raise DownloadError(FetchFailure.BAD_REDIRECT, Download(response.status, final_url=url))
            if trail is not None and redirects < MAX_REDIRECTS:
                raise RedirectedError(url)
        raise DownloadError(FetchFailure.TOO_MANY_REDIRECTS, Download(response.status, final_url=url))


class _FinalResponse(HTTPResponse):
    """The final response to a request. Python skips only status 100 before it, no other 1xx (RFC 9110, 15.2)."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        is_interim = HTTPStatus.CONTINUE < status < HTTPStatus.OK and status != HTTPStatus.SWITCHING_PROTOCOLS
        return version, HTTPStatus.CONTINUE if is_interim else status, reason

    def begin(self) -> None:
        """Read up to the end of the headers. After a switch of protocols the connection is not used again."""
        super().begin()
        self.will_close = self.will_close or self.status == HTTPStatus.SWITCHING_PROTOCOLS


class _DeadlineReader(io.RawIOBase):
    """The bytes that a socket receives, until a deadline. Before it, the socket's own timeout applies."""

    def __init__(
        self, received: io.RawIOBase, connected: socket.socket, count_seconds_left: Callable[[], float]
    ) -> None:
        self._received, self._connected, self._count_seconds_left = received, connected, count_seconds_left
        self._timeout = connected.gettimeout() or count_seconds_left()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds_left = self._count_seconds_left()
        if seconds_left <= 0:
            raise TimeoutError
        if seconds_left < self._timeout:
            self._connected.settimeout(seconds_left)
        return self._received.readinto(buffer)

    def close(self) -> None:
        super().close()
        self._received.close()


def _classify_error(error: Exception) -> str:
    """The FetchFailure for an error below HTTP."""
    text = repr(error)
    if isinstance(error, IncompleteRead) or "IncompleteRead" in text:
        return FetchFailure.TRUNCATED
    if isinstance(error, SSLError):
        return FetchFailure.BAD_CERTIFICATE if "CERTIFICATE_VERIFY_FAILED" in text else FetchFailure.TLS
    for types, failure in _FAILURES_BY_TYPE:
        if isinstance(error, types):
            return failure
    is_url_error = isinstance(error, ValueError) and not isinstance(error, requests.RequestException)
    return FetchFailure.BAD_URL if is_url_error else FetchFailure.CONNECTION


_FAILURES_BY_TYPE: tuple[tuple[tuple[type[Exception], ...], FetchFailure], ...] = (
    ((NameResolutionError,), FetchFailure.NAME_NOT_RESOLVED),
    ((NewConnectionError,), FetchFailure.CONNECTION),  # urllib3 makes it a kind of timeout
    ((requests.Timeout, urllib3.exceptions.TimeoutError), FetchFailure.TIMEOUT),
    ((requests.exceptions.InvalidURL, LocationValueError, UnicodeError), FetchFailure.BAD_URL),
    ((DecodeError,), FetchFailure.NOT_AN_IMAGE),
)
