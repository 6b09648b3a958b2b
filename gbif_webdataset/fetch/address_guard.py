"""Which network addresses may be fetched from, checked on the address that is connected to.

An archive is anybody's text: its URLs may name the user's own network or the cloud's metadata service.
"""

import ipaddress
import socket
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from gbif_webdataset.errors import ParameterError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
REMEMBERED = 300.0  # seconds
NAT64 = ipaddress.ip_network("64:ff9b::/96")
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is public
CLOUDS = [ipaddress.ip_network(block) for block in ("192.0.0.0/24", "168.63.129.16/32")]  # Oracle's and Azure's own


class BlockedAddressError(Exception):
    """A name resolves to an address that is not public, and is in no allowed block."""


class AddressGuard:
    """Tells the addresses that may be connected to: the public ones, and those in the `allowed` CIDR blocks."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        try:
            self._allowed = [ipaddress.ip_network(block, strict=False) for block in allowed]
        except ValueError as error:
            raise ParameterError(f"allow_addresses: {error}; write CIDR blocks such as 10.1.0.0/16") from error

    @property
    def opens_some(self) -> bool:
        """Whether addresses may be connected to although they are not public."""
        return bool(self._allowed)

    def check(self, address: str) -> None:
        """Raise BlockedAddressError unless `address`, a numeric one, may be connected to."""
        stated = ipaddress.ip_address(address.split("%", 1)[0])
        numeric = _embedded(stated)
        if any(one in block for one in (stated, numeric) for block in self._allowed if block.version == one.version):
            return
        is_public = numeric.is_global and not numeric.is_multicast and not numeric.is_reserved
        inside = numeric not in GLOBAL_UNICAST if numeric.version == 6 else any(numeric in block for block in CLOUDS)
        if inside or not is_public:
            raise BlockedAddressError(f"{address} is not a public address")


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped or address.sixtofour:
            return address.ipv4_mapped or address.sixtofour or address
        if address in NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


class Resolver:
    """Names and their addresses, looked up once in `seconds`, for all threads."""

    def __init__(self, seconds: float = REMEMBERED) -> None:
        self._seconds = seconds
        self._found: dict[tuple[str, int], tuple[float, list[str]]] = {}

    def addresses(self, host: str, port: int) -> list[str]:
        """The numeric addresses of a name. Raises socket.gaierror where it has none, UnicodeError where it is none."""
        now = time.monotonic()
        until, addresses = self._found.get((host, port), (0.0, []))
        if until <= now:
            addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
            self._found[host, port] = now + self._seconds, addresses
        return addresses


class GuardedAdapter(HTTPAdapter):
    """An adapter for requests whose connections go only where an AddressGuard lets them.

    `read` makes the answer that is read from a connection's socket. A proxy of the environment connects in our place:
    it is asked for what the guard can't see.
    """

    def __init__(self, guard: AddressGuard, read: Callable[..., HTTPResponse], **options: Any) -> None:
        self._guard, self._read, self._resolver = guard, read, Resolver()
        super().__init__(**options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the pools with connections that ask the guard."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools(_Guarded, guard=self._guard, resolver=self._resolver)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """The pools of a proxy, whose answers are read as all others."""
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if is_new and not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools()
        return manager

    def _pools(self, *mixed_in: type, **attributes: Any) -> dict[str, type[HTTPConnectionPool]]:
        attributes["response_class"] = staticmethod(self._read)
        plain = type("PlainConnection", (*mixed_in, HTTPConnection), attributes)
        secure = type("SecureConnection", (*mixed_in, HTTPSConnection), attributes)
        return {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }


class _Guarded(HTTPConnection):
    guard: AddressGuard
    resolver: Resolver

    def _new_conn(self) -> socket.socket:
        """Resolve once, check every address, and connect to one that was checked."""
        try:
            addresses = self.resolver.addresses(self._dns_host, self.port)
        except (socket.gaierror, UnicodeError) as error:
            unresolved = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, unresolved) from error
        for address in addresses:
            self.guard.check(address)
        for last, address in enumerate(addresses, 1):
            try:
                connected = create_connection(
                    (address, self.port), self.timeout, self.source_address, self.socket_options
                )
                sys.audit("http.client.connect", self, self.host, self.port)
                return connected
            except TimeoutError as error:
                if last == len(addresses):
                    raise ConnectTimeoutError(self, f"connecting to {self.host} took too long") from error
            except OSError as error:
                if last == len(addresses):
                    raise NewConnectionError(self, f"can't connect to {self.host}: {error}") from error
        raise NameResolutionError(self.host, self, socket.gaierror("no address"))
