from pathlib import Path

import pytest

from gbif_webdataset.errors import BusyError
from gbif_webdataset.storage import index_file
from gbif_webdataset.storage.index_file import IndexFile
from gbif_webdataset.storage.pack_index import PackedImage, find_damaged_line

IMAGES = [PackedImage(f"d/{name}.jpg", 0, 512, 1, "ab" * 32) for name in "abc"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chunk-00000.idx"


def open_index(path: Path) -> IndexFile:
    return IndexFile(path, lambda: {0: 1_000})


def add(path: Path, *images: PackedImage) -> None:
    index = open_index(path)
    with index.writing():
        for image in images:
            index.add(image)


def listed(path: Path) -> list[str]:
    return list(open_index(path).content.images)


def test_lines_are_added_and_removed_also_in_memory(path: Path) -> None:
    index = open_index(path)
    assert index.content.images == {}
    with index.writing():
        for image in IMAGES:
            index.add(image)
        index.remove(IMAGES[:2])
        index.sync()
        assert list(index.content.images) == listed(path) == ["d/c.jpg"]
    index.forget()
    assert list(index.content.images) == ["d/c.jpg"]


def test_an_incomplete_line_is_cut_off_before_another_is_added(path: Path) -> None:
    add(path, IMAGES[0])
    with path.open("ab") as file:
        file.write(b"d/b.jpg\t000\t51")
    add(path, IMAGES[2])
    assert listed(path) == ["d/a.jpg", "d/c.jpg"]
    assert find_damaged_line(path) is None


def test_one_process_at_a_time_writes(path: Path) -> None:
    with (
        open_index(path).writing(),
        pytest.raises(BusyError, match="another process is writing images of this chunk; wait until it ends"),
        open_index(path).writing(),
    ):
        pass
    with open_index(path).writing():
        pass


def test_what_another_process_has_written_since_is_read_before_writing(path: Path) -> None:
    add(path, IMAGES[0])
    index = open_index(path)
    assert list(index.content.images) == ["d/a.jpg"]
    add(path, IMAGES[1])
    with index.writing():
        assert list(index.content.images) == ["d/a.jpg", "d/b.jpg"]


def test_after_a_full_disk_the_index_is_as_before_and_continues(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_disk(handle: int, data: bytes, offset: int) -> int:
        if len(data) < 50:
            raise OSError(28, "No space left on device")
        return original(handle, data[:30], offset)

    original = index_file.os.pwrite
    index = open_index(path)
    with index.writing():
        index.add(IMAGES[0])
        before = path.read_bytes()
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(index_file.os, "pwrite", fill_disk)
            index.add(IMAGES[1])
        assert path.read_bytes() == before
        index.add(IMAGES[2])
    assert listed(path) == ["d/a.jpg", "d/c.jpg"]
