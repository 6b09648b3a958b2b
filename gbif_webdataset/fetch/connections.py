"""The way to each host: a pool of connections, made as requests makes them, with its proxies and certificates."""

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

from gbif_webdataset.fetch.address_guard import AddressGuard, GuardedAdapter

# URLs that requests would ask for just as they are; to find that out it takes a tenth of a fetch.
PLAIN = re.compile(
    r"(https?)://([a-z0-9][a-z0-9.-]*(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?)"
    r"((?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?(?:\?[A-Za-z0-9._~=&/-]+)?)",
    re.ASCII,
)
KEPT = 128  # hosts whose connections are kept open; each has a few, and a process may open 1,024 files


@dataclass(frozen=True)
class Route:
    """A host's pool, and what a proxy on the way has to be told: the whole URL, and who asks."""

    pool: HTTPConnectionPool
    is_absolute: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class Routes:
    """The routes to hosts, for many threads; the connections of those asked longest ago are closed."""

    def __init__(self, guard: AddressGuard, read: Callable[..., HTTPResponse], connections: int) -> None:
        self._session = requests.Session()
        self._adapter = GuardedAdapter(guard, read, pool_connections=2 * KEPT, pool_maxsize=connections)
        self._found: OrderedDict[tuple[str, str], Route] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections. The adapter leaves them to the garbage collector, which may be slow to come."""
        for route in self._found.values():
            route.pool.close()
        self._adapter.close()
        self._session.close()

    def to(self, url: str) -> tuple[Route, str, str]:
        """The route to a URL's host, what to ask for there, and the URL as it is asked for.

        Raises requests' InvalidURL and the like, and UnicodeError, for what is no URL.
        """
        scheme, netloc, path, asked = _parts(url)
        with self._lock:
            route = self._found.get((scheme, netloc)) or self._made(asked)
            self._found[scheme, netloc] = route
            self._found.move_to_end((scheme, netloc))
            forgotten = self._found.popitem(last=False)[1] if len(self._found) > KEPT else None
        if forgotten:
            forgotten.pool.close()
        return route, urldefrag(asked)[0] if route.is_absolute else path, asked

    def _made(self, url: str) -> Route:
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


def _parts(url: str) -> tuple[str, str, str, str]:
    """Scheme, host and port, what to ask for there, and the whole, as requests makes them of a URL."""
    if plain := PLAIN.fullmatch(url):
        return plain[1], plain[2], plain[3], url
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    asked = str(request.url)
    parts = urlsplit(asked)
    return parts.scheme, parts.netloc, request.path_url, asked
