import hashlib
import io
from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.fetch.image_files import ImageFiles
from gbif_webdataset.fetch.ledger import Outcome
from gbif_webdataset.storage.file_store import FileStore
from gbif_webdataset.storage.image_reader import ImageReader
from tests.support.outcomes import make_outcome
from tests.support.visits import photo


def outcome_of(path: str, data: bytes) -> Outcome:
    return make_outcome(path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def files_in(images: Path, min_free_bytes: int = 0) -> ImageFiles:
    return ImageFiles(FileStore(images), images, min_free_bytes)


def test_a_cached_file_is_copied_only_if_it_is_an_image(tmp_path: Path) -> None:
    cache, files = tmp_path / "cache", files_in(tmp_path / "images")
    (cache / "d").mkdir(parents=True)
    (cache / "d/page.jpg").write_bytes(b"<html>an error page</html>")
    (cache / "d/photo.jpg").write_bytes(photo("a"))
    target = io.BytesIO()
    assert files.copy_cached(ImageReader(cache), ["d/missing.jpg", "d/page.jpg"], target) is None
    size_and_hash = len(photo("a")), hashlib.sha256(photo("a")).hexdigest()
    assert files.copy_cached(ImageReader(cache), ["d/missing.jpg", "d/photo.jpg"], target) == size_and_hash
    assert target.getvalue() == photo("a")


def test_the_first_download_whose_bytes_are_there_is_copied(tmp_path: Path) -> None:
    files, present = files_in(tmp_path), outcome_of("d/b.jpg", photo("b"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.jpg").write_bytes(photo("x"))
    (tmp_path / "d/b.jpg").write_bytes(photo("b"))
    assert files.stage_copy([outcome_of("d/a.jpg", photo("a")), present], "d/c.jpg") == present
    assert list(files.store.finish_copies()) == ["d/c.jpg"]
    assert (tmp_path / "d/c.jpg").read_bytes() == photo("b")


def test_a_changed_file_is_not_copied(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.jpg").write_bytes(photo("x"))
    assert files.stage_copy([outcome_of("d/a.jpg", photo("a"))], "d/b.jpg") is None
    assert list(files.store.finish_copies()) == []


def test_nothing_is_copied_to_a_disk_with_too_little_free_space(tmp_path: Path) -> None:
    files = files_in(tmp_path, 10**18)
    with pytest.raises(FetchError, match=r"min.free.bytes"):
        files.copy_cached(ImageReader(tmp_path / "cache"), ["d/a.jpg"], io.BytesIO())
    with pytest.raises(FetchError, match=r"min.free.bytes"):
        files.stage_copy([make_outcome("d/a.jpg")], "d/b.jpg")
