import hashlib
from pathlib import Path

import pytest

from gbif_webdataset.audit.check_file import WHOLE_BYTES, Expected, check_file
from gbif_webdataset.terms.differences import Difference


@pytest.mark.parametrize("size", [0, 1, 3_000, WHOLE_BYTES + 1])
def test_a_file_with_the_same_bytes_has_no_difference(tmp_path: Path, size: int) -> None:
    data = b"x" * size
    (tmp_path / "a").write_bytes(data)
    assert check_file(tmp_path, Expected("a", "Task", size, hashlib.sha256(data).hexdigest())) is None
    assert check_file(tmp_path, Expected("a", "Task", None, None)) is None


@pytest.mark.parametrize("size", [100, WHOLE_BYTES + 1])
def test_each_difference_has_its_kind_and_names_the_record(tmp_path: Path, size: int) -> None:
    whole = b"x" * size
    expected = Expected("a", "Task", size, hashlib.sha256(whole).hexdigest())
    for data, kind, detail in (
        (whole[:-1] + b"y", Difference.CHANGED, "another SHA-256"),
        (bytes(size), Difference.CHANGED, "another SHA-256"),
        (whole[:50], Difference.TRUNCATED, f"50 of {size} bytes"),
        (b"", Difference.TRUNCATED, f"0 of {size} bytes"),
        (whole + b"y", Difference.CHANGED, f"{size + 1} of {size} bytes"),
    ):
        (tmp_path / "a").write_bytes(data)
        assert check_file(tmp_path, expected) == ("a", kind, "Task", detail)


def test_a_missing_file_and_a_folder_in_its_place_are_reported(tmp_path: Path) -> None:
    expected = Expected("a", "Task", 1, "ab")
    assert check_file(tmp_path, expected) == ("a", "missing", "Task", "")
    assert check_file(tmp_path, Expected("a/b", "Task", 1, "ab")) == ("a/b", "missing", "Task", "")
    (tmp_path / "a").mkdir()
    assert check_file(tmp_path, expected) == ("a", "unreadable", "Task", "a folder is in its place")
