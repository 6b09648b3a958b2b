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

from tasks.core.addresses import AddressGuard, BlockedAddressError
from tasks.core.images import kind_of
from tasks.core.routes import Routes

HEAD = 64
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

    def get(self, url: str, target: Path) -> Download:
        """Write the image at `url` to `target`. Raises DownloadError with the ledger's code for anything else."""
        self._of_thread.deadline = time.monotonic() + self._limits.max_seconds
        reached = Download()
        try:
            response, final_url = self._follow(url)
            with closing(response):
                kind = response.headers.get("Content-Type")
                reached = Download(response.status, content_type=kind, final_url=final_url)
                self._admit(response, reached)
                return self._save(response, target, reached)
        except BlockedAddressError as error:
            raise DownloadError("blocked-address", reached) from error
        except (requests.RequestException, HTTPError, UnicodeError, ValueError) as error:
            raise DownloadError("too-slow" if self._left() <= 0 else _code(error), reached) from error

    def _left(self) -> float:
        """Seconds until the image that this thread is at has taken too long."""
        return float(self._of_thread.deadline - time.monotonic())

    def _read(self, connected: socket.socket, **options: Any) -> HTTPResponse:
        """An answer that ends at the deadline, however slowly its status line, headers or chunk sizes drip."""
        answer = HTTPResponse(connected, **options)
        answer.fp = io.BufferedReader(_Timed(answer.fp.detach(), connected, self._left), PIECE)
        return answer

    def _follow(self, url: str) -> tuple[BaseHTTPResponse, str]:
        """The answer at the end of the redirects, its body unread, and its URL."""
        for _ in range(REDIRECTS + 1):
            route, path, url = self._routes.to(url)
            timeout = min(self._limits.request_timeout, self._left())
            if timeout <= 0:
                raise requests.Timeout
            response = route.pool.urlopen(
                "GET",
                path,
                headers=self._headers | route.headers,
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
        raise DownloadError("too-many-redirects", Download(response.status, final_url=url))

    def _admit(self, response: BaseHTTPResponse, reached: Download) -> None:
        """Raise DownloadError for an answer whose body is not wanted."""
        status = response.status
        if status != HTTPStatus.OK:
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
                if size < HEAD:
                    head += piece[: HEAD - size]
                    if len(head) == HEAD and not kind_of(head):
                        raise DownloadError("not-an-image", reached)
                size += len(piece)
                if size > self._limits.max_bytes:
                    raise DownloadError("too-large", replace(reached, bytes=size))
                digest.update(piece)
                file.write(piece)
        if not size:
            raise DownloadError("empty", reached)
        if not kind_of(head):
            raise DownloadError("not-an-image", reached)
        return replace(reached, bytes=size, sha256=digest.hexdigest())


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
