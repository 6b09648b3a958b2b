"""Serve the sample's photos on 127.0.0.1, with their faults, while a command runs."""

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

from sample.photo_cache import load_photos
from sample.plan import Fault, photos_by_path

HOST = "127.0.0.1"
PORT = 8970
PAGE = b"""<!DOCTYPE html>
<html><head><title>Moths</title></head><body><h1>Moths</h1><p>This page is not a photo.</p></body></html>
"""
PAGE_FOLDERS = ("/museum/specimens/", "/museum/models/", "/inaturalist/photo-pages/")
MOVED_FOLDER = "/moved"
STATUSES: dict[Fault, int] = {"missing": 404, "gone": 410, "broken": 500}
BODIES: dict[Fault, bytes] = {"html": PAGE, "empty": b""}
"""What is served as a JPEG instead of the photo."""


class Answer(NamedTuple):
    """The server's answer to one request."""

    status: int
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class PhotoServer:
    """A web server on 127.0.0.1 that runs during a `with` block. Port 0 stands for any free port.

    Raises OSError (EADDRINUSE) if another process uses the port.
    """

    def __init__(self, port: int = 0, delay: float = 0) -> None:
        """Listen on `port`, and draw the photos if they are not drawn yet. `delay`: seconds before each answer."""
        self.delay = delay
        self._photos = photos_by_path()
        self._requests: list[tuple[str, int]] = []
        self._requested: set[str] = set()  # busy photos that were requested before
        self._lock = threading.Lock()
        self._http = _HTTPServer(port, self)
        self._files = load_photos(list(self._photos.values()))
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
        """The start of every photo's URL, without a slash at the end."""
        return f"http://{HOST}:{self._http.server_address[1]}"

    @property
    def requests(self) -> list[tuple[str, int]]:
        """(path with query, status) of each request so far, in the order of the answers."""
        with self._lock:
            return list(self._requests)

    def answer(self, path: str) -> Answer:
        """The answer to a GET of `path` with its query. It is recorded in `requests`."""
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
        if photo.fault in STATUSES:
            return _plain(STATUSES[photo.fault])
        if photo.fault == "busy" and self._is_first_request(path):
            return _plain(503, ("Retry-After", "0"))
        if photo.fault == "moved" and not path.startswith(MOVED_FOLDER):
            return _plain(302, ("Location", MOVED_FOLDER + path))
        headers = (("X-Robots-Tag", "noai, noimageai"),) if photo.fault == "opted-out" else ()
        return Answer(200, "image/jpeg", BODIES.get(photo.fault, self._files[photo.path]), headers)

    def _is_first_request(self, path: str) -> bool:
        with self._lock:
            is_first = path not in self._requested
            self._requested.add(path)
            return is_first


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
        """Print no error when a client closes the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _HTTPServer

    def do_GET(self) -> None:
        """Send the answer, without its body to a HEAD request."""
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
        """Print nothing: the terminal belongs to the command that runs."""


def run(command: Sequence[str], port: int) -> int:
    """Serve while `command` runs. Its exit status, 128 + n if signal n ended it, 2 if the port is in use."""
    try:
        server = PhotoServer(port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(f"port {port} on {HOST} is in use, perhaps by another sample run: stop it and retry.", file=sys.stderr)
        return 2
    start = time.monotonic()
    with server:
        status = _wait_for(command)
    print(f"The run took {time.monotonic() - start:.1f} s.", file=sys.stderr)
    return status


def _wait_for(command: Sequence[str]) -> int:
    """Run the command to its end. Signals are passed on to it: it decides how to stop, and the server waits."""
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if process is None:
            early.append(number)
        elif number != signal.SIGINT or not _is_in_terminal():
            process.send_signal(number)

    handlers = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process = subprocess.Popen(command)  # noqa: S603 - the user's own command, no shell
        for number in early:
            process.send_signal(number)
        status = process.wait()
    except FileNotFoundError:
        print(f"{command[0]}: there is no such command", file=sys.stderr)
        return 127
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _is_in_terminal() -> bool:
    """Whether a terminal sends Ctrl-C to the command by itself: it is in the foreground group, as this process is."""
    try:
        with Path("/dev/tty").open("rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m sample.server",
        usage="%(prog)s [--port PORT] -- COMMAND [ARG...]",
        description="Serve the sample's photos on 127.0.0.1 while COMMAND runs; exit with its status.",
    )
    parser.add_argument("--port", type=int, default=PORT, help="port to listen on (default %(default)s)")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, with its arguments, after --")
    options = parser.parse_args(arguments)
    try:
        return run(options.command, options.port)
    except KeyboardInterrupt:  # while the photos are drawn; later the command answers it
        print("Stopped.", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
