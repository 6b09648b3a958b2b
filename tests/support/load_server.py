"""A server for very many requests, in its own process, so that it does not share the interpreter of the fetcher.

python -m tests.support.load_server: prints its port, serves `photo(path)` at every path, and ends when its input ends.
Then it prints the number of requests and of connections.
"""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.visits import photo

ROOT = Path(__file__).parents[2]


class LoadServer:
    """The server's process while the block runs. `requests` and `connections` are set at its end."""

    requests: int
    connections: int

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.load_server"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{self._process.stdout.readline().strip()}"
        return self

    def __exit__(self, *_: object) -> None:
        counts = json.loads(self._process.communicate(timeout=30)[0])
        self.requests, self.connections = counts["requests"], counts["connections"]


@dataclass
class _Counts:
    requests: int = 0
    connections: int = 0


class _Conversation(asyncio.Protocol):
    def __init__(self, counts: _Counts) -> None:
        self._counts, self._received = counts, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._counts.connections += 1

    def data_received(self, data: bytes) -> None:
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            self._counts.requests += 1
            body = photo(request.split(b" ", 2)[1].decode())
            head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


async def _serve() -> None:
    counts, loop = _Counts(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Conversation(counts), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps(vars(counts)))


if __name__ == "__main__":
    asyncio.run(_serve())
