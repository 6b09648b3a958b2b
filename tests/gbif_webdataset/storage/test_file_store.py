import hashlib
from pathlib import Path

import pytest

from gbif_webdataset.storage.file_store import FileStore


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_file_gets_its_name_once_it_is_complete(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with store.new_file("d/a.jpg") as file:
        file.write(b"data")
        assert list_files(tmp_path) == {"d/.tmp-a.jpg"}
        store.put("e/b.jpg", file, "")
        store.put("d/a.jpg", file, "")
    assert list_files(tmp_path) == {"d/a.jpg", "e/b.jpg"}
    assert store.read("d/a.jpg") == store.read("e/b.jpg") == b"data"
    assert (store.size("d/a.jpg"), store.size("d/c.jpg"), store.size("d/a.jpg/x.jpg")) == (4, None, None)


def test_a_file_that_is_not_stored_leaves_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with pytest.raises(ValueError, match="failed"), store.new_file("d/a.jpg") as file:
        file.write(b"half")
        raise ValueError("failed")
    assert list_files(tmp_path) == set()


@pytest.mark.parametrize("place", ["d/a.jpg", "d/.tmp-b.jpg"])
def test_an_image_is_copied_from_its_path_or_from_the_temporary_file_of_a_killed_run(
    tmp_path: Path, place: str
) -> None:
    store = FileStore(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / place).write_bytes(b"photo")
    assert not store.stage_copy("d/x.jpg", "d/c.jpg", sha256_of(b"photo"))
    assert store.stage_copy("d/a.jpg", "d/b.jpg", sha256_of(b"photo"))
    assert list(store.finish_copies()) == ["d/b.jpg"]
    assert store.read("d/b.jpg") == b"photo"


def test_images_change_places(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    (tmp_path / "d").mkdir()
    for name in "ab":
        (tmp_path / f"d/{name}.jpg").write_text(name)
    assert store.stage_copy("d/a.jpg", "d/b.jpg", sha256_of(b"a"))
    assert store.stage_copy("d/b.jpg", "d/a.jpg", sha256_of(b"b"))
    assert list(store.finish_copies()) == ["d/b.jpg", "d/a.jpg"]
    assert (store.read("d/a.jpg"), store.read("d/b.jpg")) == (b"b", b"a")


def test_images_are_listed_without_temporary_files_and_deleted(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for name in ("d/a.jpg", "d/b.jpg", "d/.tmp-c.jpg", "chunk-00001.idx", "chunk-00001/000.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert list(store.list_paths()) == ["d/a.jpg", "d/b.jpg"]
    store.delete(["d/a.jpg", "d/missing.jpg"])
    store.tidy()
    assert list(store.list_paths()) == ["d/b.jpg"]
    assert store.sort(["z", "a"]) == [0, 1]
