import hashlib
from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.fetch.image_files import ImageFiles
from gbif_webdataset.fetch.ledger import Outcome
from tests.support.outcomes import make_outcome
from tests.support.visits import photo


def outcome_of(path: str, data: bytes) -> Outcome:
    return make_outcome(path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def test_a_file_gets_its_name_once_it_is_complete(tmp_path: Path) -> None:
    files = ImageFiles(tmp_path, 0)
    temporary = files.make_temporary_path("d/a.jpg")
    temporary.write_bytes(b"data")
    assert temporary.parent == tmp_path / "d"
    files.copy_and_finish(temporary, "e/b.jpg")
    files.finish_file(temporary, "d/a.jpg")
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"d/a.jpg", "e/b.jpg"}


def test_a_cached_file_is_copied_only_if_it_is_an_image(tmp_path: Path) -> None:
    cache, files = tmp_path / "cache", ImageFiles(tmp_path / "images", 0)
    (cache / "d").mkdir(parents=True)
    (cache / "d/page.jpg").write_bytes(b"<html>an error page</html>")
    (cache / "d/photo.jpg").write_bytes(photo("a"))
    temporary = files.make_temporary_path("d/1.jpg")
    assert files.copy_cached(cache, ["d/missing.jpg", "d/page.jpg"], temporary) is None
    size_and_hash = len(photo("a")), hashlib.sha256(photo("a")).hexdigest()
    assert files.copy_cached(cache, ["d/missing.jpg", "d/photo.jpg"], temporary) == size_and_hash
    assert temporary.read_bytes() == photo("a")


@pytest.mark.parametrize("place", ["d/a.jpg", "d/.tmp-b.jpg"])
def test_a_download_is_copied_from_its_path_or_from_the_temporary_file_of_a_killed_run(
    tmp_path: Path, place: str
) -> None:
    files = ImageFiles(tmp_path, 0)
    (tmp_path / "d").mkdir()
    (tmp_path / place).write_bytes(photo("a"))
    found = files.copy_downloaded([outcome_of("d/a.jpg", photo("a"))], "d/b.jpg")
    assert found is not None
    assert found[0].read_bytes() == photo("a")


def test_a_changed_file_is_not_copied(tmp_path: Path) -> None:
    files = ImageFiles(tmp_path, 0)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.jpg").write_bytes(photo("x"))
    assert files.copy_downloaded([outcome_of("d/a.jpg", photo("a"))], "d/b.jpg") is None


def test_nothing_is_copied_to_a_disk_with_too_little_free_space(tmp_path: Path) -> None:
    files = ImageFiles(tmp_path, 10**18)
    with pytest.raises(FetchError, match=r"min.free.bytes"):
        files.copy_cached(tmp_path / "cache", ["d/a.jpg"], tmp_path / "target")
    with pytest.raises(FetchError, match=r"min.free.bytes"):
        files.copy_downloaded([make_outcome("d/a.jpg")], "d/b.jpg")
