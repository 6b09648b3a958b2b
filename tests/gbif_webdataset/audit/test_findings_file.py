from pathlib import Path

import pytest

from gbif_webdataset.audit.check_file import Finding
from gbif_webdataset.audit.findings_file import FindingsFile
from gbif_webdataset.errors import BusyError

FINDINGS = [Finding("images/\u00e9.jpg", "changed", "FetchChunk-00000", "x"), Finding("a", "missing")]


def test_findings_are_read_back_by_part_and_by_a_later_audit(tmp_path: Path) -> None:
    path = tmp_path / ".made" / "audit.progress"
    with FindingsFile(path) as found:
        found.add_part("tables", "1", FINDINGS)
        found.add_part("images", "1", [])
        assert list(found.read_part("tables", "1")) == FINDINGS
        assert not found.has_part("tables", "2")
    with FindingsFile(path) as found:
        assert found.has_part("tables", "1")
        found.add_part("shards", "1", FINDINGS[:1])
        assert [list(found.read_part(name, "1")) for name in ("images", "shards", "tables")] == [
            [],
            FINDINGS[:1],
            FINDINGS,
        ]
        found.delete()
    assert not path.exists()


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_that_a_kill_left_incomplete_is_read_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "audit.progress"
    with FindingsFile(path) as found:
        found.add_part("tables", "1", FINDINGS)
        found.add_part("images", "1", FINDINGS)
    path.write_bytes(path.read_bytes()[:-cut])
    with FindingsFile(path) as found:
        assert found.has_part("tables", "1")
        assert not found.has_part("images", "1")
        found.add_part("images", "1", [])
        assert list(found.read_part("images", "1")) == []


def test_a_second_audit_is_refused_and_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "audit.progress"
    with FindingsFile(path) as found:
        found.add_part("tables", "1", FINDINGS)
        with path.open("ab") as file:
            file.write(b"half a line")
        with pytest.raises(BusyError, match="another audit is reading this dataset"), FindingsFile(path):
            pass
        assert path.read_bytes().endswith(b"half a line")
    with FindingsFile(path) as found:
        assert list(found.read_part("tables", "1")) == FINDINGS


@pytest.mark.parametrize("content", [b"", bytes(100), b"\xff\n", b"[]\n", b'{"part": 1}\n'])
def test_a_damaged_file_has_no_findings(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "audit.progress"
    path.write_bytes(content)
    with FindingsFile(path) as found:
        assert not found.has_part("tables", "1")


def test_a_changed_finding_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "audit.progress"
    with FindingsFile(path) as found:
        found.add_part("tables", "1", FINDINGS)
    path.write_bytes(path.read_bytes().replace(b"missing", b"changed"))
    with FindingsFile(path) as found:
        assert not found.has_part("tables", "1")
