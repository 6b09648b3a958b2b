from pathlib import Path

import pytest

from gbif_webdataset.storage.pack_files import DELETED, PackFiles, scan_spans


def open_files(folder: Path, pack_bytes: int = 10_000) -> PackFiles:
    folder.mkdir(exist_ok=True)
    files = PackFiles(folder, pack_bytes)
    files.begin(None)
    return files


def test_members_are_scanned_as_they_were_written(tmp_path: Path) -> None:
    files = open_files(tmp_path / "packs")
    images = [files.append(name, b"x" * size, "") for name, size in (("d/a.jpg", 1), ("é" * 80, 512), ("d/c.jpg", 700))]
    files.finish()
    spans = list(scan_spans(files.path(0)))
    assert [(span.name, span.start, span.offset, span.size, span.end) for span in spans] == [
        (image.path, image.start, image.offset, image.size, image.end) for image in images
    ]
    assert images[0].end == images[1].start
    assert files.measure(0) == images[2].end == files.path(0).stat().st_size - 1_024


def test_an_erased_member_has_a_name_that_readers_skip_and_its_bytes_are_zero(tmp_path: Path) -> None:
    files = open_files(tmp_path / "packs", 10_000_000)
    first, large = files.append("d/a.jpg", b"a" * 600, ""), files.append("ü" * 90, b"b" * 3_000_000, "")
    last = files.append("d/c.jpg", b"c", "")
    for image in (first, large):
        files.erase(image)
    files.finish()
    assert [(span.name, span.is_deleted) for span in scan_spans(files.path(0))] == [
        (DELETED, True),
        (DELETED, True),
        ("d/c.jpg", False),
    ]
    assert set(files.path(0).read_bytes()[first.offset : large.start]) == {0}
    assert files.read(last) == b"c"


def test_a_missing_pack_is_an_error_of_reading_and_not_of_erasing(tmp_path: Path) -> None:
    files = open_files(tmp_path / "packs")
    image = files.append("d/a.jpg", b"a", "")
    files.finish()
    files.delete(0)
    files.erase(image)
    assert files.list_packs() == {}
    with pytest.raises(FileNotFoundError):
        files.read(image)


def test_the_scan_ends_where_a_header_is_damaged(tmp_path: Path) -> None:
    files = open_files(tmp_path / "packs")
    images = [files.append(f"d/{name}.jpg", b"x", "") for name in "abc"]
    files.finish()
    data = bytearray(files.path(0).read_bytes())
    data[images[1].start] ^= 1
    files.path(0).write_bytes(data)
    assert [span.name for span in scan_spans(files.path(0))] == ["d/a.jpg"]
