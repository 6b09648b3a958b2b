from collections import Counter
from pathlib import Path

import pytest

from gbif_webdataset.fetch.journal import Journal, read_journal
from gbif_webdataset.fetch.ledger import Outcome
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
        recorder.note_earlier_failure(earlier)
        recorder.record(later)
    assert [outcome.fetched_at for outcome in read_journal(tmp_path / "journal")] == [recorded]
