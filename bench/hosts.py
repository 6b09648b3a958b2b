"""The whole download on a virtual clock: 545 simulated hosts, and the queues of fetching that share them.

The queues are those of the tool, with another clock. The hosts answer after a time, throttle, fail, or are down.
"""

import heapq
import itertools
import resource
import tempfile
import time
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gbif_webdataset.fetch.fetch_options import MAX_RETRY_PAUSE
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.host_queues import DEFAULT_BACKOFF, HostQueues, Turn
from gbif_webdataset.fetch.shared_limits import SharedLimits

CHUNKS, CONCURRENT, WORKERS, RETRIES = 1000, 16, 16, 3
WINDOW = 60.0  # seconds over which the requests to a host are counted


@dataclass(slots=True)
class Host:
    """A simulated host: what it may be asked, how it answers, and what it was asked."""

    kind: str
    limits: HostLimits
    images: int
    seconds: float  # until it answers
    accepted_per_second: float = 0.0  # more requests get HTTP 429; 0: any number
    failing_share: float = 0.0
    running: int = 0
    max_running: int = 0
    max_in_window: int = 0
    recent: deque[float] = field(default_factory=deque)

    @property
    def bound(self) -> float:
        """Seconds that its images take at least, within its limits."""
        if self.failing_share == 1:
            return 0.0
        rate = min(filter(None, (self.limits.requests_per_second, self.accepted_per_second)), default=float("inf"))
        return self.images * max(1 / rate, self.seconds / self.limits.connections)

    def start_request(self, now: float) -> bool:
        """Note a request. Whether it is one too many for the host."""
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        while self.recent and self.recent[0] <= now - WINDOW:
            self.recent.popleft()
        is_throttled = bool(self.accepted_per_second) and len(self.recent) >= WINDOW * self.accepted_per_second
        if self.limits.requests_per_second or self.accepted_per_second:
            self.recent.append(now)
            self.max_in_window = max(self.max_in_window, len(self.recent))
        return is_throttled


def make_hosts(images: int, generator: np.random.Generator) -> dict[str, Host]:
    """545 hosts: five for bulk downloads with most images, many small ones, and some that throttle or fail."""
    kinds = [
        ("bulk", 5, 0.79, Host("bulk", HostLimits(64, 0), 0, 0.1)),
        ("default", 40, 0.10, Host("default", HostLimits(4, 5), 0, 0.3)),
        ("one per second", 450, 0.08, Host("one per second", HostLimits(2, 1), 0, 0.5)),
        ("throttles", 20, 0.01, Host("throttles", HostLimits(4, 5), 0, 0.3, accepted_per_second=2)),
        ("fails at times", 20, 0.01, Host("fails at times", HostLimits(4, 5), 0, 0.5, failing_share=0.1)),
        ("is down", 10, 0.01, Host("is down", HostLimits(4, 5), 0, 10.0, failing_share=1)),
    ]
    hosts = {}
    for kind, number, share, model in kinds:
        sizes = 1 / np.arange(1, number + 1)
        counts = generator.multinomial(round(images * share), sizes / sizes.sum())
        for at, count in enumerate(counts):
            hosts[f"{kind.replace(' ', '-')}-{at}.example"] = Host(
                kind, model.limits, int(count), model.seconds, model.accepted_per_second, model.failing_share
            )
    return hosts


class _Chunk:
    """A chunk that is being fetched."""

    def __init__(self, queues: HostQueues[int]) -> None:
        self.queues, self.idle, self.jobs, self.wakes_at = queues, WORKERS, 0, float("inf")


class Simulation:
    """A download of all chunks. `now` is the time on its clock, in seconds."""

    def __init__(self, hosts: dict[str, Host], generator: np.random.Generator, folder: Path) -> None:
        self.hosts, self.now, self.requests, self.abandoned = hosts, 0.0, 0, 0
        self._random = generator
        shares = [generator.multinomial(host.images, np.full(CHUNKS, 1 / CHUNKS)) for host in hosts.values()]
        self._counts = np.array(shares, np.int32)
        self._chunks = iter(range(CHUNKS))
        self._events: list[tuple[float, int, _Chunk, Turn[int] | None, bool]] = []
        self._serial = itertools.count()
        self._unreachable: dict[str, bool] = {}
        self._table = HostTable(HostLimits(1, 1), {name: host.limits for name, host in hosts.items()})
        self._folder = folder

    def read_clock(self) -> float:
        """The time on the simulation's clock, in seconds."""
        return self.now

    def run(self) -> None:
        """Fetch all chunks, CONCURRENT at a time."""
        for _ in range(CONCURRENT):
            self._start_chunk()
        while self._events:
            self.now, _, chunk, turn, is_throttled = heapq.heappop(self._events)
            if turn is None:
                chunk.wakes_at = float("inf")
            else:
                self._end_request(chunk, turn, is_throttled)
            self._hand_out(chunk)

    def _start_chunk(self) -> None:
        number = next(self._chunks, None)
        if number is None:
            return
        shared = SharedLimits(self._folder, self._table, CONCURRENT, self.read_clock)
        queues: HostQueues[int] = HostQueues(
            shared.find_limits, DEFAULT_BACKOFF, dict(self._unreachable), shared, self.read_clock
        )
        chunk = _Chunk(queues)
        for name in self._list_jobs(number):
            chunk.queues.add_job(name, 1)
            chunk.jobs += 1
        self._hand_out(chunk)

    def _list_jobs(self, number: int) -> Iterator[str]:
        for name, count in zip(self.hosts, self._counts[:, number].tolist(), strict=True):
            yield from itertools.repeat(name, count)

    def _hand_out(self, chunk: _Chunk) -> None:
        while chunk.idle and chunk.jobs:
            turn = chunk.queues.poll_job()
            if not isinstance(turn, Turn):
                if turn < chunk.wakes_at:
                    chunk.wakes_at = turn
                    heapq.heappush(self._events, (turn, next(self._serial), chunk, None, False))
                return
            if turn.is_abandoned:
                self.abandoned += 1
                self._finish(chunk, turn)
                continue
            chunk.idle -= 1
            self.requests += 1
            host = self.hosts[turn.host]
            is_throttled = host.start_request(self.now)
            seconds = 0.05 if is_throttled else host.seconds
            heapq.heappush(self._events, (self.now + seconds, next(self._serial), chunk, turn, is_throttled))
        if not chunk.jobs and chunk.idle == WORKERS:
            chunk.idle = 0  # the chunk has ended
            self._start_chunk()

    def _end_request(self, chunk: _Chunk, turn: Turn[int], is_throttled: bool) -> None:
        host = self.hosts[turn.host]
        host.running -= 1
        chunk.idle += 1
        has_failed = is_throttled or (host.failing_share > 0 and self._random.random() < host.failing_share)
        if not has_failed:
            chunk.queues.report_success(turn.host)
        elif chunk.queues.report_failure(turn.host, is_throttled) and host.failing_share == 1:
            self._unreachable[turn.host] = True
        if has_failed and turn.job <= RETRIES:
            chunk.queues.add_job(turn.host, turn.job + 1, min(2.0 ** (turn.job - 1), MAX_RETRY_PAUSE))
            chunk.queues.finish_job(turn.host)
        else:
            self._finish(chunk, turn)

    def _finish(self, chunk: _Chunk, turn: Turn[int]) -> None:
        chunk.jobs -= 1
        chunk.queues.finish_job(turn.host)


def bench(images: int) -> None:
    """Simulate a download, and compare its time with the bound that the slowest host sets."""
    generator = np.random.default_rng(0)
    hosts = make_hosts(images, generator)
    with tempfile.TemporaryDirectory() as name:
        simulation = Simulation(hosts, generator, Path(name))
        before = _peak_mib()
        start = time.perf_counter()
        simulation.run()
    seconds = time.perf_counter() - start
    _print_times(simulation, seconds, (_peak_mib() - before) / CONCURRENT)
    _print_kinds(hosts.values())


def _print_times(simulation: Simulation, seconds: float, mebibytes: float) -> None:
    hosts = simulation.hosts
    slowest = max(hosts, key=lambda name: hosts[name].bound)
    bound = hosts[slowest].bound
    print(
        f"hosts: {sum(host.images for host in hosts.values()):,} images on {len(hosts)} hosts in {CHUNKS:,} chunks, "
        f"{CONCURRENT} at a time\n"
        f"  {simulation.now / 3600:,.2f} h; {slowest} alone needs {bound / 3600:,.2f} h; "
        f"ratio {simulation.now / bound:.3f}\n"
        f"  {simulation.requests:,} requests; {simulation.abandoned:,} images are left to a later run\n"
        f"  the queues take {mebibytes:,.1f} MiB a chunk; simulated in {seconds:,.0f} s"
    )


def _print_kinds(hosts: Collection[Host]) -> None:
    print("  kind of host         images  connections  requests per minute (maximum, as a share of the limit)")
    for kind in dict.fromkeys(host.kind for host in hosts):
        group = [host for host in hosts if host.kind == kind]
        connections = max(host.max_running / host.limits.connections for host in group)
        per_minute = [
            host.max_in_window / WINDOW / host.limits.requests_per_second
            for host in group
            if host.limits.requests_per_second
        ]
        rate = f"{max(per_minute):.2f}" if per_minute else "no limit"
        print(f"  {kind:14} {sum(host.images for host in group):>12,} {connections:>12.2f}  {rate}")


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
