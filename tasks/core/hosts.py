"""Whose turn it is: jobs queued by host, so that a slow host holds up nobody and none is asked too much."""

import heapq
import itertools
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Job = TypeVar("Job")


@dataclass(frozen=True)
class HostLimits:
    """What one host is asked to bear: connections at a time, and requests a second (0: as many as they come)."""

    connections: int
    requests_per_second: float


@dataclass
class _Host(Generic[Job]):
    waiting: deque[Job] = field(default_factory=deque)
    later: list[tuple[float, int, Job]] = field(default_factory=list)
    under_way: int = 0
    not_before: float = 0.0


class HostQueues(Generic[Job]):
    """Jobs by host. Threads `take` a job that its host can bear now, and say `done` when it is."""

    def __init__(self, limits: HostLimits) -> None:
        self._limits = limits
        self._hosts: dict[str, _Host[Job]] = {}
        self._turns: deque[str] = deque()
        self._open = 0
        self._closed = False
        self._serial = itertools.count()
        self._changed = threading.Condition()

    def put(self, host: str, job: Job, delay: float = 0.0) -> None:
        """Queue a job, to be taken no sooner than in `delay` seconds."""
        with self._changed:
            if host not in self._hosts:
                self._hosts[host] = _Host()
                self._turns.append(host)
            if delay:
                heapq.heappush(self._hosts[host].later, (time.monotonic() + delay, next(self._serial), job))
            else:
                self._hosts[host].waiting.append(job)
            self._open += 1
            self._changed.notify()

    def rest(self, host: str, seconds: float) -> None:
        """Ask nothing of a host for some seconds, as its Retry-After says."""
        with self._changed:
            self._hosts[host].not_before = max(self._hosts[host].not_before, time.monotonic() + seconds)

    def take(self) -> tuple[str, Job] | None:
        """The next job that its host can bear, waiting for one; None when all jobs are done."""
        with self._changed:
            while self._open and not self._closed:
                now = time.monotonic()
                wake = now + 60
                for _ in range(len(self._turns)):
                    name = self._turns[0]
                    self._turns.rotate(-1)
                    ready = self._ready_at(self._hosts[name], now)
                    if ready <= now:
                        return name, self._start(self._hosts[name], now)
                    wake = min(wake, ready)
                self._changed.wait(wake - now)
            return None

    def done(self, host: str) -> None:
        """A job of `host` is over, or is put again."""
        with self._changed:
            self._hosts[host].under_way -= 1
            self._open -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Give out no more jobs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _ready_at(self, host: _Host[Job], now: float) -> float:
        if host.under_way >= self._limits.connections:
            return float("inf")
        while host.later and host.later[0][0] <= now:
            host.waiting.append(heapq.heappop(host.later)[2])
        if host.waiting:
            return host.not_before
        return max(host.not_before, host.later[0][0]) if host.later else float("inf")

    def _start(self, host: _Host[Job], now: float) -> Job:
        host.under_way += 1
        if self._limits.requests_per_second:
            host.not_before = max(host.not_before, now) + 1 / self._limits.requests_per_second
        return host.waiting.popleft()
