"""A proxy on loopback before an S3 server, which disturbs some of the requests."""

import http.client
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

EMPTY_LIST = (
    b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Name>b</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)

CODES = {
    "301": "PermanentRedirect",
    "403": "AccessDenied",
    "500": "InternalError",
    "503": "SlowDown",
    "507": "InsufficientStorage",
}
"""The code in the answer with each status."""


@dataclass
class Fault:
    """What happens to the first `times` requests whose method and path match: see the methods of Exchange."""

    kind: str
    method: str = "PUT"
    path: str = ""
    times: int = 1

    def matches(self, method: str, path: str) -> bool:
        """Whether it happens to this request."""
        return self.times > 0 and method == self.method and re.search(self.path, path) is not None


class QuietServer(ThreadingHTTPServer):
    """A server with threads that end with it. It does not print that a client was killed or a connection was reset."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what is not an error of the connection."""
        if not isinstance(sys.exc_info()[1], OSError | http.client.HTTPException):
            super().handle_error(request, client_address)


class FaultProxy:
    """A proxy before the server at `upstream`. `requests` are (method, path) of all requests, disturbed ones included.

    Without `has_conditions` it answers requests on a condition as a server that knows none.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.has_conditions = True
        self.ended = threading.Event()
        self.before: Callable[[str, str], object] = lambda method, path: None
        self._lock = threading.Lock()
        proxy = self

        class Handler(Exchange):
            server_proxy = proxy

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def choose_fault(self, method: str, path: str) -> str:
        """Note a request; the kind of its fault, or empty."""
        with self._lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.matches(method, path):
                    fault.times -= 1
                    return fault.kind
        return ""

    def count(self, method: str, path: str = "") -> int:
        """The requests with this method whose path matches."""
        return sum(one == method and re.search(path, two) is not None for one, two in list(self.requests))


class Exchange(BaseHTTPRequestHandler):
    """A request and its answer."""

    server_proxy: FaultProxy
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        """Forward a request, or disturb it."""
        proxy, length = self.server_proxy, int(self.headers.get("Content-Length") or 0)
        path = unquote(self.path)
        proxy.before(self.command, path)
        kind = proxy.choose_fault(self.command, path)
        if kind == "hang":  # until the client gives up
            self.rfile.read(length)
            proxy.ended.wait()
            return self.reset()
        if kind == "reset":
            self.rfile.read(length // 2)
            return self.reset()
        body = self.rfile.read(length)
        if not proxy.has_conditions and any(name in self.headers for name in ("If-Match", "If-None-Match")):
            return self.answer(501, b"<Error><Code>NotImplemented</Code><Message>x</Message></Error>")
        if kind in CODES:
            text = f"<Error><Code>{CODES[kind]}</Code><Message>AKIASECRETINANSWER</Message></Error>"
            return self.answer(int(kind), text.encode())
        if kind == "stale":
            return self.answer(200, EMPTY_LIST)
        if kind == "cut":  # the server gets a part of the body and then the end of the connection
            self.forward(body[: length // 2], length, waits=False)
            return self.reset()
        if kind == "stored-truncated":  # a server that takes a part for the whole
            body = body[: length // 2]
        status, headers, answer = self.forward(body, len(body))
        if kind == "lost-answer":
            return self.reset()
        if kind == "cut-answer":  # the client gets a part of the answer and then the end of the connection
            self.close_connection = True
            return self.answer(status, answer, headers, len(answer) // 2)
        return self.answer(status, answer, headers)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def forward(self, body: bytes, length: int, waits: bool = True) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send a request to the server; its answer."""
        upstream = self.server_proxy.upstream
        connection = http.client.HTTPConnection(str(upstream.hostname), upstream.port, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("content-length", "connection"):
                    connection.putheader(name, value)
            if body or self.command in ("PUT", "POST"):
                connection.putheader("Content-Length", str(length))
            connection.endheaders()
            connection.send(body)
            if not waits:
                return 0, [], b""
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def answer(
        self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None, end: int | None = None
    ) -> None:
        """Answer the client, with the body up to the byte `end`."""
        self.send_response_only(status)
        lengths = [value for name, value in headers or () if name.lower() == "content-length"]
        for name, value in headers or [("Content-Type", "application/xml")]:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", lengths[0] if self.command == "HEAD" and lengths else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:end])

    def reset(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def finish(self) -> None:
        """Close what is still open."""
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing: tests look at `requests`."""
