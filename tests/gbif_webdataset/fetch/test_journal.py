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
