import json
from pathlib import Path

import pytest

from gbif_webdataset.errors import BusyError
from gbif_webdataset.fetch.journal import Journal, read_journal
from tests.support.outcomes import make_outcome


def test_a_line_is_in_the_file_before_the_journal_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "fetched" / "chunk-00000.journal"
    with Journal(path) as journal:
        journal.append(make_outcome())
        assert list(read_journal(path)) == [make_outcome()]
        journal.append(make_outcome("d/\u00fc\n.jpg", 'http://a.org/"', error="not-found", status="failed"))
    assert [each.image_path for each in read_journal(path)] == ["d/a.jpg", "d/\u00fc\n.jpg"]


def test_only_one_process_at_a_time_can_open_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path), pytest.raises(BusyError, match="another process"), Journal(path):
        pass
    with Journal(path):
        pass


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_an_incomplete_last_line_is_ignored_and_then_removed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.append(make_outcome("d/a.jpg"))
        journal.append(make_outcome("d/b.jpg"))
    path.write_bytes(path.read_bytes()[:-cut])
    assert [each.image_path for each in read_journal(path)] == ["d/a.jpg"]
    with Journal(path) as journal:
        journal.append(make_outcome("d/c.jpg"))
    assert [each.image_path for each in read_journal(path)] == ["d/a.jpg", "d/c.jpg"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_missing_journal_has_no_outcome(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "journal")) == []


@pytest.mark.parametrize(
    "damage",
    [
        *(b"", b"\0" * 200, b"\xff\xfe", b"null", b"3", b"{}", b"[]", b'"text"', b"[" * 100_000),
        b'["d/x.jpg", "http://a.org/x", "fetched"',
        b'["d/x.jpg", "http://a.org/x", 200]',
        b'["d/x.jpg", "http://a.org/x", "borrowed"]',
        b'["d/x.jpg", "http://a.org/x"]',
        b'["d/x.jpg", null, "fetched"]',
        b'["d/x.jpg", "http://a.org/x", "fetched", "", 200, 1, "many"]',
        b'["d/x.jpg", "u", "fetched", "", 200, 1, 3, "00", null, null, null, "u", "newer"]',
    ],
)
def test_damaged_lines_and_those_of_a_newer_version_are_no_outcomes(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "chunk-00000.journal"
    outcomes = [make_outcome(f"d/{number}.jpg") for number in range(2)]
    with Journal(path) as journal:
        for outcome in outcomes:
            journal.append(outcome)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage + b"\n" + second)
    assert list(read_journal(path)) == outcomes


def test_temporary_failures_are_deleted_on_request_and_all_other_outcomes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    fetched, missing = make_outcome("d/a.jpg"), make_outcome("d/b.jpg", status="failed", error="not-found")
    failed = make_outcome("d/c.jpg", status="failed", error="connection")
    with Journal(path) as journal:
        for outcome in (fetched, failed, missing, failed):
            journal.append(outcome)
        assert journal.drop_temporary_failures()
        journal.append(fetched)
    assert list(read_journal(path)) == [fetched, missing, fetched]
    path.unlink()
    with Journal(path) as journal:
        journal.append(failed)
        assert not journal.drop_temporary_failures()
    assert list(read_journal(path)) == []
