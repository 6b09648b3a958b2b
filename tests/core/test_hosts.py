import threading
import time
from collections import defaultdict
from collections.abc import Callable

from tasks.core.hosts import HostQueues, Patience
from tasks.core.rates import HostLimits

Queues = HostQueues[int]
PATIENT = Patience()


class Crew:
    """Threads that work queues empty, and note when each job began and how many of its host were under way."""

    def __init__(self, queues: Queues, work: Callable[[str, int], None], threads: int = 8) -> None:
        self.began: dict[str, list[float]] = defaultdict(list)
        self.most: dict[str, int] = defaultdict(int)
        self.order: list[tuple[str, int]] = []
        self._now: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._queues, self._job = queues, work
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while taken := self._queues.take():
            host, job = taken.host, taken.job
            with self._lock:
                self.began[host].append(time.monotonic())
                self.order.append((host, job))
                self._now[host] += 1
                self.most[host] = max(self.most[host], self._now[host])
            self._job(host, job)
            with self._lock:
                self._now[host] -= 1
            self._queues.done(host)

    def join(self, seconds: float = 10) -> bool:
        """Wait for the threads; tell whether all came to an end."""
        ends = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)


def filled(limits: HostLimits, **jobs: int) -> Queues:
    queues: Queues = HostQueues(lambda host: limits, PATIENT)
    for host, count in jobs.items():
        for job in range(count):
            queues.put(host, job)
    return queues


def test_every_job_is_done_once() -> None:
    queues = filled(HostLimits(4, 0), a=200, b=50, c=1)
    crew = Crew(queues, lambda host, job: None)
    assert crew.join()
    expected = [("a", n) for n in range(200)] + [("b", n) for n in range(50)] + [("c", 0)]
    assert sorted(crew.order) == expected


def test_a_host_is_asked_no_more_than_its_connections_at_a_time() -> None:
    crew = Crew(filled(HostLimits(2, 0), a=12, b=12), lambda host, job: time.sleep(0.02))
    assert crew.join()
    assert crew.most == {"a": 2, "b": 2}


def test_requests_a_second_hold_for_each_host() -> None:
    crew = Crew(filled(HostLimits(8, 20), a=11, b=11), lambda host, job: None)
    assert crew.join()
    for began in crew.began.values():
        assert began[-1] - began[0] >= 0.49
        assert all(later - earlier > 0.03 for earlier, later in zip(began, began[2:], strict=False))
    assert max(crew.began["a"][-1], crew.began["b"][-1]) - min(crew.began["a"][0], crew.began["b"][0]) < 3


def test_a_slow_host_holds_up_nobody() -> None:
    gate = threading.Event()

    def work(host: str, job: int) -> None:
        if host == "slow":
            gate.wait(20)

    queues = filled(HostLimits(2, 0), slow=100, quick=300)
    crew = Crew(queues, work, threads=4)
    ends = time.monotonic() + 10
    while len(crew.began["quick"]) < 300 and time.monotonic() < ends:
        time.sleep(0.01)
    assert len(crew.began["quick"]) == 300
    assert len(crew.began["slow"]) == 2
    gate.set()
    assert crew.join()


def test_hosts_take_turns() -> None:
    queues = filled(HostLimits(1, 0), a=50, b=50)
    crew = Crew(queues, lambda host, job: None, threads=1)
    assert crew.join()
    assert [host for host, _ in crew.order] == ["a", "b"] * 50


def test_a_job_that_is_put_for_later_waits_while_others_go_on() -> None:
    queues: Queues = HostQueues(lambda host: HostLimits(4, 0), PATIENT)
    begun = time.monotonic()
    queues.put("a", 1, delay=0.4)
    queues.put("a", 2, delay=0.2)
    queues.put("a", 3)
    crew = Crew(queues, lambda host, job: None)
    assert crew.join()
    assert [job for _, job in crew.order] == [3, 2, 1]
    waited = [at - begun for at in crew.began["a"]]
    assert waited[0] < 0.2
    assert 0.2 <= waited[1] < 0.4 <= waited[2] < 2


def test_a_job_can_be_put_again_while_it_is_under_way() -> None:
    tries: list[int] = []
    queues = filled(HostLimits(1, 0), a=1)

    def work(host: str, job: int) -> None:
        tries.append(job)
        if job < 3:
            queues.put(host, job + 1, delay=0.05)

    assert Crew(queues, work).join()
    assert tries == [0, 1, 2, 3]


def test_a_host_at_rest_is_not_asked_and_others_are() -> None:
    queues = filled(HostLimits(4, 0), a=2, b=2)
    begun = time.monotonic()
    queues.failed("a", retry_after=0.5)
    queues.failed("a", retry_after=0.1)
    crew = Crew(queues, lambda host, job: None)
    assert crew.join()
    assert crew.began["a"][0] - begun >= 0.5
    assert crew.began["b"][-1] - begun < 0.4


def test_closing_wakes_whoever_waits() -> None:
    queues = filled(HostLimits(1, 0), a=1)
    queues.put("b", 1, delay=3600)
    begun = time.monotonic()
    crew = Crew(queues, lambda host, job: None)
    time.sleep(0.2)
    queues.close()
    assert crew.join(5)
    assert time.monotonic() - begun < 3
    assert crew.order == [("a", 0)]


def test_there_is_nothing_to_take_where_nothing_was_put() -> None:
    assert HostQueues[int](lambda host: HostLimits(1, 1), PATIENT).take() is None
