"""Jobs queued by host, so that a slow host delays no other host and no host gets more requests than its limits allow.

A host that answers 429 or 503 gets requests more slowly, and faster again with each success. A host that fails many
times in a row is paused (the circuit breaker opens); after the pause one request tests it. After several pauses, or if
the host asks for a longer pause than the policy accepts, it is abandoned: its jobs are handed out without being due.
"""

import heapq
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gbif_webdataset.fetch.host_limits import HostLimits
from gbif_webdataset.fetch.shared_limits import SharedLimits

Job = TypeVar("Job")
RECOVERY = 0.85  # a success multiplies the host's slowdown by this
UNLIMITED_INTERVAL = 0.05  # seconds between requests that the slowdown multiplies if the host has no rate limit


@dataclass(frozen=True)
class BackoffPolicy:
    """When a host is paused, slowed down or abandoned.

    After `max_failures` failures in a row the host is paused for `pause` seconds, and each further pause is twice as
    long. The host is abandoned after `max_pauses` pauses, or if it asks for a pause of more than `max_wait` seconds.
    A host that reports too many requests gets them at most `max_slowdown` times more slowly.
    """

    max_failures: int = 10
    pause: float = 30.0
    max_pauses: int = 3
    max_wait: float = 600.0
    max_slowdown: float = 16.0


DEFAULT_BACKOFF = BackoffPolicy()


@dataclass(frozen=True)
class Turn(Generic[Job]):
    """A job and its host. No request may be sent to a host that `is_abandoned`."""

    host: str
    job: Job
    is_abandoned: bool


@dataclass
class _Host(Generic[Job]):
    name: str
    limits: HostLimits
    permits: SharedLimits | None = None
    waiting: deque[Job] = field(default_factory=deque)
    delayed: list[tuple[float, int, Job]] = field(default_factory=list)
    running: int = 0
    not_before: float = 0.0
    slowdown: float = 1.0
    failures: int = 0
    pauses: int = 0
    paused_until: float = 0.0
    is_abandoned: bool = False
    is_queued: bool = False
    wakes_at: float = float("inf")

    @property
    def connections(self) -> int:
        """Requests that may run at the same time. After a pause it is one until the host answers."""
        return 1 if self.pauses else self.limits.connections

    @property
    def interval(self) -> float:
        """Seconds from one request to the next. With shared limits, permits keep the usual interval."""
        if self.permits and self.slowdown == 1:
            return 0.0
        if self.limits.requests_per_second:
            return self.slowdown / self.limits.requests_per_second
        return UNLIMITED_INTERVAL * self.slowdown if self.slowdown > 1 else 0.0

    def note_failure(self, now: float, policy: BackoffPolicy, is_busy: bool, retry_after: float) -> None:
        """Slow the host down if it is busy. Pause or abandon it if it asks for that or has failed too often."""
        if is_busy:
            self.slowdown = min(policy.max_slowdown, self.slowdown * 2)
        if retry_after:
            self.not_before = max(self.not_before, now + retry_after)
            self.is_abandoned = self.is_abandoned or retry_after > policy.max_wait
        if now < self.paused_until:  # the request was sent before the pause
            return
        self.failures += 1
        if self.failures >= (1 if self.pauses else policy.max_failures):
            self.is_abandoned = self.is_abandoned or self.pauses >= policy.max_pauses
            self.paused_until = now + policy.pause * 2**self.pauses
            self.not_before = max(self.not_before, self.paused_until)
            self.failures, self.pauses = 0, self.pauses + 1

    def find_ready_time(self, now: float) -> float:
        """When a job may be handed out; infinity if something else has to happen first."""
        while self.delayed and (self.delayed[0][0] <= now or self.is_abandoned):
            self.waiting.append(heapq.heappop(self.delayed)[2])
        if self.is_abandoned:
            return now if self.waiting else float("inf")
        if self.running >= self.connections:
            return float("inf")
        if self.waiting:
            return self.not_before
        return max(self.not_before, self.delayed[0][0]) if self.delayed else float("inf")

    def is_ready(self, now: float) -> bool:
        """Whether a job may be handed out. If the host needs a permit, it is acquired, or asked for again later."""
        if self.find_ready_time(now) > now:
            return False
        wait = self.permits.acquire(self.name) if self.permits and not self.is_abandoned else 0.0
        self.not_before = max(self.not_before, now + wait)
        return not wait

    def start_job(self, now: float) -> Turn[Job]:
        """Hand out the next job."""
        self.running += 1
        self.not_before = max(self.not_before, now) + self.interval
        return Turn(self.name, self.waiting.popleft(), self.is_abandoned)

    def finish_job(self) -> None:
        """Note that a job is done."""
        self.running -= 1
        if self.permits:
            self.permits.release(self.name, self.running)


class HostQueues(Generic[Job]):
    """Jobs by host, for many threads.

    A thread takes a job when its host may get a request, reports whether the host answered, and finishes the job.
    `noted` are hosts that failed before: True if they are abandoned, False if one request tests them first.
    Requests to some hosts need the permits of `shared`. `read_clock` gives the time in seconds.
    """

    def __init__(
        self,
        find_limits: Callable[[str], HostLimits],
        policy: BackoffPolicy,
        noted: Mapping[str, bool] | None = None,
        shared: SharedLimits | None = None,
        read_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find_limits, self._policy, self._noted = find_limits, policy, noted or {}
        self._shared, self._read_clock = shared, read_clock
        self._hosts: dict[str, _Host[Job]] = {}
        self._ready: deque[str] = deque()
        self._timed: list[tuple[float, str]] = []
        self._unfinished, self._closed = 0, False
        self._serial = itertools.count()
        self._lock = threading.Lock()
        self._idle, self._clock = threading.Condition(self._lock), threading.Condition(self._lock)
        self._is_clock_watched = False

    def add_job(self, host: str, job: Job, delay: float = 0.0) -> None:
        """Queue a job that may be taken in `delay` seconds at the earliest."""
        with self._lock:
            if host not in self._hosts:
                self._hosts[host] = self._make_host(host)
            now = self._read_clock()
            if delay:
                heapq.heappush(self._hosts[host].delayed, (now + delay, next(self._serial), job))
            else:
                self._hosts[host].waiting.append(job)
            self._unfinished += 1
            self._schedule(host, now)

    def take_job(self) -> Turn[Job] | None:
        """The next job whose host may get a request, as soon as there is one; None once all jobs are finished."""
        with self._lock:
            while self._unfinished and not self._closed:
                now = self._read_clock()
                turn = self._find_turn(now)
                if isinstance(turn, Turn):
                    self._wake()
                    return turn
                if self._is_clock_watched:
                    self._idle.wait()
                    continue
                # Only one thread waits for the time of the next job. Otherwise all threads would wake for each job.
                self._is_clock_watched = True
                try:
                    self._clock.wait(max(0.0, turn - now) if turn < math.inf else None)
                finally:
                    self._is_clock_watched = False
            self._wake_all()
            return None

    def poll_job(self) -> Turn[Job] | float:
        """The next job if a host may get a request now; otherwise the time when one may, or infinity if none waits."""
        with self._lock:
            return self._find_turn(self._read_clock())

    def report_success(self, host: str) -> None:
        """Note that the host answered as expected."""
        with self._lock:
            state = self._hosts[host]
            state.failures = state.pauses = 0
            state.slowdown = max(1.0, state.slowdown * RECOVERY)

    def report_failure(self, host: str, is_busy: bool = False, retry_after: float = 0.0) -> bool:
        """Note that the host failed; whether it is abandoned now.

        `is_busy`: it reported too many requests. `retry_after`: the pause that it asks for, in seconds.
        """
        with self._lock:
            state = self._hosts[host]
            state.note_failure(self._read_clock(), self._policy, is_busy, retry_after)
            return state.is_abandoned

    def finish_job(self, host: str) -> None:
        """Note that a job of `host` is done, or was added again."""
        with self._lock:
            self._hosts[host].finish_job()
            self._unfinished -= 1
            self._schedule(host, self._read_clock())
            if not self._unfinished:
                self._wake_all()

    def close(self) -> None:
        """Hand out no more jobs."""
        with self._lock:
            self._closed = True
            self._wake_all()

    def count_hosts(self) -> int:
        """The number of hosts that have or had jobs."""
        return len(self._hosts)

    def _make_host(self, host: str) -> _Host[Job]:
        pauses = self._policy.max_pauses if host in self._noted else 0
        permits = self._shared if self._shared and self._shared.needs_permits(host) else None
        return _Host(host, self._find_limits(host), permits, pauses=pauses, is_abandoned=self._noted.get(host, False))

    def _find_turn(self, now: float) -> Turn[Job] | float:
        while self._timed and self._timed[0][0] <= now:
            at, name = heapq.heappop(self._timed)
            if at == self._hosts[name].wakes_at:
                self._hosts[name].wakes_at = float("inf")
                self._schedule(name, now)
        while self._ready:
            name = self._ready.popleft()
            host = self._hosts[name]
            host.is_queued = False
            if host.is_ready(now):
                turn = host.start_job(now)
                self._schedule(name, now)
                return turn
            self._schedule(name, now)
        return self._timed[0][0] if self._timed else math.inf

    def _schedule(self, name: str, now: float) -> None:
        """Queue a host now, or for the time when it may get a request."""
        host = self._hosts[name]
        ready_time = host.find_ready_time(now)
        if host.is_queued:
            return
        if ready_time <= now:
            host.is_queued = True
            self._ready.append(name)
            self._wake()
        elif ready_time < host.wakes_at:
            host.wakes_at = ready_time
            heapq.heappush(self._timed, (ready_time, name))
            if self._timed[0] == (ready_time, name):
                self._clock.notify()

    def _wake(self) -> None:
        """Wake one more thread to take a job, and one to watch the clock."""
        if self._ready or not self._is_clock_watched:
            self._idle.notify()
        if self._ready and self._is_clock_watched:
            self._clock.notify()

    def _wake_all(self) -> None:
        self._idle.notify_all()
        self._clock.notify_all()
