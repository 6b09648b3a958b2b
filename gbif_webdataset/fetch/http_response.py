"""HTTP responses, read to the end of their headers as strictly as needed, and up to a deadline."""

import io
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPResponse, RemoteDisconnected
from typing import Any, cast

_HEADER = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_SOUND_HEADER = re.compile(rb"[!-9;-~]+:[^\r\n]*\r\n")
_UNPARSABLE = b"X-Unparsable:\r\n"


class FinalResponse(HTTPResponse):
    """The final response to a request. Python skips only status 100 before it, no other 1xx (RFC 9110, 15.2)."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        is_interim = HTTPStatus.CONTINUE < status < HTTPStatus.OK and status != HTTPStatus.SWITCHING_PROTOCOLS
        return version, HTTPStatus.CONTINUE if is_interim else status, reason

    def begin(self) -> None:
        """Read up to the end of the headers. After a switch of protocols the connection is not used again."""
        received = self.fp
        self.fp = cast(io.BufferedReader, _HeadReader(received))
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = received
        self.will_close = self.will_close or self.status == HTTPStatus.SWITCHING_PROTOCOLS


class DeadlineReader(io.RawIOBase):
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


class _HeadReader:
    """The status line and the headers of a response, of which http.client can parse every line.

    http.client would drop all headers after a line without a colon, with a space before the colon, or with a lone CR,
    and with them the length of the body.
    """

    def __init__(self, received: io.BufferedReader) -> None:
        self._received = received
        self._is_in_headers = False

    def readline(self, limit: int = -1) -> bytes:
        """The next line; of a line that is no header, a header without a meaning."""
        line = self._received.readline(limit)
        if self._is_in_headers and _SOUND_HEADER.fullmatch(line):
            return line  # as almost all are
        if self._is_in_headers and not line:
            raise RemoteDisconnected("the response ends in its headers")
        is_first, self._is_in_headers = not self._is_in_headers, bool(line.strip(b"\r\n"))
        is_cut = len(line) == limit  # http.client refuses such a line
        if is_first or not self._is_in_headers or is_cut or line.startswith((b" ", b"\t")):
            return line
        header = _HEADER.match(line.rstrip(b"\r\n").replace(b"\r", b" "))
        return b"%s:%s\r\n" % header.groups() if header else _UNPARSABLE

    def close(self) -> None:
        """Close the connection's file."""
        self._received.close()
