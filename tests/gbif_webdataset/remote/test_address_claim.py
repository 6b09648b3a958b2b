import shutil
from pathlib import Path

import pytest

from gbif_webdataset.remote.address_claim import CLAIM, Claim, read_claim, write_claim


def test_a_claim_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_claim(tmp_path) is None
    assert read_claim(tmp_path / "no" / "folder") is None
    claim = Claim("1", str(tmp_path), "s3://bucket/moths")
    write_claim(tmp_path, claim)
    assert read_claim(tmp_path) == claim
    (tmp_path / CLAIM).write_text("{}")
    assert read_claim(tmp_path) is None


@pytest.mark.parametrize("owner", [b"", b"[]", b'"text"', b"{}", b'{"id": "2"}', b"\xff"])
def test_other_contents_are_not_those_of_a_claim(owner: bytes) -> None:
    claim = Claim("1", "/data/moths")
    assert not claim.has_written(owner)
    assert claim.has_written(claim.owner)


def test_a_copy_is_told_from_a_folder_that_was_moved_or_has_another_path(tmp_path: Path) -> None:
    original, copy = tmp_path / "a", tmp_path / "b"
    original.mkdir()
    claim = Claim.new(original)
    write_claim(original, claim)
    assert claim.find_original(original) is None
    shutil.copytree(original, copy)
    assert claim.find_original(copy) == original
    (tmp_path / "link").symlink_to(original)
    assert claim.find_original(tmp_path / "link") is None
    write_claim(original, Claim.new(original))
    assert claim.find_original(copy) is None
    shutil.rmtree(original)
    assert claim.find_original(copy) is None
