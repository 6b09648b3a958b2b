"""Requests that are repeated after temporary failures, with growing pauses, and counted."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import TypeVar

from gbif_webdataset.remote.store_errors import TemporaryStoreError, UnansweredError

Answer = TypeVar("Answer")
MAX_ATTEMPTS = 8
MAX_PAUSE = 30.0
STOP_SECONDS = 3.0


@dataclass
class Retries:
    """Repeats requests to `place`, an option with its value. `pause` is the first pause in seconds; it doubles.

    `count` is the number of requests that were repeated. Setting `stopping` ends all pauses.
    """

    place: str
    pause: float = 0.5
    count: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, request: Callable[[], Answer]) -> Answer:
        """The answer of a request.

        Raises:
            UnansweredError: the last attempt failed as well.
        """
        attempt = 1
        while True:
            try:
                return self._wait_for(request)
            except TemporaryStoreError as error:
                if attempt == MAX_ATTEMPTS or self.stopping.is_set():
                    problem = f"{attempt} attempts failed, the last one with: {error}"
                    raise UnansweredError.at(self.place, problem, "repeat the command later: it continues") from None
            self.pause_before_repeat(attempt - 1)
            attempt += 1

    def _wait_for(self, request: Callable[[], Answer]) -> Answer:
        """The answer of a request in a thread of its own: the libraries of clouds do not see Ctrl-C while they wait.

        A request that does not end soon after the command was stopped is left to the end of the process.
        """
        answer: Future[Answer] = Future()

        def ask() -> None:
            try:
                answer.set_result(request())
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=ask, name="request", daemon=True).start()
        try:
            while not wait([answer], 1).done:
                if self.stopping.is_set() and not wait([answer], STOP_SECONDS).done:
                    raise TemporaryStoreError("the command was stopped")
        except (KeyboardInterrupt, SystemExit):
            wait([answer], STOP_SECONDS)
            raise
        return answer.result()

    def pause_before_repeat(self, repeated: int) -> None:
        """Count a request that will be repeated, and wait; `repeated` is how often it was repeated before."""
        with self._lock:
            self.count += 1
        self.stopping.wait(min(MAX_PAUSE, self.pause * 2**repeated) * random.uniform(0.5, 1))
