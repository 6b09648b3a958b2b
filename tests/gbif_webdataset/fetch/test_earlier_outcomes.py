from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.fetch.attempts import Attempt
from gbif_webdataset.fetch.earlier_outcomes import EarlierOutcomes, has_whole_file, is_retried
from gbif_webdataset.fetch.journal import Journal, journal_path
from gbif_webdataset.fetch.ledger import make_outcome_table
from gbif_webdataset.storage.file_store import FileStore
from tests.support.fetch_run import OPTIONS
from tests.support.outcomes import make_outcome


def test_a_later_source_replaces_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "earlier").mkdir()
    for folder, code in (("earlier", "timeout"), (".", "connection")):
        pq.write_table(
            make_outcome_table([make_outcome(status="failed", error=code)]), tmp_path / folder / "chunk-00003.parquet"
        )
    earlier = EarlierOutcomes.load(tmp_path, 3).find("http://a.org/a", "d/a.jpg")
    assert earlier is not None
    assert earlier.error == "connection"
    with Journal(journal_path(tmp_path, 3)) as journal:
        journal.append(make_outcome())
    assert EarlierOutcomes.load(tmp_path, 3).find("http://a.org/a", "d/a.jpg") == make_outcome()
    assert EarlierOutcomes.load(tmp_path, 4).find("http://a.org/a", "d/a.jpg") is None


def test_the_downloads_of_a_url_are_found_at_every_path(tmp_path: Path) -> None:
    earlier = EarlierOutcomes()
    earlier.add(make_outcome("d/a.jpg"))
    earlier.add(make_outcome("d/b.jpg"))
    earlier.add(make_outcome("d/c.jpg", status="failed", error="timeout"))
    assert [each.image_path for each in earlier.find_downloaded("http://a.org/a")] == ["d/a.jpg", "d/b.jpg"]
    assert earlier.find_downloaded("http://a.org/b") == []
    assert earlier.find("http://a.org/a", "d/z.jpg") is None


def test_an_outcome_is_not_found_once_the_file_has_the_bytes_of_another_url() -> None:
    earlier = EarlierOutcomes()
    earlier.add(make_outcome("d/a.jpg", "http://a.org/a"))
    earlier.add(make_outcome("d/a.jpg", "http://a.org/b"))
    assert earlier.find("http://a.org/a", "d/a.jpg") is None
    assert earlier.find("http://a.org/b", "d/a.jpg") == make_outcome("d/a.jpg", "http://a.org/b")


PERMANENT = ["not-found", "gone", "http-451", "not-an-image", "bad-url"]
TEMPORARY = [
    "timeout",
    "tls",
    "bad-certificate",
    "too-many-redirects",
    "empty",
    "http-202",
    "http-418",
    "host-unavailable",
]
NOW = 1_800_000_000.0


def is_error_retried(error: str, attempt: Attempt | None = None, **changes: Any) -> bool:
    """Whether a run one hour after the attempt retries the image."""
    options = replace(OPTIONS, run_started=NOW + 3600.1, retry_after=3600, **changes)
    return is_retried(make_outcome(status="failed", error=error, bytes=None), attempt or Attempt(NOW), options)


@pytest.mark.parametrize("error", PERMANENT)
def test_a_permanent_failure_is_retried_only_if_all_are(error: str) -> None:
    assert not is_error_retried(error)
    assert is_error_retried(error, retry_failed="all")


@pytest.mark.parametrize("error", TEMPORARY)
def test_any_other_failure_is_retried_unless_none_is(error: str) -> None:
    assert is_error_retried(error)
    assert not is_error_retried(error, retry_failed="none")


@pytest.mark.parametrize("error", TEMPORARY)
def test_a_failure_is_not_retried_within_retry_after(error: str) -> None:
    assert not is_error_retried(error, Attempt(NOW + 1))
    assert is_error_retried(error, Attempt(NOW + 1), retry_failed="all")


@pytest.mark.parametrize("error", ["forbidden", "unauthorized"])
def test_a_refusal_is_retried_by_one_later_run(error: str) -> None:
    assert is_error_retried(error, Attempt(NOW, runs=1))
    assert not is_error_retried(error, Attempt(NOW, runs=2))


def test_a_slow_image_is_retried_at_once_with_a_higher_limit_and_otherwise_not() -> None:
    assert not is_error_retried("too-slow", Attempt(NOW, 1, OPTIONS.limits.max_seconds))
    assert is_error_retried("too-slow", Attempt(NOW + 3600, 1, OPTIONS.limits.max_seconds - 1))
    assert is_error_retried("too-slow", Attempt(NOW)), "its limit is not known"


def test_an_interrupted_run_counts_as_the_last_attempt_and_leaves_the_outcome_of_the_ledger(tmp_path: Path) -> None:
    first, again = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    in_ledger = make_outcome(status="failed", error="forbidden", fetched_at=first)
    pq.write_table(make_outcome_table([in_ledger]), tmp_path / "chunk-00000.parquet")
    with Journal(journal_path(tmp_path, 0)) as journal:
        journal.append(replace(in_ledger, fetched_at=again))
    earlier = EarlierOutcomes.load(tmp_path, 0)
    found = earlier.find("http://a.org/a", "d/a.jpg")
    assert found == in_ledger
    assert earlier.find_attempt(found) == Attempt(datetime.fromisoformat(again).timestamp(), runs=2)


@pytest.mark.parametrize(("data", "whole"), [(b"abc", True), (b"ab", False), (None, False)])
def test_a_file_is_whole_if_it_has_the_recorded_size(tmp_path: Path, data: bytes | None, whole: bool) -> None:
    (tmp_path / "d").mkdir()
    if data is not None:
        (tmp_path / "d/a.jpg").write_bytes(data)
    assert has_whole_file(make_outcome("d/a.jpg"), FileStore(tmp_path)) is whole


@pytest.mark.parametrize("error", ["changed-file", "missing-file"])
def test_an_image_that_create_webdataset_marked_is_always_fetched_again(error: str) -> None:
    marked, just_now = make_outcome(status="failed", error=error), Attempt(NOW)
    for retry in ("none", "may-pass", "all"):
        assert is_retried(marked, just_now, replace(OPTIONS, retry_failed=retry, retry_after=3600))
