from pathlib import Path

import pytest

from gbif_webdataset.fetch.attempts import Attempt, RetryBacklog, count_backlog, load_attempts, save_attempts
from tests.support.outcomes import make_outcome


def test_attempts_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    attempts = {("d/\u00e9.jpg", "http://a.org/a"): Attempt(1_800_000_000.5, 3, 300.0)}
    save_attempts(tmp_path, 7, attempts)
    assert load_attempts(tmp_path, 7) == attempts
    assert load_attempts(tmp_path, 8) == {}
    save_attempts(tmp_path, 7, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        *(b"", b"\0\0\0", b"[1, 2]", b'{"a": 1}', b"null", b'["d/a.jpg", "u", "x", 1, 1]', b"\xff\xfe"),
        *(b'["d/b.jpg", "u", NaN, 1, 1]', b'["d/b.jpg", "u", 1, Infinity, 1]', b'["d/b.jpg", "u", 1, 1, 1, "newer"]'),
        *(b'["d/b.jpg", "u", 1' + b"0" * 999 + b", 1, 1]", b"[" * 100_000),
    ],
)
def test_damaged_lines_are_no_attempts(tmp_path: Path, damage: bytes) -> None:
    attempts = {("d/a.jpg", "http://a.org/a"): Attempt(1.0)}
    save_attempts(tmp_path, 0, attempts)
    path = tmp_path / "chunk-00000.attempts"
    path.write_bytes(damage + b"\n" + path.read_bytes())
    assert load_attempts(tmp_path, 0) == attempts


def test_without_a_file_the_ledger_shows_when_an_image_was_attempted() -> None:
    assert Attempt.of_outcome(make_outcome(fetched_at="1970-01-01T00:01:00Z")) == Attempt(60.0)
    assert Attempt.of_outcome(make_outcome(fetched_at=None)) == Attempt(0.0)


def test_the_backlog_has_what_a_later_run_may_download() -> None:
    failures = [
        ("timeout", Attempt(30.0)),
        ("http-418", Attempt(20.0)),
        ("forbidden", Attempt(40.0, runs=1)),
        ("forbidden", Attempt(10.0, runs=2)),
        ("not-found", Attempt(10.0)),
        ("too-slow", Attempt(10.0, max_seconds=9.0)),
        ("too-slow", Attempt(10.0, max_seconds=5.0)),
    ]
    assert count_backlog(failures) == RetryBacklog(images=3, oldest=20.0, slow_images=2, slow_limit=5.0)
    assert count_backlog([]) == RetryBacklog()


def test_the_record_of_an_older_version_has_a_backlog_from_its_counts() -> None:
    counts = {"fetched": 9, "not-found": 2, "timeout": 3, "http-202": 1, "forbidden": 4, "too-slow": 5}
    backlog = RetryBacklog.from_results({"outcomes": counts}, 77.0)
    assert backlog == RetryBacklog(images=8, oldest=77.0, slow_images=5)
    assert RetryBacklog.from_results({"outcomes": counts, "retries": backlog.to_results()}, 99.0) == backlog


def test_the_record_of_a_newer_version_may_have_more_numbers() -> None:
    values = {**RetryBacklog(3, 5.0).to_results(), "hosts": 7}
    assert RetryBacklog.from_results({"retries": values}, 1.0) == RetryBacklog(3, 5.0)
