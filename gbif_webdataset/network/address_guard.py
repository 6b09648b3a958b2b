"""The network addresses that files may be fetched from, checked on the address that is connected to.

An archive is untrusted: its URLs may point into the user's own network or at the cloud's metadata service.
"""

import ipaddress
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPResponse
from queue import Empty, Queue
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from gbif_webdataset.errors import ParameterError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
RESOLVED_SECONDS = 300.0
"""How long the addresses of a name are used before it is resolved again."""
MAX_CONNECT_SECONDS = 10.0
"""Longest wait for a connection to any address of a name: time for a request that is lost three times."""
NEXT_ADDRESS_SECONDS = 3.0
"""Longest wait for a connection to an address of a name that has further addresses."""
MIN_ADDRESS_SECONDS = 1.0
"""Shortest wait for a connection to an address of a name that has many."""
MAX_RESOLVE_SECONDS = 10.0
MAX_REDIRECTS = 5
NAT64 = ipaddress.ip_network("64:ff9b::/96")
PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")
# Addresses that Oracle and Azure use for their own services, although they look public.
CLOUD_BLOCKS = [ipaddress.ip_network(block) for block in ("192.0.0.0/24", "168.63.129.16/32")]


class BlockedAddressError(Exception):
    """A name resolves to an address that is neither public nor in an allowed block."""


class AddressGuard:
    """Allows connections to public addresses and to those in the `allowed` CIDR blocks.

    `option` names the blocks in errors.

    Raises:
        ParameterError: a block is not valid.
    """

    def __init__(self, allowed: Sequence[str] = (), option: str = "allow_addresses") -> None:
        self.option = option
        try:
            self._allowed = [ipaddress.ip_network(block, strict=False) for block in allowed]
        except ValueError as error:
            raise ParameterError(
                f"{option} {','.join(allowed)}: {error}; write CIDR blocks such as 10.1.0.0/16, separated by commas"
            ) from error

    @property
    def has_allowed_blocks(self) -> bool:
        """Whether some addresses that are not public are allowed."""
        return bool(self._allowed)

    def check_address(self, address: str) -> None:
        """Return if `address`, in numeric form, is allowed.

        Raises:
            BlockedAddressError: it is not.
        """
        given = ipaddress.ip_address(address.split("%", 1)[0])
        actual = _unwrap_ipv4(given)
        if any(one in block for one in (given, actual) for block in self._allowed if block.version == one.version):
            return
        is_public = actual.is_global and not actual.is_multicast and not actual.is_reserved
        if actual.version == 6:
            is_public = is_public and actual in PUBLIC_IPV6
        else:
            is_public = is_public and not any(actual in block for block in CLOUD_BLOCKS)
        if not is_public:
            raise BlockedAddressError(f"{address} is not a public address")


def _unwrap_ipv4(address: Address) -> Address:
    """The IPv4 address inside an IPv6 address; the address itself if it contains none."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped or address.sixtofour:
            return address.ipv4_mapped or address.sixtofour or address
        if address in NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


class Resolver:
    """Resolves names for all threads. The addresses of a name are used again for `seconds`.

    IPv4 and IPv6 addresses alternate, so that a network without one of them costs one wait. The address that was
    connected to last comes first.
    """

    def __init__(self, seconds: float = RESOLVED_SECONDS) -> None:
        self._seconds = seconds
        self._resolved: dict[tuple[str, int], tuple[float, list[str]]] = {}

    def resolve(self, host: str, port: int) -> list[str]:
        """The numeric addresses of a name.

        Raises:
            socket.gaierror: the name has no address.
            UnicodeError: the text is not a valid name.
        """
        now = time.monotonic()
        expires, addresses = self._resolved.get((host, port), (0.0, []))
        if expires <= now:
            addresses = _alternate(_resolve(host, port))
            self._resolved[host, port] = now + self._seconds, addresses
        return addresses

    def prefer(self, host: str, port: int, address: str) -> None:
        """Let `address` be the first of its name from now on."""
        expires, addresses = self._resolved[host, port]
        if addresses[0] != address:
            self._resolved[host, port] = expires, [address, *(other for other in addresses if other != address)]


def _resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, within MAX_RESOLVE_SECONDS: the system may wait a minute for servers that are silent."""
    found: Queue[list[str] | Exception] = Queue()

    def resolve() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.put([str(entry[4][0]) for entry in entries])
        except (OSError, UnicodeError) as error:
            found.put(error)

    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    try:
        result = found.get(timeout=MAX_RESOLVE_SECONDS)
    except Empty:
        raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None
    if isinstance(result, Exception):
        raise result
    return result


def _alternate(addresses: list[str]) -> list[str]:
    """The addresses, with the two families in turn, first that of the first address."""
    first = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    second = [address for address in addresses if address not in first]
    in_turn = [address for pair in zip(first, second, strict=False) for address in pair]
    return in_turn + first[len(second) :] + second[len(first) :]


class GuardedAdapter(HTTPAdapter):
    """An adapter for requests that connects only to addresses which an AddressGuard allows.

    `read` makes the response object for a connection's socket. If the environment names a proxy, the proxy connects to
    the hosts, and the guard does not see their addresses.
    """

    def __init__(self, guard: AddressGuard, read: Callable[..., HTTPResponse], **options: Any) -> None:
        self._guard, self._read, self._resolver = guard, read, Resolver()
        super().__init__(**options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make pools whose connections ask the guard."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._make_pool_classes(
            _GuardedConnection, guard=self._guard, resolver=self._resolver
        )

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """The pools of a proxy, whose responses are read like all others."""
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if is_new and not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._make_pool_classes()
        return manager

    def _make_pool_classes(self, *mixins: type, **attributes: Any) -> dict[str, type[HTTPConnectionPool]]:
        attributes["response_class"] = staticmethod(self._read)
        plain = type("PlainConnection", (*mixins, HTTPConnection), attributes)
        secure = type("SecureConnection", (*mixins, HTTPSConnection), attributes)
        return {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }


class _GuardedConnection(HTTPConnection):
    guard: AddressGuard
    resolver: Resolver

    def _new_conn(self) -> socket.socket:
        """Resolve the name once, check all of its addresses, and connect to one of them, which share the time."""
        begun = time.monotonic()
        try:
            addresses = self.resolver.resolve(self._dns_host, self.port)
        except (socket.gaierror, UnicodeError) as error:
            unresolved = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, unresolved) from error
        for address in addresses:
            self.guard.check_address(address)
        latest = begun + MAX_RESOLVE_SECONDS + MIN_ADDRESS_SECONDS
        timeout = float(self.timeout or MAX_CONNECT_SECONDS)
        deadline = min(time.monotonic() + timeout, latest)
        failure: OSError = TimeoutError()
        for number, address in enumerate(addresses):
            left, others = deadline - time.monotonic(), len(addresses) - number - 1
            if left <= 0:
                break
            share = min(max(left / (others + 1), MIN_ADDRESS_SECONDS), NEXT_ADDRESS_SECONDS, left) if others else left
            try:
                connected = create_connection((address, self.port), share, self.source_address, self.socket_options)
            except OSError as error:
                failure = error
                continue
            connected.settimeout(timeout)
            self.resolver.prefer(self._dns_host, self.port, address)
            sys.audit("http.client.connect", self, self.host, self.port)
            return connected
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"connecting to {self.host} took too long") from failure
        raise NewConnectionError(self, f"cannot connect to {self.host}: {failure}") from failure
