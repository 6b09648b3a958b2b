"""Whose turn it is: jobs queued by host, so that a slow host holds up nobody and none is asked too much.

A host is asked no faster than its limits, more slowly after each answer that says so (429, 503), and faster again
with each success. One that fails many times in a row is left alone for a while, then asked once; after a few such
pauses, or where it asks for a longer one than we have, it is given up and its jobs are handed out as such.
"""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gbif_webdataset.fetch.host_limits import HostLimits

Job = TypeVar("Job")
RECOVERY = 0.85  # of its slowness is what a success leaves to a host
UNLIMITED = 0.05  # seconds between requests that slowness multiplies where a host has no limit


@dataclass(frozen=True)
class Patience:
    """When a host is left alone: after `failures` in a row for `pause` seconds, twice as long each time.

    It is given up after `pauses` of them, or where it asks for more than `longest` seconds. Where it says that it is
    asked too much, it is asked at most so many times more slowly as `slowest` says.
    """

    failures: int = 10
    pause: float = 30.0
    pauses: int = 3
    longest: float = 600.0
    slowest: float = 16.0


PATIENCE = Patience()


@dataclass(frozen=True)
class Turn(Generic[Job]):
    """A job, and its host; where that is `given_up` it is not to be asked."""

    host: str
    job: Job
    given_up: bool


@dataclass
class _Host(Generic[Job]):
    limits: HostLimits
    waiting: deque[Job] = field(default_factory=deque)
    later: list[tuple[float, int, Job]] = field(default_factory=list)
    under_way: int = 0
    not_before: float = 0.0
    slowness: float = 1.0
    failures: int = 0
    pauses: int = 0
    resting_until: float = 0.0
    given_up: bool = False
    is_queued: bool = False
    looked_at: float = float("inf")  # when the clock will call it to mind

    @property
    def connections(self) -> int:
        """Requests that may be under way; a host that was left alone gets one until it answers."""
        return 1 if self.pauses else self.limits.connections

    @property
    def interval(self) -> float:
        """Seconds from one request to the next."""
        if self.limits.requests_per_second:
            return self.slowness / self.limits.requests_per_second
        return UNLIMITED * self.slowness if self.slowness > 1 else 0.0

    def ready_at(self, now: float) -> float:
        """When a job may be handed out, infinity where something else has to happen first."""
        while self.later and (self.later[0][0] <= now or self.given_up):
            self.waiting.append(heapq.heappop(self.later)[2])
        if self.given_up:
            return now if self.waiting else float("inf")
        if self.under_way >= self.connections:
            return float("inf")
        if self.waiting:
            return self.not_before
        return max(self.not_before, self.later[0][0]) if self.later else float("inf")


class HostQueues(Generic[Job]):
    """Jobs by host. Threads `take` a job that its host can bear now, tell how it went, and say `done`."""

    def __init__(self, limits_of: Callable[[str], HostLimits], patience: Patience) -> None:
        self._limits_of, self._patience = limits_of, patience
        self._hosts: dict[str, _Host[Job]] = {}
        self._ready: deque[str] = deque()
        self._timed: list[tuple[float, str]] = []
        self._open = 0
        self._closed = False
        self._serial = itertools.count()
        self._lock = threading.Lock()
        self._idle, self._watch = threading.Condition(self._lock), threading.Condition(self._lock)
        self._is_watched = False

    def put(self, host: str, job: Job, delay: float = 0.0) -> None:
        """Queue a job, to be taken no sooner than in `delay` seconds."""
        with self._lock:
            if host not in self._hosts:
                self._hosts[host] = _Host(self._limits_of(host))
            if delay:
                heapq.heappush(self._hosts[host].later, (time.monotonic() + delay, next(self._serial), job))
            else:
                self._hosts[host].waiting.append(job)
            self._open += 1
            self._schedule(host, time.monotonic())

    def take(self) -> Turn[Job] | None:
        """The next job that its host can bear, waiting for one; None when all jobs are done."""
        with self._lock:
            while self._open and not self._closed:
                now = time.monotonic()
                if turn := self._next(now):
                    self._wake()
                    return turn
                if self._is_watched:
                    self._idle.wait()
                    continue
                self._is_watched = True  # one thread alone looks at the clock; the others would all wake at once
                try:
                    self._watch.wait(max(0.0, self._timed[0][0] - now) if self._timed else None)
                finally:
                    self._is_watched = False
            self._wake_all()
            return None

    def succeeded(self, host: str) -> None:
        """The host answered as it should."""
        with self._lock:
            state = self._hosts[host]
            state.failures = state.pauses = 0
            state.slowness = max(1.0, state.slowness * RECOVERY)

    def failed(self, host: str, is_busy: bool = False, retry_after: float = 0.0) -> None:
        """The host failed; `is_busy` where it said that it is asked too much, and for how long to leave it alone."""
        with self._lock:
            state, now = self._hosts[host], time.monotonic()
            if is_busy:
                state.slowness = min(self._patience.slowest, state.slowness * 2)
            if retry_after:
                state.not_before = max(state.not_before, now + retry_after)
                state.given_up = state.given_up or retry_after > self._patience.longest
            if now < state.resting_until:  # it was asked before
                return
            state.failures += 1
            if state.failures >= (1 if state.pauses else self._patience.failures):
                state.given_up = state.given_up or state.pauses >= self._patience.pauses
                state.resting_until = now + self._patience.pause * 2**state.pauses
                state.not_before = max(state.not_before, state.resting_until)
                state.failures, state.pauses = 0, state.pauses + 1

    def done(self, host: str) -> None:
        """A job of `host` is over, or is put again."""
        with self._lock:
            self._hosts[host].under_way -= 1
            self._open -= 1
            self._schedule(host, time.monotonic())
            if not self._open:
                self._wake_all()

    def close(self) -> None:
        """Give out no more jobs."""
        with self._lock:
            self._closed = True
            self._wake_all()

    def _next(self, now: float) -> Turn[Job] | None:
        while self._timed and self._timed[0][0] <= now:
            at, name = heapq.heappop(self._timed)
            if at == self._hosts[name].looked_at:
                self._hosts[name].looked_at = float("inf")
                self._schedule(name, now)
        while self._ready:
            name = self._ready.popleft()
            host = self._hosts[name]
            host.is_queued = False
            if host.ready_at(now) <= now:
                host.under_way += 1
                host.not_before = max(host.not_before, now) + host.interval
                job = host.waiting.popleft()
                self._schedule(name, now)
                return Turn(name, job, host.given_up)
            self._schedule(name, now)
        return None

    def _schedule(self, name: str, now: float) -> None:
        """Queue a host for its turn, or for the time of it."""
        host = self._hosts[name]
        ready = host.ready_at(now)
        if host.is_queued:
            return
        if ready <= now:
            host.is_queued = True
            self._ready.append(name)
            self._wake()
        elif ready < host.looked_at:
            host.looked_at = ready
            heapq.heappush(self._timed, (ready, name))
            if self._timed[0] == (ready, name):
                self._watch.notify()

    def _wake(self) -> None:
        """Let one more thread look for a job, and one keep watch."""
        if self._ready or not self._is_watched:
            self._idle.notify()
        if self._ready and self._is_watched:
            self._watch.notify()

    def _wake_all(self) -> None:
        self._idle.notify_all()
        self._watch.notify_all()
