"""Records the outcomes of a chunk while it is fetched."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from gbif_webdataset.fetch.attempts import Attempt, ImageUrl, RetryBacklog, count_backlog, is_same_failure
from gbif_webdataset.fetch.journal import Journal
from gbif_webdataset.fetch.ledger import Outcome, PackedOutcome, pack_outcome
from gbif_webdataset.terms.outcomes import PERMANENT_FAILURES


class OutcomeRecorder:
    """Writes the outcomes of a chunk to its journal, counts them, and keeps them for its ledger.

    `outcomes` are by image path. `counts` are by Status, or by FetchFailure for images that failed. `progress` is
    called with the counts after each image. `max_seconds` is the time limit of this run's attempts.
    """

    def __init__(self, journal: Journal, progress: Callable[[Counter[str]], None], max_seconds: float = 0.0) -> None:
        self.outcomes: dict[str, PackedOutcome] = {}
        self.counts: Counter[str] = Counter()
        self._journal, self._progress, self._max_seconds = journal, progress, max_seconds
        self._failures: dict[ImageUrl, tuple[str, Attempt]] = {}
        self._earlier_failures: dict[str, tuple[Outcome, Attempt]] = {}
        self._lock = threading.Lock()

    @property
    def attempts(self) -> dict[ImageUrl, Attempt]:
        """The last attempt of each image that failed and may be retried."""
        return {image: attempt for image, (_, attempt) in self._failures.items()}

    @property
    def backlog(self) -> RetryBacklog:
        """The images that may succeed in a later run."""
        return count_backlog(self._failures.values())

    def keep(self, outcome: Outcome, attempt: Attempt | None = None) -> None:
        """Keep an outcome of an earlier run, which is in the ledger or the journal already; `attempt` of a failure."""
        self.outcomes[outcome.image_path] = pack_outcome(outcome)
        self.counts[outcome.error or outcome.status] += 1
        if attempt and outcome.error not in PERMANENT_FAILURES:
            self._failures[outcome.image_path, outcome.requested_url] = outcome.error, attempt
        self._progress(self.counts)

    def note_earlier_failure(self, outcome: Outcome, attempt: Attempt) -> None:
        """Note that an image which this run retries failed in an earlier run."""
        self._earlier_failures[outcome.image_path] = outcome, attempt

    def record(self, outcome: Outcome) -> None:
        """Record an outcome of this run. If an image fails as in an earlier run, the ledger keeps the earlier outcome.

        Then the ledger keeps its bytes, and later stages need not run again. Many threads may record.
        """
        self._journal.append(outcome)
        attempt = None if outcome.has_bytes else Attempt(time.time(), 1, self._max_seconds)
        earlier = self._earlier_failures.get(outcome.image_path)
        if attempt and earlier and is_same_failure(earlier[0], outcome):
            attempt = attempt.after(earlier[1], is_repeated=earlier[0].error == outcome.error)
            outcome = earlier[0]
        with self._lock:
            self.keep(outcome, attempt)
