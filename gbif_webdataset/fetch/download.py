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
from typing import Any, BinaryIO, Self
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar, get_cookie_header
from urllib3 import BaseHTTPResponse, Retry, Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from gbif_webdataset.fetch.connections import ConnectionPools, Route
from gbif_webdataset.fetch.http_response import DeadlineReader, FinalResponse
from gbif_webdataset.fetch.image_response import (
    PIECE_BYTES,
    Download,
    DownloadError,
    DownloadLimits,
    check_response,
    read_size,
    save_image,
)
from gbif_webdataset.network.address_guard import MAX_CONNECT_SECONDS, MAX_REDIRECTS, AddressGuard, BlockedAddressError
from gbif_webdataset.terms.outcomes import FetchFailure

NO_RETRY = Retry(total=False, redirect=False)


class RedirectedError(Exception):
    """A redirect to `url`, which may be at another host. `cookies` are those that the image's requests have so far."""

    def __init__(self, url: str, cookies: RequestsCookieJar | None) -> None:
        super().__init__(url)
        self.url, self.cookies = url, cookies


@dataclass(frozen=True)
class Trail:
    """The requests that led to a URL: the redirects so far, the seconds that they took, and the cookies that they set.

    Some hosts redirect in a circle unless their cookie is sent back.
    """

    redirects: int = 0
    seconds: float = 0.0
    cookies: RequestsCookieJar | None = None

    def extend(self, seconds: float, cookies: RequestsCookieJar | None = None) -> "Trail":
        """The trail after one more redirect, whose request took so many seconds."""
        return Trail(self.redirects + 1, self.seconds + seconds, cookies)


NO_REDIRECTS = Trail()

ResponseReader = Callable[[BaseHTTPResponse, Download], Download]


class Downloader:
    """Downloads for many threads. Images share connections, but no cookies and no passwords.

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

    def download_image(self, url: str, target: BinaryIO, trail: Trail | None = None) -> Download:
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
            code = FetchFailure.TOO_SLOW if is_late else _classify_error(error)
            raise DownloadError(code, reached, is_unreachable=isinstance(error, UNREACHABLE_ERRORS)) from error

    def _make_response(self, connected: socket.socket, **options: Any) -> HTTPResponse:
        """A response that ends at the deadline, even if its status line, headers or chunk sizes arrive very slowly."""
        response = FinalResponse(connected, **options)
        reader = DeadlineReader(response.fp.detach(), connected, self._count_seconds_left)
        response.fp = io.BufferedReader(reader, PIECE_BYTES)
        return response

    def _follow_redirects(
        self, method: str, url: str, headers: dict[str, str], trail: Trail | None
    ) -> tuple[BaseHTTPResponse, str]:
        """The response after all redirects, with its body unread, and its URL."""
        first = trail.redirects if trail else 0
        cookies = trail.cookies if trail else None
        for redirects in range(first, MAX_REDIRECTS + 1):
            route, path, url = self._find_route(url, redirects)
            if cookies and (cookie := get_cookie_header(cookies, _describe_request(url))):  # type: ignore[no-untyped-call]
                headers = headers | {"Cookie": cookie}
            response = self._send(route, method, path, headers)
            location = response.get_redirect_location()
            if not location:
                return response, url
            if len(set(response.headers.getlist("Location"))) > 1:  # browsers do not follow such a redirect either
                raise DownloadError(FetchFailure.BAD_REDIRECT, Download(response.status, final_url=location))
            cookies = _keep_cookies(cookies, url, response)
            response.close()
            headers = {name: value for name, value in headers.items() if name != "Cookie"}
            url = _join_location(url, location, response.status)
            if trail is not None and redirects < MAX_REDIRECTS:
                raise RedirectedError(url, cookies)
        raise DownloadError(FetchFailure.TOO_MANY_REDIRECTS, Download(response.status, final_url=url))

    def _find_route(self, url: str, redirects: int) -> tuple[Route, str, str]:
        try:
            return self._pools.find_route(url)
        except (requests.RequestException, HTTPError, UnicodeError, ValueError) as error:
            code = FetchFailure.BAD_REDIRECT if redirects else FetchFailure.BAD_URL
            raise DownloadError(code, Download(final_url=url if redirects else None)) from error

    def _send(self, route: Route, method: str, path: str, headers: dict[str, str]) -> BaseHTTPResponse:
        seconds = min(self._limits.request_timeout, self._count_seconds_left())
        if seconds <= 0:
            raise requests.Timeout
        return route.pool.urlopen(
            method,
            path,
            headers=headers | route.headers,
            retries=NO_RETRY,
            redirect=False,
            assert_same_host=False,
            timeout=Timeout(connect=min(seconds, MAX_CONNECT_SECONDS), read=seconds),
            preload_content=False,
            decode_content=False,
        )


def _describe_request(url: str) -> requests.PreparedRequest:
    """A request in the form that requests' functions for cookies need."""
    request = requests.PreparedRequest()
    request.url, request.headers = url, requests.structures.CaseInsensitiveDict()
    return request


def _keep_cookies(cookies: RequestsCookieJar | None, url: str, response: BaseHTTPResponse) -> RequestsCookieJar | None:
    """The cookies for further requests of the same image. Their own domain, path and age apply."""
    if "Set-Cookie" not in response.headers:
        return cookies
    kept = cookies.copy() if cookies else RequestsCookieJar()
    extract_cookies_to_jar(kept, _describe_request(url), response)  # type: ignore[no-untyped-call]
    return kept


def _join_location(url: str, location: str, status: int) -> str:
    r"""The URL that a Location header names. Its bytes may be UTF-8 or of any other encoding; browsers send them back.

    As in browsers, `\` before the query stands for `/`.

    Raises:
        DownloadError: it is not a URL of HTTP.
    """
    sent = location.encode("latin-1")
    try:
        target = sent.decode()
    except UnicodeDecodeError:
        target = "".join(chr(byte) if byte < 128 else f"%{byte:02X}" for byte in sent)
    path, mark, query = target.strip().partition("?")
    target = path.replace("\\", "/") + mark + query
    try:
        joined = urljoin(url, target)
        is_http = urlsplit(joined).scheme in ("http", "https")
    except ValueError as error:
        raise DownloadError(FetchFailure.BAD_REDIRECT, Download(status, final_url=target)) from error
    if not is_http:
        raise DownloadError(FetchFailure.BAD_REDIRECT, Download(status, final_url=joined))
    return joined


def _classify_error(error: Exception) -> str:
    """The FetchFailure for an error below HTTP."""
    text = repr(error)
    if isinstance(error, IncompleteRead) or "IncompleteRead" in text:
        return FetchFailure.TRUNCATED
    if isinstance(error, SSLError):
        return FetchFailure.BAD_CERTIFICATE if "CERTIFICATE_VERIFY_FAILED" in text else FetchFailure.TLS
    if isinstance(error, NameResolutionError):
        return FetchFailure.NAME_NOT_RESOLVED
    is_timeout = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError)
    if is_timeout and not isinstance(error, NewConnectionError):  # which urllib3 makes a kind of timeout
        return FetchFailure.TIMEOUT
    return FetchFailure.CONNECTION


UNREACHABLE_ERRORS = (NameResolutionError, NewConnectionError, ConnectTimeoutError, ProxyError)
"""Errors of a request for which no connection to the host was made."""
