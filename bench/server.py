"""Servers of the photos on this machine: nginx if it is installed, or a Python server, which can delay its answers.

python -m bench.server [--latency MS]    the Python server; prints its address
"""

import argparse
import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.photos import COMMON_BYTES, SIZE, photo_head

HOST = "127.0.0.1"
REQUEST = re.compile(rb"GET /(\d+)\.jpg HTTP/1\.1\r\n(?s:.*?)\r\n\r\n")
START_SECONDS = 10.0  # in which a server has to start
# One process: a worker process that root starts runs as nobody, who cannot read a temporary folder.
NGINX = """daemon off;
master_process off;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    types {{ image/jpeg jpg; }}
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{ listen {host}:{port}; root {photos}; }}
}}
"""


@contextlib.contextmanager
def serving(photos: Path, scratch: Path) -> Iterator[tuple[str, str]]:
    """Serve the files in `photos` with the fastest server of this machine. Yields its name and address."""
    program = shutil.which("nginx")
    if not program:
        with serving_slowly(0) as url:
            yield "a Python server", url
        return
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    config = scratch / "nginx.conf"
    config.write_text(NGINX.format(host=HOST, port=port, photos=photos))
    with _running([program, "-p", str(scratch), "-c", str(config), "-e", str(scratch / "errors")]) as server:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"nginx did not start: {(scratch / 'errors').read_text()}")
            time.sleep(0.05)
        yield "nginx", f"http://{HOST}:{port}"


@contextlib.contextmanager
def serving_slowly(latency: float) -> Iterator[str]:
    """Serve any number of photos, each `latency` seconds after its request. Yields the address."""
    command = [sys.executable, "-m", "bench.server", "--latency", str(1000 * latency)]
    with _running(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield server.stdout.readline().decode().strip()


@contextlib.contextmanager
def _running(command: list[str], stdout: int = subprocess.DEVNULL) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(command, stdout=stdout) as process:
        try:
            yield process
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port)).close()
    except ConnectionRefusedError:
        return False
    return True


class _Photos(asyncio.Protocol):
    """A connection, which stays open until the client closes it."""

    def __init__(self, latency: float) -> None:
        self._latency, self._received = latency, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while request := REQUEST.match(self._received):
            self._received = self._received[request.end() :]
            is_last = b"connection: close" in request[0].lower()
            asyncio.get_running_loop().call_later(self._latency, self._answer, int(request[1]), is_last)

    def _answer(self, number: int, is_last: bool) -> None:
        if self._transport.is_closing():
            return
        headers = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % SIZE
        self._transport.writelines([headers, photo_head(number), COMMON_BYTES])
        if is_last:
            self._transport.close()


async def _serve(latency: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Photos(latency), HOST, 0)
    print(f"http://{HOST}:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds from a request to its answer")
    asyncio.run(_serve(parser.parse_args().latency / 1000))


if __name__ == "__main__":
    main()
