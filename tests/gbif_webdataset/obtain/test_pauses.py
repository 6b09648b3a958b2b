import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.obtain.http_client import TemporaryError
from gbif_webdataset.obtain.pauses import Pauses
from tests.support.obtain_run import ManualClock

BUSY = TemporaryError("busy", is_busy=True)
BROKEN = TemporaryError("broken")


def make(clock: ManualClock, hours: float = 24.0) -> tuple[Pauses, list[str]]:
    sentences: list[str] = []
    return Pauses(clock.clock, hours, sentences.append), sentences


def test_pauses_double_from_a_minute_to_ten() -> None:
    clock = ManualClock()
    pauses, sentences = make(clock)
    for _ in range(6):
        pauses.wait("running")
    assert clock.pauses == [60, 120, 240, 480, 600, 600]
    assert sentences[0] == "running; next request in 1 min 00 s"


def test_a_pause_is_as_long_as_the_host_asks_for_but_not_shorter_than_ours() -> None:
    clock = ManualClock()
    pauses, _ = make(clock)
    pauses.wait("busy", 5)
    pauses.wait("busy", 1000)
    pauses.wait("busy", 1000)
    pauses.wait("busy")
    assert clock.pauses == [60, 1000, 1000, 480]


def test_progress_starts_the_pauses_again() -> None:
    clock = ManualClock()
    pauses, _ = make(clock)
    pauses.wait("running")
    pauses.restart()
    pauses.wait("running")
    assert clock.pauses == [60, 60]


def test_waiting_ends_before_a_request_that_would_come_too_late() -> None:
    clock = ManualClock()
    pauses, _ = make(clock, 0.05)
    pauses.wait("running")
    pauses.wait("running")
    with pytest.raises(FetchError, match=r"^running: the time to wait \(wait_hours = 0\.05\) would be over before"):
        pauses.wait("running")
    assert clock.pauses == [60, 120]


def test_failures_in_a_row_end_the_waiting_but_a_busy_host_does_not() -> None:
    clock = ManualClock()
    pauses, _ = make(clock)
    for error in (BROKEN, BUSY, BROKEN, BUSY, BUSY, BROKEN, BROKEN):
        pauses.wait_after(error)
    with pytest.raises(FetchError, match=r"^broken: 5 requests in a row failed; run the same command again"):
        pauses.wait_after(BROKEN)


def test_a_request_is_repeated_until_it_succeeds() -> None:
    clock = ManualClock()
    pauses, _ = make(clock)
    answers = iter([BROKEN, BUSY, "answer"])

    def request() -> str:
        answer = next(answers)
        if isinstance(answer, TemporaryError):
            raise answer
        return answer

    assert pauses.retry(request) == "answer"
    assert clock.pauses == [60, 120]
