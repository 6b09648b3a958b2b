from pathlib import Path

import pytest

from gbif_webdataset.storage.file_store import FileStore
from gbif_webdataset.storage.image_store import (
    FILES,
    KEEP,
    PACKED,
    choose_chunk_kind,
    choose_kind,
    create_store,
    is_packed,
    open_store,
)
from gbif_webdataset.storage.pack_store import PackStore
from tests.support.packs import pack_images


def test_a_dataset_keeps_its_kind_and_a_new_one_gets_files(tmp_path: Path) -> None:
    assert choose_kind(tmp_path, KEEP) == FILES
    pack_images(tmp_path, 3, {})
    assert choose_kind(tmp_path, KEEP) == PACKED
    assert [choose_kind(tmp_path, kind) for kind in (FILES, PACKED)] == [FILES, PACKED]


def test_a_dataset_is_packed_although_an_index_is_missing(tmp_path: Path) -> None:
    pack_images(tmp_path, 3, {"d/a.jpg": b"a"})
    (tmp_path / "chunk-00003.idx").unlink()
    assert choose_kind(tmp_path, KEEP) == PACKED


def test_a_chunk_keeps_its_kind_and_a_new_one_gets_that_of_the_dataset(tmp_path: Path) -> None:
    pack_images(tmp_path, 3, {"d/a.jpg": b"a"})
    (tmp_path / "d").mkdir()
    (tmp_path / "d/b.jpg").write_bytes(b"b")
    assert choose_chunk_kind(tmp_path, 0, KEEP, ["d/x.jpg", "d/b.jpg"]) == FILES
    assert choose_chunk_kind(tmp_path, 0, KEEP, ["d/x.jpg"]) == PACKED
    assert choose_chunk_kind(tmp_path, 3, KEEP, ["d/b.jpg"]) == PACKED
    assert choose_chunk_kind(tmp_path, 3, FILES, ["d/a.jpg"]) == FILES
    assert choose_chunk_kind(tmp_path, 0, PACKED, ["d/b.jpg"]) == PACKED


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
