from pathlib import Path

import pytest

from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.pack_places import find_places
from gbif_webdataset.storage.pack_store import PackStore
from tests.support.packs import pack_images


def place_of(images: Path, path: str) -> str:
    return "/".join(map(str, find_places(images, [path])[path][0]))


def add_file(images: Path, path: str, data: bytes) -> None:
    (images / path).parent.mkdir(parents=True, exist_ok=True)
    (images / path).write_bytes(data)


@pytest.mark.parametrize("is_prepared", [True, False])
def test_images_in_packs_and_in_files_are_read(tmp_path: Path, is_prepared: bool) -> None:
    pack_images(tmp_path, 3, {"d/a.jpg": b"packed"})
    add_file(tmp_path, "d/b.jpg", b"file")
    reader = ImageReader(tmp_path)
    if is_prepared:
        reader.find_places(["d/a.jpg", "d/b.jpg", "d/c.jpg"])
    assert (reader.read("d/a.jpg"), reader.read("d/b.jpg")) == (b"packed", b"file")
    assert reader.read("d/a.jpg", place_of(tmp_path, "d/a.jpg")) == b"packed"
    with pytest.raises(FileNotFoundError):
        reader.read("d/c.jpg")
    assert [reader.has_image(f"d/{name}.jpg") for name in "abc"] == [True, True, False]


def test_a_place_in_a_pack_that_was_written_again_is_searched(tmp_path: Path) -> None:
    pack_images(tmp_path, 3, {"d/a.jpg": b"a", "d/b.jpg": b"b"})
    place = place_of(tmp_path, "d/b.jpg")
    with PackStore(tmp_path, 3).writing() as store:
        store.delete(["d/a.jpg"])
        store.tidy()
    assert not (tmp_path / "chunk-00003/000.tar").exists()
    assert ImageReader(tmp_path).read("d/b.jpg", place) == b"b"


def test_an_image_whose_pack_became_files_is_read_from_its_file(tmp_path: Path) -> None:
    pack_images(tmp_path, 3, {"d/a.jpg": b"a"})
    place = place_of(tmp_path, "d/a.jpg")
    with PackStore(tmp_path, 3).writing() as store:
        store.writer.delete_pack(0)
    add_file(tmp_path, "d/a.jpg", b"a")
    assert ImageReader(tmp_path).read("d/a.jpg", place) == b"a"
