from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.fetch.earlier_outcomes import EarlierOutcomes, is_kept
from gbif_webdataset.fetch.journal import Journal, journal_path
from gbif_webdataset.fetch.ledger import make_outcome_table
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


@pytest.mark.parametrize(
    ("error", "retry_failed", "kept"),
    [
        ("not-found", "may-pass", True),
        ("not-found", "all", False),
        ("timeout", "may-pass", False),
        ("timeout", "none", True),
        ("http-418", "may-pass", True),
    ],
)
def test_retry_failed_decides_which_failures_are_kept(
    tmp_path: Path, error: str, retry_failed: str, kept: bool
) -> None:
    options = replace(OPTIONS, retry_failed=retry_failed)
    assert is_kept(make_outcome(status="failed", error=error), tmp_path, options) is kept


@pytest.mark.parametrize(("data", "kept"), [(b"abc", True), (b"ab", False), (None, False)])
def test_a_download_is_kept_if_its_file_has_the_recorded_size(tmp_path: Path, data: bytes | None, kept: bool) -> None:
    (tmp_path / "d").mkdir()
    if data is not None:
        (tmp_path / "d/a.jpg").write_bytes(data)
    assert is_kept(make_outcome("d/a.jpg"), tmp_path, OPTIONS) is kept
