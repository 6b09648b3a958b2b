"""Limits of hosts that chunks share, because the share of one chunk would be less than a connection or a request.

Each connection to such a host has a file that is locked while a request uses it, and a file has the time of the host's
next request. Locks end with their process, so a killed run leaves none. The files lie beside the dataset, where
processes on all machines see them.
"""

import fcntl
import hashlib
import os
import struct
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gbif_webdataset.fetch.host_limits import HostLimits, HostTable

BUSY_SECONDS = 0.5
"""Time until a host is tried again if other chunks use all of its connections."""

_TIME = struct.Struct("<d")


class SharedLimits:
    """Permits for requests to the hosts of `table`, of which `chunks` chunks are fetched at the same time.

    `read_clock` gives the time in seconds; the clocks of all machines agree roughly. One thread at a time may use it.
    """

    def __init__(
        self, folder: Path, table: HostTable, chunks: int, read_clock: Callable[[], float] = time.time
    ) -> None:
        self._folder, self._table, self._chunks, self._read_clock = folder, table, chunks, read_clock
        self._connections: dict[str, list[int]] = defaultdict(list)  # locked files
        self._reserved: dict[str, float] = {}  # the time of this chunk's next request to a host

    def needs_permits(self, host: str) -> bool:
        """Whether chunks take turns at a host, as the share of one would be less than a connection or a request."""
        limits = self._table.find_limits(host)
        is_small = limits.connections < self._chunks or 0 < limits.requests_per_second < self._chunks
        return is_small and self._chunks > 1

    def find_limits(self, host: str) -> HostLimits:
        """The share of one chunk, but the connections of all chunks together if the host needs permits."""
        limits = self._table.find_limits(host)
        share = limits.divide(self._chunks)
        return replace(share, connections=limits.connections) if self.needs_permits(host) else share

    def acquire(self, host: str) -> float:
        """0 if a request may be sent to `host` now; otherwise the seconds after which to ask again."""
        limits = self._table.find_limits(host)
        connection = self._lock_connection(host, limits.connections)
        if connection is None:
            return BUSY_SECONDS  # a turn that is reserved is kept until a connection is free
        if limits.requests_per_second and (wait := self._wait_for_turn(host, 1 / limits.requests_per_second)):
            os.close(connection)
            return wait
        self._connections[host].append(connection)
        return 0.0

    def release(self, host: str, running: int) -> None:
        """Note that only so many requests of this chunk to `host` are still running."""
        connections = self._connections[host]
        while len(connections) > running:
            os.close(connections.pop())

    def _lock_connection(self, host: str, connections: int) -> int | None:
        """The locked file of a connection to a host; None if other requests use all."""
        for number in range(connections):
            file = self._open(host, str(number))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            return file
        return None

    def _wait_for_turn(self, host: str, interval: float) -> float:
        """Seconds until the turn of this chunk to send a request; 0 if it is now."""
        reserved = self._reserved.pop(host, None)
        if reserved is None or reserved < self._read_clock() - interval:  # others have gone ahead
            reserved = self._reserve(host, interval)
        wait = reserved - self._read_clock()
        if wait <= 0:
            return 0.0
        self._reserved[host] = reserved
        return wait

    def _reserve(self, host: str, interval: float) -> float:
        """The time of the next request to a host, which is reserved for this chunk."""
        file = self._open(host, "next")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            now, content = self._read_clock(), os.pread(file, _TIME.size, 0)
            (following,) = _TIME.unpack(content) if len(content) == _TIME.size else (now,)
            # Each chunk reserves one request, so a much later time is of a clock that was wrong.
            at = max(now, following) if following <= now + 2 * interval * self._chunks else now
            os.pwrite(file, _TIME.pack(at + interval), 0)
            return at
        finally:
            os.close(file)

    def _open(self, host: str, name: str) -> int:
        # A host's name comes from the archive and may have characters that no file name has.
        path = self._folder / f"{hashlib.sha256(host.encode(errors='replace')).hexdigest()[:16]}-{name}"
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
