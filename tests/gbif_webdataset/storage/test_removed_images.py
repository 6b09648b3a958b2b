import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gbif_webdataset.storage.image_store import open_store
from gbif_webdataset.storage.removed_images import Removal, find_chunk_removal, find_removal, remove_images
from gbif_webdataset.storage.target_record import TargetRecord
from tests.support.audited_folder import AuditedFolder
from tests.support.datasets import ROOT
from tests.support.packs import pack_images

KILLED = """
import os, signal, sys
from pathlib import Path
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.removed_images import remove_images
left = int(sys.argv[2])
def count(event, arguments):
    global left
    if event == "os.remove" and "images" in str(arguments[0]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
remove_images(DatasetPaths.under(Path(sys.argv[1])), 3, lambda done: None)
"""


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    return AuditedFolder(tmp_path, chunks=3, images=5)


def list_images(folder: AuditedFolder) -> list[Path]:
    return [path for path in folder.paths.images.rglob("*") if path.is_file()]


def test_all_images_are_removed_and_their_number_and_bytes_recorded(folder: AuditedFolder) -> None:
    assert find_removal(folder.paths) is None
    size = sum(path.stat().st_size for path in list_images(folder))
    done: list[int] = []
    removal = remove_images(folder.paths, 3, done.append)
    assert removal == find_removal(folder.paths) == Removal(15, size, is_complete=True)
    assert done == [5, 10, 15]
    assert str(removal) == f"15 images ({size / 1000:.1f} kB)"
    assert list_images(folder) == []


def test_a_removal_that_is_not_complete_says_so(folder: AuditedFolder) -> None:
    assert Removal(1, 1, is_complete=True).state == "removed"
    assert Removal(1, 1, is_complete=False).state == "are being removed"


def test_the_records_keep_their_digests_and_other_results(folder: AuditedFolder) -> None:
    before = TargetRecord.load(folder.paths.record("FetchChunk-00001"))
    remove_images(folder.paths, 3, lambda done: None)
    after = TargetRecord.load(folder.paths.record("FetchChunk-00001"))
    assert before and after
    assert (before.digest, before.fingerprint) == (after.digest, after.fingerprint)
    assert find_chunk_removal(after) and not find_chunk_removal(before)


def test_files_that_no_ledger_names_are_kept(folder: AuditedFolder) -> None:
    own = folder.paths.images / "d0" / "own.jpg"
    own.write_bytes(b"the user's own")
    remove_images(folder.paths, 3, lambda done: None)
    assert list_images(folder) == [own]
    assert [path.name for path in folder.paths.images.iterdir()] == ["d0"]


@pytest.mark.parametrize("kills", [[0], [3], [7, 2], [14]])
def test_a_removal_that_is_killed_counts_as_removed_and_continues(folder: AuditedFolder, kills: list[int]) -> None:
    size = sum(path.stat().st_size for path in list_images(folder))
    for removed in kills:
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder.paths.output), str(removed)], cwd=ROOT, timeout=60, check=False
        )
        assert ended.returncode == -signal.SIGKILL
        removal = find_removal(folder.paths)
        assert removal and not removal.is_complete
    assert len(list_images(folder)) == 15 - sum(kills)
    assert remove_images(folder.paths, 3, lambda done: None) == Removal(15, size, is_complete=True)
    assert list_images(folder) == []


@pytest.mark.parametrize("kills", [[0], [1], [2, 0]])
def test_a_removal_of_packs_that_is_killed_continues(folder: AuditedFolder, kills: list[int]) -> None:
    pack_chunks(folder)
    assert len(list(folder.paths.images.glob("*/*.tar"))) == 3
    for removed in kills:
        command = [sys.executable, "-c", KILLED, str(folder.paths.output), str(removed)]
        assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    removal = remove_images(folder.paths, 3, lambda done: None)
    assert (removal.images, removal.is_complete) == (15, True)
    assert sorted(path.name for path in list_images(folder)) == [f"chunk-{chunk:05d}.idx" for chunk in range(3)]
    assert all(open_store(folder.paths.images, chunk).size(f"d{chunk}/0.jpg") is None for chunk in range(3))


def pack_chunks(folder: AuditedFolder) -> None:
    """Put the images of each chunk into a pack, in place of their files."""
    images = folder.paths.images
    for chunk in range(3):
        files = sorted((images / f"d{chunk}").iterdir())
        pack_images(images, chunk, {path.relative_to(images).as_posix(): path.read_bytes() for path in files})
        shutil.rmtree(images / f"d{chunk}")


def test_a_chunk_that_is_fetched_again_is_not_removed_any_more(folder: AuditedFolder) -> None:
    remove_images(folder.paths, 3, lambda done: None)
    folder.record("FetchChunk-00001", folder.paths.chunk("fetched", 1))
    removal = find_removal(folder.paths)
    assert removal and (removal.images, removal.is_complete) == (10, False)


def test_chunks_beyond_those_of_the_archive_do_not_count(folder: AuditedFolder) -> None:
    remove_images(folder.paths, 3, lambda done: None)
    for chunk in range(2):
        folder.record(f"FetchChunk-{chunk:05d}", folder.paths.chunk("fetched", chunk))
    folder.record("ReadArchive", chunks="2")
    assert find_removal(folder.paths) is None
    assert folder.paths.record("FetchChunk-00002").exists()
