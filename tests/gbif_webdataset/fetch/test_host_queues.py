import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise

import pytest

from gbif_webdataset.fetch.host_limits import HostLimits
from gbif_webdataset.fetch.host_queues import RECOVERY, HostQueues, Patience

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


def intervals(began: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(began)]


@pytest.mark.parametrize("per_second", [20, 0])
def test_a_host_that_is_asked_too_much_is_asked_more_slowly_and_faster_again_with_each_success(
    per_second: float,
) -> None:
    queues = filled(HostLimits(1, per_second), a=60)

    def work(host: str, job: int) -> None:
        queues.failed(host, is_busy=True) if job < 2 else queues.succeeded(host)

    begun = time.monotonic()
    crew = Crew(queues, work, threads=1)
    assert crew.join(30)
    # Twice as slow after each answer that it is asked too much; what has no limit is asked with pauses of 1/20 s then.
    slower = [4 * RECOVERY**number for number in range(20)]
    waits = [(slow if slow > 1 else 1.0 if per_second else 0.0) / 20 for slow in slower]
    waits = [0.05 if per_second else 0.0, 0.1, *waits]
    for number, at in enumerate(crew.began["a"][: len(waits)]):
        assert at - begun > sum(waits[:number]) - 0.001
    assert min(intervals(crew.began["a"])[-20:]) < 0.1


def test_no_host_is_asked_more_slowly_than_slowest_says() -> None:
    queues: Queues = HostQueues(lambda host: HostLimits(1, 100), Patience(failures=1000, slowest=4))
    for job in range(12):
        queues.put("a", job)
    crew = Crew(queues, lambda host, job: queues.failed(host, is_busy=True))
    assert crew.join(10)
    assert 0.039 <= intervals(crew.began["a"])[-1] < 1


def test_other_hosts_are_asked_as_before_while_one_is_asked_more_slowly() -> None:
    queues = filled(HostLimits(1, 50), a=20, b=20)
    for _ in range(4):
        queues.failed("a", is_busy=True)
    crew = Crew(queues, lambda host, job: None)
    while len(crew.began["b"]) < 20 and not crew.join(0.05):
        pass
    assert len(crew.began["a"]) < 5
    queues.close()
    assert crew.join()


QUICK = Patience(failures=3, pause=0.2, pauses=2, longest=5)


def impatient(**jobs: int) -> Queues:
    queues: Queues = HostQueues(lambda host: HostLimits(4, 0), QUICK)
    for host, count in jobs.items():
        for job in range(count):
            queues.put(host, job)
    return queues


def test_a_host_that_does_not_answer_is_asked_once_after_each_pause_and_then_given_up() -> None:
    queues, asked, given_up = impatient(dead=300, good=300), Counter[str](), Counter[str]()
    times: list[float] = []
    while turn := queues.take():
        (given_up if turn.given_up else asked)[turn.host] += 1
        if turn.host == "good":
            queues.succeeded("good")
        elif not turn.given_up:
            times.append(time.monotonic())
            queues.failed("dead")
        queues.done(turn.host)
    assert asked == {"dead": 3 + 1 + 1, "good": 300}
    assert given_up == {"dead": 295}
    assert intervals(times)[2] >= 0.2
    assert intervals(times)[3] >= 0.4


def test_an_answer_after_a_pause_ends_it_for_all_connections() -> None:
    queues = impatient(a=30)
    begun = time.monotonic()
    for _ in range(3):
        queues.failed("a")

    def work(host: str, job: int) -> None:
        time.sleep(0.02 if job else 0.1)
        queues.succeeded(host)

    crew = Crew(queues, work)
    assert crew.join()
    first, *others = crew.began["a"]
    assert first - begun >= 0.2
    assert others[0] - first >= 0.099, "one request alone goes out until it is answered"
    assert crew.most["a"] == 4
    assert len(crew.order) == 30


def test_failures_of_requests_that_were_under_way_already_are_no_further_failures() -> None:
    queues = impatient(a=8)
    turns = [queues.take() for _ in range(4)]
    for _ in turns:
        queues.failed("a")
        queues.done("a")
    turn = queues.take()
    assert turn is not None
    assert not turn.given_up
    queues.succeeded("a")
    queues.done("a")
    assert Crew(queues, lambda host, job: queues.succeeded(host)).join()


def test_failures_now_and_then_are_no_reason_to_leave_a_host_alone() -> None:
    queues = impatient(a=60)

    def work(host: str, job: int) -> None:
        queues.succeeded(host) if job % 3 == 2 else queues.failed(host)

    crew = Crew(queues, work, threads=1)
    assert crew.join()
    assert max(intervals(crew.began["a"])) < 0.2


def test_a_host_that_asks_for_a_longer_pause_than_there_is_time_for_is_given_up_at_once() -> None:
    queues = impatient(a=300, b=1)
    turn = queues.take()
    assert turn is not None
    begun = time.monotonic()
    queues.failed(turn.host, is_busy=True, retry_after=3600)
    queues.done(turn.host)
    left: list[tuple[str, bool]] = []
    while turn := queues.take():
        left.append((turn.host, turn.given_up))
        queues.done(turn.host)
    assert time.monotonic() - begun < 5
    assert Counter(left) == {("a", True): 299, ("b", False): 1}
