from pathlib import Path

import pytest

from gbif_webdataset.storage.file_store import FileStore
from gbif_webdataset.storage.image_store import (
    FILES,
    KEEP,
    PACKED,
    choose_kind,
    create_store,
    delete_from_stores,
    is_packed,
    open_store,
)
from gbif_webdataset.storage.pack_store import PackStore
from tests.support.packs import pack_images, read_files, read_packed


def test_a_dataset_keeps_its_kind_and_a_new_one_gets_files(tmp_path: Path) -> None:
    assert choose_kind(tmp_path, KEEP) == FILES
    pack_images(tmp_path, 3, {})
    assert choose_kind(tmp_path, KEEP) == PACKED
    assert [choose_kind(tmp_path, kind) for kind in (FILES, PACKED)] == [FILES, PACKED]


def test_a_chunk_is_packed_if_it_has_an_index_or_packs(tmp_path: Path) -> None:
    pack_images(tmp_path, 3, {"d/a.jpg": b"a"})
    assert [is_packed(tmp_path, chunk) for chunk in (2, 3)] == [False, True]
    assert isinstance(open_store(tmp_path, 3), PackStore)
    assert isinstance(open_store(tmp_path, 2), FileStore)
    (tmp_path / "chunk-00003.idx").unlink()
    assert is_packed(tmp_path, 3)
    (tmp_path / "chunk-00004").mkdir()
    (tmp_path / "chunk-00004/x.jpg").touch()  # of a dataset whose key is chunk-00004
    assert not is_packed(tmp_path, 4)


@pytest.mark.parametrize(("kind", "store"), [(FILES, FileStore), (PACKED, PackStore)])
def test_a_store_of_each_kind_is_created(tmp_path: Path, kind: str, store: type) -> None:
    assert isinstance(create_store(tmp_path, 0, kind, 1_000), store)


def test_images_of_all_chunks_and_of_files_are_deleted(tmp_path: Path) -> None:
    for chunk in (0, 12):
        pack_images(tmp_path, chunk, {f"d/{chunk}.jpg": b"%d of the images" % chunk, f"d/{chunk}_1.jpg": b"kept" * 900})
    pack_images(tmp_path, 0, {"d/12.jpg": b"another copy"})
    (tmp_path / "e").mkdir()
    (tmp_path / "e/a.jpg").write_bytes(b"a file")
    delete_from_stores(tmp_path, ["d/12.jpg", "e/a.jpg", "e/missing.jpg"], 10_000)
    assert read_packed(tmp_path, 0).keys() == {"d/0.jpg", "d/0_1.jpg"}
    assert read_packed(tmp_path, 12).keys() == {"d/12_1.jpg"}
    left = read_files(tmp_path)
    assert b"0 of the images" in left
    assert all(data not in left for data in (b"12 of the images", b"another copy", b"a file"))
