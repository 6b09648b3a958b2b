import time
from collections import Counter
from pathlib import Path

import pytest

from gbif_webdataset.fetch.attempts import Attempt
from gbif_webdataset.fetch.journal import Journal, read_journal
from gbif_webdataset.fetch.ledger import COLUMNS, Outcome
from gbif_webdataset.fetch.outcome_recorder import OutcomeRecorder
from tests.support.outcomes import make_outcome


def failed(error: str, fetched_at: str, http_status: int | None = None) -> Outcome:
    return make_outcome(status="failed", error=error, fetched_at=fetched_at, http_status=http_status)


def test_outcomes_are_counted_written_to_the_journal_and_reported(tmp_path: Path) -> None:
    reported: list[Counter[str]] = []
    with Journal(tmp_path / "journal") as journal:
        recorder = OutcomeRecorder(journal, lambda counts: reported.append(counts.copy()))
        recorder.keep(make_outcome("d/a.jpg"))
        recorder.record(make_outcome("d/b.jpg", status="failed", error="not-found"))
    assert recorder.counts == reported[-1] == {"fetched": 1, "not-found": 1}
    assert [counts.total() for counts in reported] == [1, 2]
    assert set(recorder.outcomes) == {"d/a.jpg", "d/b.jpg"}
    assert [outcome.image_path for outcome in read_journal(tmp_path / "journal")] == ["d/b.jpg"]


@pytest.mark.parametrize(
    ("earlier", "later", "recorded"),
    [
        (failed("timeout", "2026-01-01"), failed("timeout", "2026-01-02"), "2026-01-01"),
        (failed("timeout", "2026-01-01"), failed("connection", "2026-01-02"), "2026-01-02"),
        (failed("server-error", "2026-01-01", 500), failed("server-error", "2026-01-02", 502), "2026-01-02"),
        (failed("timeout", "2026-01-01"), failed("host-unavailable", "2026-01-02"), "2026-01-01"),
        (failed("not-found", "2026-01-01"), failed("host-unavailable", "2026-01-02"), "2026-01-02"),
    ],
)
def test_an_image_that_fails_as_before_keeps_its_earlier_outcome(
    tmp_path: Path, earlier: Outcome, later: Outcome, recorded: str
) -> None:
    with Journal(tmp_path / "journal") as journal:
        recorder = OutcomeRecorder(journal, lambda counts: None)
        recorder.note_earlier_failure(earlier, Attempt(0.0))
        recorder.record(later)
    (packed,) = recorder.outcomes.values()
    assert packed[COLUMNS.names.index("fetched_at")] == recorded
    assert [outcome.fetched_at for outcome in read_journal(tmp_path / "journal")] == [later.fetched_at]


def test_the_last_attempt_is_noted_with_its_runs_and_its_limit(tmp_path: Path) -> None:
    outcome = failed("forbidden", "2026-01-01", 403)
    with Journal(tmp_path / "journal") as journal:
        recorder = OutcomeRecorder(journal, lambda counts: None, max_seconds=7)
        recorder.note_earlier_failure(outcome, Attempt(0.0))
        begun = time.time()
        recorder.record(outcome)
        recorder.record(make_outcome("d/b.jpg", status="failed", error="not-found"))
    (attempt,) = recorder.attempts.values()
    assert begun <= attempt.at <= time.time()
    assert (attempt.runs, attempt.max_seconds) == (2, 7)
    assert recorder.backlog.images == 0, "a refusal is final once a later run has retried it"
