import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gbif_webdataset.audit.check_packs import check_packs
from gbif_webdataset.storage.image_deletion import delete_from_stores, tidy_stores
from gbif_webdataset.storage.pack_store import PackStore
from tests.support.datasets import ROOT
from tests.support.packs import CHUNK, bytes_of, pack_images, read_files, read_packed
from tests.support.small_disk import fill_disk, mount_disk

KILLED = """
import os, signal, sys
from pathlib import Path
from gbif_webdataset.storage.image_deletion import delete_from_stores
left = int(sys.argv[2])
pwrite = os.pwrite
def count(name, real):
    def call(*arguments):
        global left
        left -= 1
        if left < 0:
            if name == "pwritev":
                data = b"".join(arguments[1])
                pwrite(arguments[0], data[: len(data) // 2], arguments[2])
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call
for name in ("pwrite", "pwritev", "fsync", "unlink", "truncate", "ftruncate"):
    setattr(os, name, count(name, getattr(os, name)))
delete_from_stores(Path(sys.argv[1]), ["d/b.jpg", "d/d.jpg"], 2_000_000)
"""
"""Deletes images, and is killed in the middle of a write or before another change of a file."""


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


@pytest.mark.parametrize("changes", [2, 8, 10, *range(12, 30, 2)])
def test_a_deletion_that_is_killed_is_completed_by_the_next_one(tmp_path: Path, changes: int) -> None:
    made = {f"d/{name}.jpg": bytes_of(name) for name in "abcdef"}
    pack_images(tmp_path, CHUNK, made)
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(changes)]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    gone = {"d/b.jpg", "d/d.jpg"}
    delete_from_stores(tmp_path, sorted(gone & read_packed(tmp_path).keys()), 2_000_000)
    tidy_stores(tmp_path, 2_000_000)
    assert read_packed(tmp_path) == {path: data for path, data in made.items() if path not in gone}
    assert list(check_packs(PackStore(tmp_path, CHUNK), CHUNK, "")) == []
    assert not any(made[path][at : at + 40] in read_files(tmp_path) for path in gone for at in (0, 400, 900))


def test_a_deletion_on_a_full_disk_changes_no_image_and_is_completed_later(tmp_path: Path) -> None:
    made = {f"{'d' * 60}/{number}.jpg": bytes_of(str(number)) for number in range(200)}
    gone = list(made)[:150]
    with mount_disk(tmp_path / "disk", 3_000_000) as images:
        pack_images(images, CHUNK, made)
        ballast = fill_disk(images)
        with pytest.raises(OSError, match="No space left on device"):
            delete_from_stores(images, gone, 2_000_000)
        assert read_packed(images) == made
        ballast.unlink()
        delete_from_stores(images, gone, 2_000_000)
        assert read_packed(images) == {path: data for path, data in made.items() if path not in gone}


def test_packs_that_are_complete_are_not_changed(tmp_path: Path) -> None:
    pack_images(tmp_path, CHUNK, {"d/a.jpg": b"a", "d/b.jpg": b"b"})
    before = read_files(tmp_path), (tmp_path / "chunk-00007/000.tar").stat().st_mtime_ns
    tidy_stores(tmp_path, 2_000_000)
    assert (read_files(tmp_path), (tmp_path / "chunk-00007/000.tar").stat().st_mtime_ns) == before
