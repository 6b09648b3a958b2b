"""Serve the sample's photos on loopback, faults included, while a command runs."""

import argparse
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType, TracebackType
from typing import NamedTuple, Self

from sample.photos import encode
from sample.plan import Photo, photos_by_path

HOST = "127.0.0.1"
PORT = 8970
PAGE = b"""<!DOCTYPE html>
<html><head><title>Moths</title></head><body><h1>Moths</h1><p>This page is not a photo.</p></body></html>
"""
PAGE_FOLDERS = ("/museum/specimens/", "/museum/models/", "/inaturalist/photo-pages/")
MOVED_FOLDER = "/moved"


class Answer(NamedTuple):
    """What the server says to one request."""

    status: int
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class PhotoServer:
    """A web server on 127.0.0.1 for as long as the `with` block lasts; port 0 takes any free one.

    Raises OSError (EADDRINUSE) where another process has the port.
    """

    def __init__(self, port: int = 0, delay: float = 0) -> None:
        """`delay`: seconds to wait before each answer."""
        self.delay = delay
        self._photos = photos_by_path()
        self._files: dict[str, bytes] = {}
        self._locks = {path: threading.Lock() for path in self._photos}
        self._requests: list[tuple[str, int]] = []
        self._asked: set[str] = set()
        self._lock = threading.Lock()
        self._http = _HTTPServer(port, self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="photos", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """What the photos' URLs begin with; no slash at its end."""
        return f"http://{HOST}:{self._http.server_address[1]}"

    @property
    def requests(self) -> list[tuple[str, int]]:
        """Path with query, and status, of each request so far, in the order of the answers."""
        with self._lock:
            return list(self._requests)

    def answer(self, path: str) -> Answer:
        """The answer to a GET of `path`, its query included; it is on record from then on."""
        answer = self._answer(path)
        with self._lock:
            self._requests.append((path, answer.status))
        return answer

    def _answer(self, path: str) -> Answer:
        if path.startswith(PAGE_FOLDERS):
            return Answer(200, "text/html; charset=utf-8", PAGE)
        photo = self._photos.get(path.removeprefix(MOVED_FOLDER))
        if photo is None:
            return _plain(404)
        match photo.fault:
            case "missing":
                return _plain(404)
            case "gone":
                return _plain(410)
            case "broken":
                return _plain(500)
            case "busy" if self._first(path):
                return _plain(503, ("Retry-After", "1"))
            case "moved" if not path.startswith(MOVED_FOLDER):
                return _plain(302, ("Location", MOVED_FOLDER + path))
            case "html":
                return Answer(200, "image/jpeg", PAGE)
            case "empty":
                return Answer(200, "image/jpeg", b"")
            case "opted-out":
                return Answer(200, "image/jpeg", self._file(photo), (("X-Robots-Tag", "noai, noimageai"),))
            case _:
                return Answer(200, "image/jpeg", self._file(photo))

    def _first(self, path: str) -> bool:
        with self._lock:
            first = path not in self._asked
            self._asked.add(path)
            return first

    def _file(self, photo: Photo) -> bytes:
        """The photo's file, drawn when it is first asked for and by one thread only."""
        with self._locks[photo.path]:
            if photo.path not in self._files:
                self._files[photo.path] = encode(photo)
            return self._files[photo.path]


def _plain(status: int, *headers: tuple[str, str]) -> Answer:
    return Answer(status, body=f"{HTTPStatus(status).phrase}\n".encode(), headers=headers)


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, photos: PhotoServer) -> None:
        self.photos = photos
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _HTTPServer

    def do_GET(self) -> None:
        time.sleep(self.server.photos.delay)
        answer = self.server.photos.answer(self.path)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet: the command that runs meanwhile has the terminal."""


def run(command: Sequence[str], port: int) -> int:
    """Serve while `command` runs; its exit status, 128 + n where signal n ended it, 2 where the port is taken."""
    try:
        server = PhotoServer(port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(f"port {port} on {HOST} is in use: another sample run? Stop it and try again.", file=sys.stderr)
        return 2
    with server:
        return _wait_for(command)


def _wait_for(command: Sequence[str]) -> int:
    """Run the command to its end, come what may: a signal is for it to answer, not for the server."""
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if process is None:
            early.append(number)
        elif number != signal.SIGINT or not _in_terminal():
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process = subprocess.Popen(command)  # noqa: S603 - the user's own command, no shell
        for number in early:
            process.send_signal(number)
        status = process.wait()
    except FileNotFoundError:
        print(f"{command[0]}: no such command", file=sys.stderr)
        return 127
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _in_terminal() -> bool:
    """Whether Ctrl-C in a terminal reaches the command without us, for it is in the foreground group as we are."""
    try:
        with Path("/dev/tty").open("rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sample.server",
        usage="%(prog)s [--port PORT] -- COMMAND [ARG...]",
        description="Serve the sample's photos on 127.0.0.1 while COMMAND runs; exit with its status.",
    )
    parser.add_argument("--port", type=int, default=PORT, help="port to listen on (default %(default)s)")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, with its arguments, after --")
    options = parser.parse_args(arguments)
    return run(options.command, options.port)


if __name__ == "__main__":
    sys.exit(main())
