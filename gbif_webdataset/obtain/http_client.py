"""HTTP requests to permitted addresses only, and which of their failures are temporary."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPResponse
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from gbif_webdataset import __version__
from gbif_webdataset.errors import FetchError
from gbif_webdataset.network.address_guard import (
    MAX_CONNECT_SECONDS,
    MAX_REDIRECTS,
    AddressGuard,
    BlockedAddressError,
    GuardedAdapter,
)
from gbif_webdataset.network.retry_after import parse_retry_after
from gbif_webdataset.obtain.credentials import Credentials

USER_AGENT = f"gbif-webdataset/{__version__} (+https://www.gbif.org/)"
ENHANCE_YOUR_CALM = 420
"""GBIF's status for a user with too many downloads at the same time."""
TOO_MANY = {HTTPStatus.TOO_MANY_REQUESTS, ENHANCE_YOUR_CALM}
BUSY = {*TOO_MANY, HTTPStatus.SERVICE_UNAVAILABLE}
TEMPORARY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, *BUSY}


class TemporaryError(Exception):
    """A failure after which the same request may succeed.

    `retry_after` is the pause that the host asks for, in seconds, or 0. `status` is that of HTTP; 0 if there is none.
    """

    def __init__(self, problem: str, retry_after: float = 0.0, status: int = 0) -> None:
        super().__init__(problem)
        self.retry_after, self.status = retry_after, status

    @property
    def is_busy(self) -> bool:
        """Whether the host answers that it is busy."""
        return self.status in BUSY


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests reads the whole body of a redirect that it knows, even if it does not follow it."""


class HttpClient:
    """Sends requests with the settings of the environment for proxies and certificates.

    It sends no password by itself, not even one of ~/.netrc.
    """

    def __init__(self, guard: AddressGuard, request_timeout: float) -> None:
        self._guard, self._session = guard, _Session()
        self._session.auth = _keep_request
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        self._timeout = min(request_timeout, MAX_CONNECT_SECONDS), request_timeout
        adapter = GuardedAdapter(guard, HTTPResponse)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)

    @contextmanager
    def open(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        credentials: Credentials | None = None,
    ) -> Iterator[requests.Response]:
        """Send a GET, or a POST with a `body` of JSON, and yield the response with its body unread.

        Redirects of a GET are followed, without the credentials.

        Raises:
            TemporaryError: the host cannot be reached, is busy or has an error, also while the block reads the body.
            FetchError: an address is not permitted, or the redirects cannot be followed.
        """
        sent = dict(headers or {})
        if credentials:
            sent["Authorization"] = credentials.make_header()
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            with self._follow_redirects(url, sent, body) as response:
                status = response.status_code
                if status in TEMPORARY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    problem = f"{_host(response.url)} answers with status {status}"
                    retry_after = parse_retry_after(response.headers)
                    raise TemporaryError(problem, retry_after, status)
                yield response
        except BlockedAddressError as error:
            raise FetchError.at(url, str(error), f"allow it with {self._guard.option} if you trust it") from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError) as error:
            raise FetchError.at(url, "not a valid address", "correct it") from error
        except (requests.RequestException, HTTPError) as error:
            raise TemporaryError(f"{_host(url)}: {_describe(error)}") from error

    def _follow_redirects(self, url: str, headers: dict[str, str], body: bytes | None) -> requests.Response:
        first = url
        for _ in range(MAX_REDIRECTS + 1):
            response = self._session.request(
                "GET" if body is None else "POST",
                url,
                headers=headers,
                data=body,
                timeout=self._timeout,
                stream=True,
                allow_redirects=False,
            )
            location = response.headers.get("Location")
            if body is not None or not location or not response.is_redirect:
                return response
            response.close()
            url = _resolve_location(url, location)
            if not url:
                problem = f"the host redirects to {location}, which is not a web address"
                raise FetchError.at(first, problem, "report this to the host")
            headers.pop("Authorization", None)
        raise FetchError.at(first, f"more than {MAX_REDIRECTS} redirects", "report this to the host")


def _keep_request(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add no password to a request. Without this, requests would look for one in ~/.netrc, for every host."""
    return request


def _resolve_location(url: str, location: str) -> str:
    """Return the address that a redirect names, relative to `url`; empty if it is not a web address."""
    try:
        target = urljoin(url, location)
        return target if urlsplit(target).scheme in ("http", "https") else ""
    except ValueError:
        return ""


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _describe(error: Exception) -> str:
    """What went wrong below HTTP, in words."""
    text = repr(error)
    if isinstance(error, requests.exceptions.SSLError):
        return "the encrypted connection failed"
    if "NameResolutionError" in text:
        return "the name cannot be resolved"
    if isinstance(error, requests.exceptions.ConnectTimeout) or "NewConnectionError" in text:
        return "no connection"
    if isinstance(error, requests.exceptions.Timeout) or "Timeout" in text or "timed out" in text:
        return "no answer in time"
    return "the connection broke"
