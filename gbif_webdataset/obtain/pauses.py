"""The pauses between requests, and when to stop waiting."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gbif_webdataset.errors import FetchError
from gbif_webdataset.formatting import format_duration
from gbif_webdataset.obtain.http_client import TemporaryError

MIN_PAUSE = 60.0
MAX_PAUSE = 600.0
MAX_FAILURES = 5
"""So many requests in a row may fail for another reason than that the host is busy."""
Answer = TypeVar("Answer")
CONTINUE = "run the same command again: it continues from here"


@dataclass(frozen=True)
class Clock:
    """The seconds since some moment, and how to wait for some seconds."""

    now: Callable[[], float]
    sleep: Callable[[float], None]


class Pauses:
    """Waits between requests for 60 s, then twice as long each time up to 600 s, and as long as the host asks for.

    `report` gets a sentence before each pause. After `wait_hours` the waiting ends.
    """

    def __init__(self, clock: Clock, wait_hours: float, report: Callable[[str], None]) -> None:
        self._clock, self._wait_hours, self._report = clock, wait_hours, report
        self._end = clock.now() + 3600 * wait_hours
        self.restart()

    def restart(self) -> None:
        """Begin again with the shortest pause, after a request that brought something new."""
        self._next, self._failures = MIN_PAUSE, 0

    def wait(self, sentence: str, retry_after: float = 0.0) -> None:
        """Wait before the next request. Raises FetchError if that request would come too late."""
        pause = max(self._next, retry_after)
        if self._clock.now() + pause > self._end:
            problem = f"the time to wait (wait_hours = {self._wait_hours:g}) would be over before the next request"
            raise FetchError.at(sentence, problem, f"{CONTINUE}; or set more hours")
        self._report(f"{sentence}; next request in {format_duration(pause)}")
        self._clock.sleep(pause)
        self._next = min(2 * self._next, MAX_PAUSE)

    def wait_after(self, error: TemporaryError) -> None:
        """Wait after a failure. Raises FetchError after MAX_FAILURES in a row, if the host is not only busy."""
        self._failures += not error.is_busy
        if self._failures >= MAX_FAILURES:
            raise FetchError.at(str(error), f"{MAX_FAILURES} requests in a row failed", CONTINUE) from error
        self.wait(str(error), error.retry_after)

    def retry(self, request: Callable[[], Answer]) -> Answer:
        """Return what `request` returns, after as many attempts as needed. Raises what `wait_after` raises."""
        while True:
            try:
                return request()
            except TemporaryError as error:
                self.wait_after(error)
