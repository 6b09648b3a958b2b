"""A web server on loopback with the faults of real hosts, which `response_cases` lists."""

import socket
import socketserver
import threading
import time
from collections import Counter
from typing import Any, Self

from tests.support.behaviours import give_status
from tests.support.response_cases import CASES, OTHERS
from tests.support.tls_faults import Secure
from tests.support.visits import Behaviour, Request, Visit, photo


class Level:
    """A number of things now, and its maximum so far."""

    def __init__(self) -> None:
        self.now = self.max = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.max = max(self.max, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


class FaultyServer:
    """Serves `CASES` at /<name>, `photo(name)` at /photo/<name>, and the `behaviours` that a test adds.

    With `secure`, which makes a connection an encrypted one or breaks it, the server's URL starts with https.
    """

    def __init__(self, address: str = "127.0.0.1", port: int = 0, secure: Secure | None = None) -> None:
        self.secure = secure
        self.behaviours: dict[str, Behaviour] = {name: case.behave for name, case in CASES.items()} | OTHERS
        self.log: list[Request] = []
        self.running, self.open = Level(), Level()  # requests and connections
        self.stopping = threading.Event()
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Server((address, port), _Handler)
        self._server.owner = self
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if secure else 'http'}://{address}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @staticmethod
    def photos(visit: Visit) -> None:
        """The behaviour of the paths below /photo/. A test may replace it."""
        visit.answer(photo(visit.path.removeprefix("/photo/")))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def count_requests(self, name: str | None = None) -> int:
        """The number of requests, for /<name> or in total."""
        return len([request for request in self.log if name is None or request.path == f"/{name}"])

    def visit(self, connected: socket.socket, method: str, path: str, headers: dict[str, str]) -> bool:
        """Answer a request; whether the connection can be used again."""
        request = Request(time.monotonic(), path, headers, method)
        with self._lock:
            self.log.append(request)
            self._seen[path] += 1
            visit = Visit(request, self._seen[path], connected, self)
        with self.running:
            self._behaviour(path.removeprefix("/"))(visit)
        return visit.keep_alive

    def _behaviour(self, name: str) -> Behaviour:
        if behave := self.behaviours.get(name):
            return behave
        if name.startswith("photo/"):
            return self.photos
        return give_status("404 Not Found")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    owner: FaultyServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: in many cases the client closes the connection."""


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        if secure := self.server.owner.secure:
            self.request = secure(self.request)
        super().setup()

    def handle(self) -> None:
        owner = self.server.owner
        with owner.open:
            while line := self.rfile.readline():
                method, path = line.decode("latin-1").split()[:2]
                headers = {}
                while (header := self.rfile.readline().strip()) != b"":
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                if not owner.visit(self.connection, method, path, headers):
                    return
