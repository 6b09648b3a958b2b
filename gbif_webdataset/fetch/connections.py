"""A pool of connections for each host, made by requests, with its handling of proxies and certificates."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPResponse
from typing import cast
from urllib.parse import urldefrag, urlsplit

import requests
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool

from gbif_webdataset.network.address_guard import AddressGuard, GuardedAdapter

# URLs that requests leaves unchanged. Preparing such a URL would take a tenth of the time of a fetch.
PLAIN_URL = re.compile(
    r"(https?)://([a-z0-9][a-z0-9.-]*(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?)"
    r"((?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?(?:\?[A-Za-z0-9._~=&/-]+)?)",
    re.ASCII,
)
# requests would encode all percent signs of a URL again if one of them begins no escape.
LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
MAX_HOSTS = 128
"""Hosts whose connections stay open. Each has a few, and a process may have 1,024 open files."""


@dataclass(frozen=True)
class Route:
    """The pool of a host. A proxy for HTTP gets absolute URLs (`is_absolute`) and further `headers`."""

    pool: HTTPConnectionPool
    is_absolute: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class ConnectionPools:
    """The routes to hosts, for many threads. Connections of the hosts that were used least recently are closed."""

    def __init__(self, guard: AddressGuard, read: Callable[..., HTTPResponse], connections: int) -> None:
        self._session = requests.Session()
        self._adapter = GuardedAdapter(guard, read, pool_connections=2 * MAX_HOSTS, pool_maxsize=connections)
        self._routes: OrderedDict[tuple[str, str], Route] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections. The adapter alone would leave them to the garbage collector."""
        for route in self._routes.values():
            route.pool.close()
        self._adapter.close()
        self._session.close()

    def find_route(self, url: str) -> tuple[Route, str, str]:
        """The route to a URL's host, the target of the request line, and the URL in the form in which it is requested.

        Raises:
            requests.RequestException, UnicodeError: the URL is not valid.
        """
        scheme, netloc, path, prepared = _split_url(url)
        with self._lock:
            route = self._routes.get((scheme, netloc)) or self._open_route(prepared)
            self._routes[scheme, netloc] = route
            self._routes.move_to_end((scheme, netloc))
            evicted = self._routes.popitem(last=False)[1] if len(self._routes) > MAX_HOSTS else None
        if evicted:
            evicted.pool.close()
        return route, urldefrag(prepared)[0] if route.is_absolute else path, prepared

    def _open_route(self, url: str) -> Route:
        request = requests.PreparedRequest()
        request.prepare_url(url, None)
        request.headers = requests.structures.CaseInsensitiveDict()
        environment = self._session.merge_environment_settings(url, {}, None, None, None)
        proxies, verify = environment["proxies"], environment["verify"]
        pool = cast(HTTPConnectionPool, self._adapter.get_connection_with_tls_context(request, verify, proxies))
        self._adapter.cert_verify(pool, url, verify, None)  # type: ignore[no-untyped-call]
        proxy = select_proxy(url, proxies)
        if not proxy or url.startswith("https:") or proxy.lower().startswith("socks"):
            return Route(pool)
        return Route(pool, is_absolute=True, headers=self._adapter.proxy_headers(proxy))


def _split_url(url: str) -> tuple[str, str, str, str]:
    """The scheme, host with port, path with query, and whole URL, as requests would prepare them."""
    if plain := PLAIN_URL.fullmatch(url):
        return plain[1], plain[2], plain[3], url
    request = requests.PreparedRequest()
    request.prepare_url(LONE_PERCENT.sub("%25", url), None)
    prepared = str(request.url)
    parts = urlsplit(prepared)
    return parts.scheme, parts.netloc, request.path_url, prepared
