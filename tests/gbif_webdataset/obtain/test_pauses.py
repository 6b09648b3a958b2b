from collections.abc import Iterator

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.obtain.http_client import TemporaryError
from gbif_webdataset.obtain.pauses import Pauses
from tests.support.obtain_run import ManualClock

BUSY = TemporaryError("busy", status=429)
BROKEN = TemporaryError("broken")


def make(clock: ManualClock, hours: float = 24.0, option: str = "") -> tuple[Pauses, list[str]]:
    sentences: list[str] = []
    return Pauses(clock.sleep, hours, sentences.append, option), sentences


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


@pytest.mark.parametrize("option", ["", "--FetchArchive-wait-hours"])
def test_waiting_ends_before_a_request_that_would_come_too_late(option: str) -> None:
    clock = ManualClock()
    pauses, _ = make(clock, 0.05, option)
    pauses.wait("running")
    pauses.wait("running")
    with pytest.raises(
        FetchError, match=r"^running: the time to wait \(3 min 00 s\) would be over before the next request; run"
    ) as error:
        pauses.wait("running")
    assert clock.pauses == [60, 120]
    assert str(error.value).endswith(f"; or set a longer time with {option}" if option else "continues from here")


def test_progress_gives_all_of_the_time_again() -> None:
    clock = ManualClock()
    pauses, _ = make(clock, 0.05)
    for _ in range(3):
        pauses.wait("running")
        pauses.wait("running")
        pauses.restart()
    assert clock.pauses == [60, 120] * 3


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


def test_failures_before_a_success_do_not_count() -> None:
    clock = ManualClock()
    pauses, _ = make(clock)
    for _ in range(4):
        answers = iter([True, True, True, False])

        def fail(answers: Iterator[bool] = answers) -> str:
            if next(answers):
                raise BROKEN
            return "answer"

        assert pauses.retry(fail) == "answer"
    assert len(clock.pauses) == 12
