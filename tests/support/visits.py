"""A request to a server of the tests, and the ways to answer it."""

import io
import os
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from tests.support.faulty_server import FaultyServer

MAX_BYTES = 300_000
REQUEST_TIMEOUT = 0.5
MAX_SECONDS = 1.5
RETRIES = 1


def picture(kind: str, size: tuple[int, int] = (48, 32)) -> bytes:
    """A small image in one of Pillow's formats."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


JPEG, PNG, WEBP = picture("JPEG"), picture("PNG"), picture("WEBP")


def photo(name: str) -> bytes:
    """A different JPEG for every name. Names of equal length have photos of equal size."""
    comment = name.encode()
    return JPEG[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + JPEG[2:]


@dataclass(frozen=True)
class Request:
    """A request: its time (monotonic seconds), path, headers (names in lower case) and method."""

    at: float
    path: str
    headers: dict[str, str]
    method: str = "GET"


class Visit:
    """A request and the socket for its answer. `number` counts the requests for its path from 1."""

    def __init__(self, request: Request, number: int, connected: socket.socket, server: "FaultyServer") -> None:
        self.path, self.number, self._connected, self.server = request.path, number, connected, server
        self.method, self.headers = request.method, request.headers
        self.peer: tuple[str, int] = connected.getpeername()
        self.keep_alive = False

    def send(self, data: bytes) -> None:
        self._connected.sendall(data)

    def head(self, status: str = "200 OK", **headers: str) -> None:
        """Send the status line and the headers. `_` in a name stands for `-`."""
        lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        self.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))

    def lines(self, *lines: str) -> None:
        """Send the lines of a head as they are, valid or not."""
        self.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))

    def answer(self, body: bytes = b"", status: str = "200 OK", kind: str = "image/jpeg", **headers: str) -> None:
        """Send a complete answer; without its body if the request is a HEAD."""
        self.head(status, Content_Type=kind, Content_Length=str(len(body)), **headers)
        self.send(body if self.method != "HEAD" else b"")
        self.keep_alive = True

    def drip(self, data: bytes, pause: float = 0.1) -> None:
        """Send one byte at a time until the client closes the connection."""
        for at in range(len(data)):
            self.send(data[at : at + 1])
            if self.server.stopping.wait(pause):
                return

    def close_tls(self) -> None:
        """Say that the encrypted connection ends here (close_notify). Closing the socket alone does not say it."""
        assert isinstance(self._connected, ssl.SSLSocket)
        self._connected = self._connected.unwrap()

    def send_unencrypted(self, data: bytes) -> None:
        """Send bytes past the encryption."""
        raw = socket.socket(fileno=os.dup(self._connected.fileno()))
        raw.sendall(data)
        raw.close()

    def wait(self) -> None:
        """Send nothing until the client closes the connection."""
        self._connected.settimeout(20)
        self._connected.recv(1)

    def reset(self) -> None:
        """Reset the connection instead of closing it."""
        self._connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self._connected.detach())


Behaviour = Callable[[Visit], None]
