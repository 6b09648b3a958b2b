"""One download: what a host sends, streamed to a file, within limits, and only if it is an image."""

import hashlib
import io
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
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
from gbif_webdataset.fetch.connections import Routes
from gbif_webdataset.images.signatures import HEAD_BYTES, identify_image

PIECE = 1 << 18  # bytes to take at a time, if they have come; pieces of a quarter take a third more of the processor
SMALL = 1 << 16  # bytes of an unwanted answer that are read for the sake of its connection
REDIRECTS = 5
ONCE = Retry(total=False, redirect=False)
OPT_OUT = frozenset({"noai", "noimageai", "noindex", "noimageindex"})
BY_STATUS = {401: "unauthorized", 403: "forbidden", 404: "not-found", 410: "gone", 429: "too-many-requests"}


@dataclass(frozen=True)
class Limits:
    """What an image may take: seconds of silence, seconds in all, bytes; and who asks."""

    request_timeout: float
    max_seconds: float
    max_bytes: int
    user_agent: str
    respect_opt_out: bool


@dataclass(frozen=True)
class Download:
    """What came back: fields are None where it didn't come to that. One too large has at least so many `bytes`."""

    http_status: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    final_url: str | None = None


class DownloadError(Exception):
    """An image that didn't come. `code` is the ledger's; `retry_after` seconds if the host named them."""

    def __init__(self, code: str, download: Download, retry_after: float = 0.0) -> None:
        super().__init__(code)
        self.code, self.download, self.retry_after = code, download, retry_after


class MovedError(Exception):
    """A host that sends us on to `url`, which may be another's."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


Take = Callable[[BaseHTTPResponse, Download], Download]


class Downloader:
    """Downloads for many threads at once: connections are kept and shared, cookies and passwords are not.

    The pools of connections are made by requests, with its proxies and certificates; what is asked of them goes past
    its sessions, which take as long for a request as all the rest.
    """

    def __init__(self, limits: Limits, guard: AddressGuard, connections: int = 4) -> None:
        self._limits = limits
        self._routes = Routes(guard, self._read, connections)
        self._headers = {"User-Agent": limits.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"}
        self._of_thread = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._routes.close()

    def get(self, url: str, target: Path, followed: int | None = None, spent: float = 0.0) -> Download:
        """Write the image at `url` to `target`. Raises DownloadError with the ledger's code for anything else.

        Redirects are followed or, where `followed` says how many were already, in `spent` seconds, raised as
        MovedError: where they lead to is to be asked when it is that host's turn.
        """
        self._of_thread.deadline = time.monotonic() + self._limits.max_seconds - spent
        return self._ask("GET", url, {}, lambda response, reached: self._save(response, target, reached), followed)

    def measure(self, url: str, ranged: bool, followed: int, spent: float) -> Download:
        """What `get` would bring, without its bytes: `bytes` is None where the host doesn't tell how many.

        It is asked by HEAD or, where `ranged`, for the first byte alone. Raises DownloadError and MovedError as `get`.
        """
        self._of_thread.deadline = time.monotonic() + self._limits.max_seconds - spent
        if ranged:
            return self._ask("GET", url, {"Range": "bytes=0-0"}, self._length, followed)
        return self._ask("HEAD", url, {}, self._length, followed)

    def _ask(self, method: str, url: str, headers: dict[str, str], take: Take, followed: int | None = None) -> Download:
        reached = Download()
        try:
            response, final_url = self._follow(method, url, self._headers | headers, followed)
            with closing(response):
                kind = response.headers.get("Content-Type")
                reached = Download(response.status, content_type=kind, final_url=final_url)
                self._admit(response, reached, HTTPStatus.PARTIAL_CONTENT if "Range" in headers else HTTPStatus.OK)
                return take(response, reached)
        except BlockedAddressError as error:
            raise DownloadError("blocked-address", reached) from error
        except (requests.RequestException, HTTPError, UnicodeError, ValueError) as error:
            raise DownloadError("too-slow" if self._left() <= 0 else _code(error), reached) from error

    def _left(self) -> float:
        """Seconds until the image that this thread is at has taken too long."""
        return float(self._of_thread.deadline - time.monotonic())

    def _read(self, connected: socket.socket, **options: Any) -> HTTPResponse:
        """An answer that ends at the deadline, however slowly its status line, headers or chunk sizes drip."""
        answer = _Answer(connected, **options)
        answer.fp = io.BufferedReader(_Timed(answer.fp.detach(), connected, self._left), PIECE)
        return answer

    def _follow(
        self, method: str, url: str, headers: dict[str, str], followed: int | None
    ) -> tuple[BaseHTTPResponse, str]:
        """The answer at the end of the redirects, its body unread, and its URL."""
        for hop in range(followed or 0, REDIRECTS + 1):
            route, path, url = self._routes.to(url)
            timeout = min(self._limits.request_timeout, self._left())
            if timeout <= 0:
                raise requests.Timeout
            response = route.pool.urlopen(
                method,
                path,
                headers=headers | route.headers,
                retries=ONCE,
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
                raise DownloadError("bad-redirect", Download(response.status, final_url=url))
            if followed is not None and hop < REDIRECTS:
                raise MovedError(url)
        raise DownloadError("too-many-redirects", Download(response.status, final_url=url))

    def _admit(self, response: BaseHTTPResponse, reached: Download, asked_for: HTTPStatus) -> None:
        """Raise DownloadError for an answer whose body is not wanted."""
        status = response.status
        if status not in (HTTPStatus.OK, asked_for):
            if (response.length_remaining or SMALL) < SMALL:
                response.read(SMALL)  # so that the connection can be used again
            code = BY_STATUS.get(status) or ("server-error" if status >= 500 else f"http-{status}")
            raise DownloadError(code, reached, _retry_after(response.headers.get("Retry-After")))
        directives = response.headers.get("X-Robots-Tag", "").lower().replace(":", ",").split(",")
        if self._limits.respect_opt_out and OPT_OUT & {directive.strip() for directive in directives}:
            raise DownloadError("opted-out", reached)
        declared = response.length_remaining
        if declared and declared > self._limits.max_bytes:
            raise DownloadError("too-large", replace(reached, bytes=declared))

    def _save(self, response: BaseHTTPResponse, target: Path, reached: Download) -> Download:
        digest = hashlib.sha256()
        size, head = 0, b""
        with target.open("wb") as file:
            while piece := response.read1(PIECE, decode_content=True):
                if size < HEAD_BYTES:
                    head += piece[: HEAD_BYTES - size]
                    if len(head) == HEAD_BYTES and not identify_image(head):
                        raise DownloadError("not-an-image", reached)
                size += len(piece)
                if size > self._limits.max_bytes:
                    raise DownloadError("too-large", replace(reached, bytes=size))
                digest.update(piece)
                file.write(piece)
        if not size:
            raise DownloadError("empty", reached)
        if not identify_image(head):
            raise DownloadError("not-an-image", reached)
        return replace(reached, bytes=size, sha256=digest.hexdigest())

    def _length(self, response: BaseHTTPResponse, reached: Download) -> Download:
        is_part = response.status == HTTPStatus.PARTIAL_CONTENT
        told = response.headers.get("Content-Range" if is_part else "Content-Length", "").rpartition("/")[2]
        size = int(told) if told.isascii() and told.isdecimal() else None
        if response.length_remaining is not None and response.length_remaining < SMALL:
            response.read(SMALL)  # so that the connection can be used again
        if size and size > self._limits.max_bytes:
            raise DownloadError("too-large", replace(reached, bytes=size))
        return replace(reached, bytes=size or None)  # some hosts answer HEAD with a length of 0


class _Answer(HTTPResponse):
    """The final answer. Python skips a 100 before it, and would take any other 1xx for it (RFC 9110, 15.2)."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        is_interim = HTTPStatus.CONTINUE < status < HTTPStatus.OK and status != HTTPStatus.SWITCHING_PROTOCOLS
        return version, HTTPStatus.CONTINUE if is_interim else status, reason

    def begin(self) -> None:
        """Read up to the headers' end; what comes after another protocol was switched to is no answer of ours."""
        super().begin()
        self.will_close = self.will_close or self.status == HTTPStatus.SWITCHING_PROTOCOLS


class _Timed(io.RawIOBase):
    """What a socket receives, until the seconds that are `left` are over; within them its own timeout holds."""

    def __init__(self, received: io.RawIOBase, connected: socket.socket, left: Callable[[], float]) -> None:
        self._received, self._connected, self._left = received, connected, left
        self._silence = connected.gettimeout() or left()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._left()
        if left <= 0:
            raise TimeoutError
        if left < self._silence:
            self._connected.settimeout(left)
        return self._received.readinto(buffer)

    def close(self) -> None:
        super().close()
        self._received.close()


def _retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for, given as seconds or as a date (RFC 9110, 10.2.3)."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _code(error: Exception) -> str:
    """The ledger's code for what went wrong below HTTP."""
    text = repr(error)
    if isinstance(error, IncompleteRead) or "IncompleteRead" in text:
        return "truncated"
    if isinstance(error, NameResolutionError):
        return "name-not-resolved"
    if isinstance(error, NewConnectionError):  # which urllib3 takes for a timeout
        return "connection"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "timeout"
    if isinstance(error, SSLError):
        return "bad-certificate" if "CERTIFICATE_VERIFY_FAILED" in text else "tls"
    if isinstance(error, requests.exceptions.InvalidURL | LocationValueError | UnicodeError):
        return "bad-url"
    if isinstance(error, DecodeError):
        return "not-an-image"
    if isinstance(error, ValueError) and not isinstance(error, requests.RequestException):
        return "bad-url"
    return "connection"
