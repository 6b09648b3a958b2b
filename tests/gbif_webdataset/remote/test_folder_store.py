import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.remote import folder_store
from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.local_file import LocalFile, LocalFileError
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(StoreAddress.parse(f"file://{tmp_path}/target"))


def content(text: str) -> LocalFile:
    return LocalFile.of_content(Path("x.txt"), text.encode())


def test_files_are_written_listed_read_and_deleted(store: FolderStore, tmp_path: Path) -> None:
    assert store.list_sizes() == {}
    assert store.read("a/b.txt") is None
    store.put("a/b.txt", content("hello"))
    store.put("c.txt", content(""))
    assert store.list_sizes() == {"a/b.txt": 5, "c.txt": 0}
    assert store.read("a/b.txt") == b"hello"
    store.download("a/b.txt", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"hello"
    assert list(store.iterate("a/b.txt")) == [b"hello"]
    store.delete(["a/b.txt", "missing.txt"])
    assert store.list_sizes() == {"c.txt": 0}
    assert not (tmp_path / "target" / "a").exists()


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_is_copied_as_a_link_or_byte_by_byte(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links")

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    store.put("a/b.txt", content("hello"))
    (tmp_path / "target/a/b.txt").chmod(0o440)
    for _ in range(2):  # the second copy is that of a run that was killed after the first
        store.copy("a/b.txt", "c/d.txt", 5)
        assert store.list_sizes() == {"a/b.txt": 5, "c/d.txt": 5}
    assert (tmp_path / "target/a/b.txt").stat().st_mode & 0o777 == 0o440
    assert (tmp_path / "target/a/b.txt").samefile(tmp_path / "target/c/d.txt") == has_links
    store.delete(["a/b.txt"])
    assert store.read("c/d.txt") == b"hello"
    assert (store.find_size("c/d.txt"), store.find_size("a/b.txt")) == (5, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes its user")
def test_a_file_of_another_user_is_copied() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, source = FolderStore(StoreAddress.parse(f"file://{folder}")), Path(folder, "a.tar")
        source.write_bytes(b"hello")
        os.chown(source, 1001, -1)
        source.chmod(0o666)
        Path(folder).chmod(0o777)
        if not (process := os.fork()):
            try:
                os.setuid(1002)
                store.copy("a.tar", "b/a.tar", 5)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(process, 0)[1] == 0
        assert store.read("b/a.tar") == b"hello"
        assert source.stat().st_mode & 0o777 == 0o666


def test_a_listed_file_that_is_gone_gives_one_sentence(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"a/b\.txt is missing, which dataset\.json lists; restore it, or delete"):
        store.download("a/b.txt", tmp_path / "copy")


@pytest.mark.parametrize("name", ["missing", "a", "c.txt/x"])
def test_reading_what_is_not_a_file_in_blocks_finds_no_file(store: FolderStore, name: str) -> None:
    store.put("a/b.txt", content("hello"))
    store.put("c.txt", content("x"))
    with pytest.raises(FileNotFoundError):
        list(store.iterate(name))


def test_a_file_whose_kind_cannot_be_read_gives_one_sentence_or_is_a_temporary_fault(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    store.put("a.txt", content("x"))
    with pytest.raises(StoreError, match=f"^--to file://{tmp_path}/target: File name too long; choose"):
        list(store.iterate("a" * 300))
    monkeypatch.setattr(Path, "is_file", fail)
    with pytest.raises(TemporaryStoreError, match="Stale file handle"):
        list(store.iterate("a.txt"))


def test_a_source_that_changed_leaves_no_file(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"other")
    with pytest.raises(DamagedFileError):
        store.put("x", LocalFile(tmp_path / "x", 5, "0" * 64))
    assert store.list_sizes() == {}


def test_temporary_files_of_a_killed_run_are_deleted(store: FolderStore, tmp_path: Path) -> None:
    left = tmp_path / "target" / "train" / ".tmp-train-000000.tar-abc"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"part")
    (tmp_path / "target" / "train" / "keep.tar").write_bytes(b"x")
    store.abort_uploads({"train/train-000000.tar": 1})
    assert store.list_sizes() == {"train/keep.tar": 1}
    left.write_bytes(b"part")
    store.abort_uploads({"train/": 1})
    assert store.list_sizes() == {"train/keep.tar": 1}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, "No space left on device; free some space there, and repeat the command"),
        (errno.EACCES, "Permission denied; choose a folder that you may write to"),
        (errno.EROFS, "Read-only file system; choose a folder that you may write to"),
    ],
)
def test_missing_space_and_permission_give_one_sentence(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, code: int, expected: str
) -> None:
    def fail(path: Path) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(folder_store, "atomic_file", fail)
    with pytest.raises(StoreError, match=rf"^--to file:///.*/target: {expected}"):
        store.put("x", content("x"))


def test_a_file_in_the_place_of_the_folder_gives_one_sentence(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    with pytest.raises(StoreError, match="choose an empty folder"):
        store.put("a/b", content("x"))


def test_other_faults_are_temporary(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "x", str(path))

    monkeypatch.setattr(folder_store, "atomic_file", fail)
    with pytest.raises(TemporaryStoreError, match="Input/output error"):
        store.put("x", content("x"))


def test_faults_of_a_file_of_this_machine_are_not_those_of_the_target(store: FolderStore) -> None:
    with pytest.raises(LocalFileError, match=r"^/proc/self/mem: Input/output error"):
        store.put("x", LocalFile(Path("/proc/self/mem"), 10, ""))
    assert store.list_sizes() == {}
    store.put("x", content("x"))
    with pytest.raises(LocalFileError, match=r"^/dev/full: No space left on device"):
        store.download("x", Path("/dev/full"))


@pytest.mark.parametrize(("path", "number"), [("target/a", errno.EACCES), ("target", errno.ENOTDIR)])
def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, number: int
) -> None:
    scandir = os.scandir

    def refuse(folder: str) -> Any:
        if Path(folder) == tmp_path / path:
            raise OSError(number, os.strerror(number))
        return scandir(folder)

    store.put("a/b.txt", content("hello"))
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StoreError, match=f"^--to file://{tmp_path}/target: {os.strerror(number)}; choose"):
        store.list_sizes()
