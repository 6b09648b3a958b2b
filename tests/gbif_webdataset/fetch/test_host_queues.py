import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise

import pytest

from gbif_webdataset.fetch.host_limits import HostLimits
from gbif_webdataset.fetch.host_queues import RECOVERY, BackoffPolicy, HostQueues

Queues = HostQueues[int]
DEFAULT_BACKOFF = BackoffPolicy()


class Crew:
    """Threads that do all jobs. They note when each job began, and the maximum number of jobs per host at a time."""

    def __init__(self, queues: Queues, work: Callable[[str, int], None], threads: int = 8) -> None:
        self.began: dict[str, list[float]] = defaultdict(list)
        self.max_running: dict[str, int] = defaultdict(int)
        self.order: list[tuple[str, int]] = []
        self._now: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._queues, self._job = queues, work
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while taken := self._queues.take_job():
            host, job = taken.host, taken.job
            with self._lock:
                self.began[host].append(time.monotonic())
                self.order.append((host, job))
                self._now[host] += 1
                self.max_running[host] = max(self.max_running[host], self._now[host])
            self._job(host, job)
            with self._lock:
                self._now[host] -= 1
            self._queues.finish_job(host)

    def join(self, seconds: float = 10) -> bool:
        """Wait for the threads; whether all of them ended."""
        ends = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)


def fill_queues(limits: HostLimits, **jobs: int) -> Queues:
    queues: Queues = HostQueues(lambda host: limits, DEFAULT_BACKOFF)
    for host, count in jobs.items():
        for job in range(count):
            queues.add_job(host, job)
    return queues


def test_every_job_is_done_once() -> None:
    queues = fill_queues(HostLimits(4, 0), a=200, b=50, c=1)
    crew = Crew(queues, lambda host, job: None)
    assert crew.join()
    expected = [("a", n) for n in range(200)] + [("b", n) for n in range(50)] + [("c", 0)]
    assert sorted(crew.order) == expected


def test_a_host_gets_no_more_requests_at_a_time_than_its_connections() -> None:
    crew = Crew(fill_queues(HostLimits(2, 0), a=12, b=12), lambda host, job: time.sleep(0.02))
    assert crew.join()
    assert crew.max_running == {"a": 2, "b": 2}


def test_the_request_rate_applies_to_each_host() -> None:
    crew = Crew(fill_queues(HostLimits(8, 20), a=11, b=11), lambda host, job: None)
    assert crew.join()
    for began in crew.began.values():
        assert began[-1] - began[0] >= 0.49
        assert all(later - earlier > 0.03 for earlier, later in zip(began, began[2:], strict=False))
    assert max(crew.began["a"][-1], crew.began["b"][-1]) - min(crew.began["a"][0], crew.began["b"][0]) < 3


def test_a_slow_host_delays_no_other_host() -> None:
    gate = threading.Event()

    def work(host: str, job: int) -> None:
        if host == "slow":
            gate.wait(20)

    queues = fill_queues(HostLimits(2, 0), slow=100, quick=300)
    crew = Crew(queues, work, threads=4)
    ends = time.monotonic() + 10
    while len(crew.began["quick"]) < 300 and time.monotonic() < ends:
        time.sleep(0.01)
    assert len(crew.began["quick"]) == 300
    assert len(crew.began["slow"]) == 2
    gate.set()
    assert crew.join()


def test_hosts_take_turns() -> None:
    queues = fill_queues(HostLimits(1, 0), a=50, b=50)
    crew = Crew(queues, lambda host, job: None, threads=1)
    assert crew.join()
    assert [host for host, _ in crew.order] == ["a", "b"] * 50


def test_a_delayed_job_waits_while_others_run() -> None:
    queues: Queues = HostQueues(lambda host: HostLimits(4, 0), DEFAULT_BACKOFF)
    begun = time.monotonic()
    queues.add_job("a", 1, delay=0.4)
    queues.add_job("a", 2, delay=0.2)
    queues.add_job("a", 3)
    crew = Crew(queues, lambda host, job: None)
    assert crew.join()
    assert [job for _, job in crew.order] == [3, 2, 1]
    waited = [at - begun for at in crew.began["a"]]
    assert waited[0] < 0.2
    assert 0.2 <= waited[1] < 0.4 <= waited[2] < 2


def test_a_running_job_can_be_added_again() -> None:
    tries: list[int] = []
    queues = fill_queues(HostLimits(1, 0), a=1)

    def work(host: str, job: int) -> None:
        tries.append(job)
        if job < 3:
            queues.add_job(host, job + 1, delay=0.05)

    assert Crew(queues, work).join()
    assert tries == [0, 1, 2, 3]


def test_retry_after_pauses_its_host_and_no_other() -> None:
    queues = fill_queues(HostLimits(4, 0), a=2, b=2)
    begun = time.monotonic()
    queues.report_failure("a", retry_after=0.5)
    queues.report_failure("a", retry_after=0.1)
    crew = Crew(queues, lambda host, job: None)
    assert crew.join()
    assert crew.began["a"][0] - begun >= 0.5
    assert crew.began["b"][-1] - begun < 0.4


def test_closing_ends_waiting_threads() -> None:
    queues = fill_queues(HostLimits(1, 0), a=1)
    queues.add_job("b", 1, delay=3600)
    begun = time.monotonic()
    crew = Crew(queues, lambda host, job: None)
    time.sleep(0.2)
    queues.close()
    assert crew.join(5)
    assert time.monotonic() - begun < 3
    assert crew.order == [("a", 0)]


def test_empty_queues_have_no_job() -> None:
    assert HostQueues[int](lambda host: HostLimits(1, 1), DEFAULT_BACKOFF).take_job() is None


def intervals(began: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(began)]


@pytest.mark.parametrize("per_second", [20, 0])
def test_a_busy_host_gets_requests_more_slowly_and_faster_again_with_each_success(
    per_second: float,
) -> None:
    queues = fill_queues(HostLimits(1, per_second), a=60)

    def work(host: str, job: int) -> None:
        queues.report_failure(host, is_busy=True) if job < 2 else queues.report_success(host)

    begun = time.monotonic()
    crew = Crew(queues, work, threads=1)
    assert crew.join(30)
    # Each busy answer doubles the interval. Without a rate limit, the interval starts at 1/20 s.
    slower = [4 * RECOVERY**number for number in range(20)]
    waits = [(slow if slow > 1 else 1.0 if per_second else 0.0) / 20 for slow in slower]
    waits = [0.05 if per_second else 0.0, 0.1, *waits]
    for number, at in enumerate(crew.began["a"][: len(waits)]):
        assert at - begun > sum(waits[:number]) - 0.001
    assert min(intervals(crew.began["a"])[-20:]) < 0.1


def test_max_slowdown_limits_the_slowdown() -> None:
    queues: Queues = HostQueues(lambda host: HostLimits(1, 100), BackoffPolicy(max_failures=1000, max_slowdown=4))
    for job in range(12):
        queues.add_job("a", job)
    crew = Crew(queues, lambda host, job: queues.report_failure(host, is_busy=True))
    assert crew.join(10)
    assert 0.19 <= sum(intervals(crew.began["a"])[-5:]) < 2, "five intervals of 4/100 s"


def test_the_slowdown_of_one_host_does_not_affect_others() -> None:
    queues = fill_queues(HostLimits(1, 50), a=20, b=20)
    for _ in range(4):
        queues.report_failure("a", is_busy=True)
    crew = Crew(queues, lambda host, job: None)
    while len(crew.began["b"]) < 20 and not crew.join(0.05):
        pass
    assert len(crew.began["a"]) < 5
    queues.close()
    assert crew.join()


QUICK = BackoffPolicy(max_failures=3, pause=0.2, max_pauses=2, max_wait=5)


def make_failing_queues(**jobs: int) -> Queues:
    queues: Queues = HostQueues(lambda host: HostLimits(4, 0), QUICK)
    for host, count in jobs.items():
        for job in range(count):
            queues.add_job(host, job)
    return queues


def test_a_host_that_does_not_answer_gets_one_request_after_each_pause_and_is_then_abandoned() -> None:
    queues, asked, abandoned = make_failing_queues(dead=300, good=300), Counter[str](), Counter[str]()
    times: list[float] = []
    while turn := queues.take_job():
        (abandoned if turn.is_abandoned else asked)[turn.host] += 1
        if turn.host == "good":
            queues.report_success("good")
        elif not turn.is_abandoned:
            times.append(time.monotonic())
            queues.report_failure("dead")
        queues.finish_job(turn.host)
    assert asked == {"dead": 3 + 1 + 1, "good": 300}
    assert abandoned == {"dead": 295}
    assert intervals(times)[2] >= 0.2
    assert intervals(times)[3] >= 0.4


def test_an_answer_after_a_pause_opens_all_connections_again() -> None:
    queues = make_failing_queues(a=30)
    begun = time.monotonic()
    for _ in range(3):
        queues.report_failure("a")

    def work(host: str, job: int) -> None:
        time.sleep(0.02 if job else 0.1)
        queues.report_success(host)

    crew = Crew(queues, work)
    assert crew.join()
    first, *others = crew.began["a"]
    assert first - begun >= 0.2
    assert others[0] - first >= 0.099, "only one request is sent until it is answered"
    assert crew.max_running["a"] == 4
    assert len(crew.order) == 30


def test_failures_of_requests_sent_before_a_pause_do_not_count() -> None:
    queues = make_failing_queues(a=8)
    turns = [queues.take_job() for _ in range(4)]
    for _ in turns:
        queues.report_failure("a")
        queues.finish_job("a")
    turn = queues.take_job()
    assert turn is not None
    assert not turn.is_abandoned
    queues.report_success("a")
    queues.finish_job("a")
    assert Crew(queues, lambda host, job: queues.report_success(host)).join()


def test_occasional_failures_do_not_pause_a_host() -> None:
    queues = make_failing_queues(a=60)

    def work(host: str, job: int) -> None:
        queues.report_success(host) if job % 3 == 2 else queues.report_failure(host)

    crew = Crew(queues, work, threads=1)
    assert crew.join()
    assert max(intervals(crew.began["a"])) < 0.2


def test_a_host_that_asks_for_more_than_max_wait_is_abandoned_at_once() -> None:
    queues = make_failing_queues(a=300, b=1)
    turn = queues.take_job()
    assert turn is not None
    begun = time.monotonic()
    queues.report_failure(turn.host, is_busy=True, retry_after=3600)
    queues.finish_job(turn.host)
    left: list[tuple[str, bool]] = []
    while turn := queues.take_job():
        left.append((turn.host, turn.is_abandoned))
        queues.finish_job(turn.host)
    assert time.monotonic() - begun < 5
    assert Counter(left) == {("a", True): 299, ("b", False): 1}
