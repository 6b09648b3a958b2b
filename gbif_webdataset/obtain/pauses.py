"""The pauses between requests, and when to stop waiting."""

from collections.abc import Callable
from typing import TypeVar

from gbif_webdataset.errors import FetchError
from gbif_webdataset.formatting import format_duration
from gbif_webdataset.obtain.http_client import TemporaryError

MIN_PAUSE = 60.0
MAX_PAUSE = 600.0
MAX_FAILURES = 5
"""After so many failures in a row the waiting ends. Answers that the host is busy do not count."""
Answer = TypeVar("Answer")
CONTINUE = "run the same command again: it continues from here"


Sleep = Callable[[float], None]


class Pauses:
    """Waits between requests for 60 s, then twice as long each time up to 600 s, and as long as the host asks for.

    `report` gets a sentence before each pause. The waiting ends before the pauses take more than `wait_hours` in total;
    the time of the requests does not count. `option` sets the hours; it is empty if the user cannot set them.
    """

    def __init__(self, sleep: Sleep, wait_hours: float, report: Callable[[str], None], option: str = "") -> None:
        self._sleep, self._report, self._max_seconds = sleep, report, 3600 * wait_hours
        self._remedy = f"{CONTINUE}; or set a longer time with {option}" if option else CONTINUE
        self.restart()

    def restart(self) -> None:
        """Begin again with the shortest pause and all of the time, after a request that brought something new."""
        self._next, self._failures, self._seconds_left = MIN_PAUSE, 0, self._max_seconds

    def wait(self, sentence: str, retry_after: float = 0.0) -> None:
        """Wait before the next request. Raises FetchError if that request would come too late."""
        pause = max(self._next, retry_after)
        if pause > self._seconds_left:
            problem = f"the time to wait ({format_duration(self._max_seconds)}) would be over before the next request"
            raise FetchError.at(sentence, problem, self._remedy)
        self._report(f"{sentence}; next request in {format_duration(pause)}")
        self._sleep(pause)
        self._seconds_left -= pause
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
                answer = request()
            except TemporaryError as error:
                self.wait_after(error)
            else:
                self._failures = 0
                return answer
