"""Records the outcomes of a chunk while it is fetched."""

import threading
from collections import Counter
from collections.abc import Callable

from gbif_webdataset.fetch.image_response import HOST_FAILURES
from gbif_webdataset.fetch.journal import Journal
from gbif_webdataset.fetch.ledger import Outcome, PackedOutcome, pack_outcome
from gbif_webdataset.terms.outcomes import FetchFailure


class OutcomeRecorder:
    """Writes the outcomes of a chunk to its journal, counts them, and keeps them for its ledger.

    `outcomes` are by image path. `counts` are by Status, or by FetchFailure for images that failed. `progress` is
    called with the counts after each image.
    """

    def __init__(self, journal: Journal, progress: Callable[[Counter[str]], None]) -> None:
        self.outcomes: dict[str, PackedOutcome] = {}
        self.counts: Counter[str] = Counter()
        self._journal, self._progress = journal, progress
        self._earlier_failures: dict[str, Outcome] = {}
        self._lock = threading.Lock()

    def keep(self, outcome: Outcome) -> None:
        """Keep an outcome of an earlier run, which is in the ledger or the journal already."""
        self.outcomes[outcome.image_path] = pack_outcome(outcome)
        self.counts[outcome.error or outcome.status] += 1
        self._progress(self.counts)

    def note_earlier_failure(self, outcome: Outcome) -> None:
        """Note that an image which this run retries failed in an earlier run."""
        self._earlier_failures[outcome.image_path] = outcome

    def record(self, outcome: Outcome) -> None:
        """Record an outcome of this run. If an image fails as in an earlier run, its earlier outcome is kept.

        Then the ledger keeps its bytes, and later stages need not run again. Many threads may record.
        """
        earlier = self._earlier_failures.get(outcome.image_path)
        if earlier and _is_same_failure(earlier, outcome):
            outcome = earlier
        self._journal.append(outcome)
        with self._lock:
            self.keep(outcome)


def _is_same_failure(earlier: Outcome, outcome: Outcome) -> bool:
    """Whether two failures mean the same.

    Of a host that is down, some images fail because of the host and others because it was abandoned. Chance decides
    which, so the two kinds count as the same.
    """
    errors = {earlier.error, outcome.error}
    if FetchFailure.HOST_UNAVAILABLE in errors and errors <= HOST_FAILURES | {FetchFailure.HOST_UNAVAILABLE}:
        return True
    return (earlier.error, earlier.http_status) == (outcome.error, outcome.http_status)
