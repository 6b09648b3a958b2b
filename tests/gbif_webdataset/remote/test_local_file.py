import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.remote.local_file import LocalFile, LocalFileError, write_blocks


def local_file(path: Path, data: bytes) -> LocalFile:
    path.write_bytes(data)
    return LocalFile(path, len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 1000, b"x" * 1024, bytes(range(256)) * 16])
def test_a_file_is_read_whole_or_in_blocks(tmp_path: Path, data: bytes) -> None:
    file = local_file(tmp_path / "a.tar", data)
    assert file.read() == data
    blocks = list(file.iterate(512))
    assert b"".join(blocks) == data
    assert all(len(block) == 512 for block in blocks[:-1])


@pytest.mark.parametrize("now", [b"y" * 1000, b"x" * 999, b"x" * 1001, b"", None])
def test_a_file_that_changed_is_refused_before_its_last_block(tmp_path: Path, now: bytes | None) -> None:
    file = local_file(tmp_path / "a.tar", b"x" * 1000)
    if now is None:
        file.path.unlink()
    else:
        file.path.write_bytes(now)
    with pytest.raises(
        DamagedFileError, match="changed since it was recorded, so it is not published; run `make audit"
    ):
        file.read()
    sent = b""
    with pytest.raises(DamagedFileError):
        for block in file.iterate(100):
            sent += block
    assert len(sent) < 1000


def test_a_file_that_the_disk_does_not_let_read_is_named() -> None:
    with pytest.raises(LocalFileError, match=r"^/proc/self/mem: Input/output error; the disk or the connection to it"):
        LocalFile(Path("/proc/self/mem"), 10, "").read()


def test_blocks_are_written_and_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"older and longer")
    write_blocks(tmp_path / "a", [b"one", b"two"])
    assert (tmp_path / "a").read_bytes() == b"onetwo"
    with pytest.raises(LocalFileError, match=r"^/dev/full: No space left on device; free some space"):
        write_blocks(Path("/dev/full"), [b"one"])


def test_an_error_of_the_blocks_is_not_one_of_the_file(tmp_path: Path) -> None:
    def fail() -> Iterator[bytes]:
        yield b"one"
        raise ConnectionResetError("reset")

    with pytest.raises(ConnectionResetError):
        write_blocks(tmp_path / "a", fail())


def test_a_content_takes_the_place_of_the_file(tmp_path: Path) -> None:
    file = LocalFile.of_content(tmp_path / "missing.csv", b"a,b\n")
    assert file.read() == b"a,b\n"
    assert file.sha256 == hashlib.sha256(b"a,b\n").hexdigest()


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("a.tar", "application/x-tar"), ("README.md", "text/markdown; charset=utf-8"), ("index.html", "text/html; charset=utf-8"),
     ("a.json", "application/json"), ("a.png", "image/png"), ("a.unknown-ending", "application/octet-stream")],
)  # fmt: skip
def test_media_types_follow_the_name(name: str, media_type: str) -> None:
    assert LocalFile(Path(name), 0, "").media_type == media_type
