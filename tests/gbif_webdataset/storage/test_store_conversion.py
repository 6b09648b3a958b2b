"""From files to packs and back, also if the process is killed in between."""

import contextlib
import hashlib
import os
from pathlib import Path

import pytest

from gbif_webdataset.storage import store_conversion
from gbif_webdataset.storage.file_store import FileStore
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.image_store import FILES, PACKED, create_store, is_packed
from gbif_webdataset.storage.store_conversion import convert_store
from tests.support.packs import pack_images, read_packed

IMAGES = {f"{folder}/{number}.jpg": f"{folder}{number}".encode() * 300 for folder in "de" for number in range(6)}
STORED = {path: hashlib.sha256(data).hexdigest() for path, data in IMAGES.items()}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for path, data in IMAGES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    return tmp_path


def convert(images: Path, kind: str) -> None:
    convert_store(images, 7, create_store(images, 7, kind, 10_000), STORED, STORED.keys())


def list_files(images: Path) -> set[str]:
    return {path.relative_to(images).as_posix() for path in images.rglob("*") if path.is_file()}


def test_files_become_packs_and_packs_become_files(images: Path) -> None:
    convert(images, PACKED)
    assert read_packed(images, 7) == IMAGES
    assert all(name.startswith("chunk-00007") for name in list_files(images))
    assert not (images / "d").exists()
    convert(images, FILES)
    assert list_files(images) == IMAGES.keys()
    assert {path: FileStore(images).read(path) for path in IMAGES} == IMAGES
    assert not is_packed(images, 7)
    assert not (images / "chunk-00007").exists()


def test_a_store_of_the_same_kind_is_not_changed(images: Path) -> None:
    before = list_files(images)
    convert(images, FILES)
    assert list_files(images) == before


class KilledError(BaseException):
    """The process was killed."""


def kill_at(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Raise KilledError at a step: when files are synced, deleted or renamed."""
    left = iter(range(steps))

    def count(original: object) -> object:
        def step(*arguments: object, **options: object) -> object:
            if next(left, None) is None:
                raise KilledError
            return original(*arguments, **options)  # type: ignore[operator]

        return step

    for name in ("fsync", "sync"):
        monkeypatch.setattr(os, name, count(getattr(os, name)))
    for name in ("unlink", "replace"):
        monkeypatch.setattr(Path, name, count(getattr(Path, name)))


@pytest.mark.parametrize("steps", range(0, 40, 3))
@pytest.mark.parametrize("kind", [PACKED, FILES])
def test_a_kill_at_any_step_loses_no_image(
    images: Path, monkeypatch: pytest.MonkeyPatch, kind: str, steps: int
) -> None:
    monkeypatch.setattr(store_conversion, "BATCH_BYTES", 2_000)
    if kind == FILES:
        convert(images, PACKED)
    with monkeypatch.context() as patch:
        kill_at(patch, steps)
        with contextlib.suppress(KilledError):
            convert(images, kind)
    reader = ImageReader(images)
    reader.find_places(list(IMAGES))
    assert {path: reader.read(path) for path in IMAGES} == IMAGES
    for end in (kind, PACKED, FILES):
        convert(images, end)
        reader = ImageReader(images)
        reader.find_places(list(IMAGES))
        assert {path: reader.read(path) for path in IMAGES} == IMAGES
    assert list_files(images) == IMAGES.keys()


def test_files_that_belong_to_another_chunk_are_copied_and_kept(images: Path) -> None:
    own = {path for path in IMAGES if path.startswith("d/")}
    convert_store(images, 7, create_store(images, 7, PACKED, 10_000), STORED, own)
    assert read_packed(images, 7) == IMAGES
    assert {name for name in list_files(images) if name.startswith("e/")} == IMAGES.keys() - own


def test_a_copy_of_another_chunks_image_does_not_replace_its_file(tmp_path: Path) -> None:
    pack_images(tmp_path, 7, {"d/a.jpg": b"old", "d/b.jpg": b"b"})
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.jpg").write_bytes(b"new")
    convert_store(tmp_path, 7, create_store(tmp_path, 7, FILES, 1), {}, {"d/b.jpg"})
    assert {name: (tmp_path / name).read_bytes() for name in list_files(tmp_path)} == {
        "d/a.jpg": b"new",
        "d/b.jpg": b"b",
    }


def test_an_image_whose_pack_has_other_bytes_than_the_ledger_is_replaced_by_its_file(images: Path) -> None:
    pack_images(images, 7, {"d/0.jpg": b"of an earlier run", "d/1.jpg": IMAGES["d/1.jpg"]})
    (images / "d/1.jpg").write_bytes(b"damaged")
    convert(images, PACKED)
    assert read_packed(images, 7) == IMAGES
