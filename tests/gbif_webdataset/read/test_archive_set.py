import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from gbif_webdataset.errors import ArchiveError, ParameterError
from gbif_webdataset.read.archive_set import (
    DatedArchive,
    digest_folder,
    join_checklists,
    label_archives,
    note_order,
    open_archives,
    sort_archives,
)
from gbif_webdataset.read.dwca import MAX_EXPANSION
from gbif_webdataset.terms.checklists import BACKBONE, CATALOGUE_OF_LIFE, Checklist
from gbif_webdataset.terms.downloads import NO_STATEMENT, DownloadStatement
from tests.support.archives import read_zip, write_folder
from tests.support.several_archives import medium, occurrence, write_archive


def write(folder: Path, name: str, date: str = "", photo: str = "a") -> Path:
    return write_archive(folder / name, [occurrence(1)], [medium(1, photo)], date=date)


def state_nothing(paths: Sequence[Path]) -> dict[Path, DownloadStatement]:
    return dict.fromkeys(paths, NO_STATEMENT)


def dated(date: str, digest: str) -> DatedArchive:
    return DatedArchive(digest, date, digest)


def test_the_newest_archive_comes_first_then_the_smaller_digest() -> None:
    archives = [dated("2024-01-01", "c"), dated("2025-01-01", "d"), dated("2024-01-01", "b")]
    for order in itertools.permutations(archives):
        assert [archive.digest for archive in sort_archives(order)] == ["d", "b", "c"]
    assert not list(note_order(sort_archives(archives)))


def test_an_archive_without_a_date_is_placed_by_its_digest_and_a_note_says_so() -> None:
    for digest, expected in (("a", ["a", "d", "b"]), ("c", ["c", "d", "b"]), ("e", ["d", "b", "e"])):
        archives = [dated("2024-01-01", "b"), dated("2025-01-01", "d"), dated("", digest)]
        for order in itertools.permutations(archives):
            ordered = sort_archives(order)
            assert [archive.digest for archive in ordered] == expected
        [note] = note_order(ordered)
        assert note.startswith(f"{digest}: the metadata state no date")
        assert note.endswith(f"by SHA-256: {', '.join(expected)}")


def test_archives_are_named_by_their_files_and_equal_names_get_part_of_the_digest(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "x", "a.zip", photo="1"),
        write(tmp_path / "y", "a.zip", photo="2"),
        write(tmp_path, "b.zip"),
    ]
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert label_archives(digests) == {
        paths[0]: f"a.zip~{digests[paths[0]][:8]}", paths[1]: f"a.zip~{digests[paths[1]][:8]}", paths[2]: "b.zip"
    }  # fmt: skip


def test_an_archive_and_its_copy_are_an_error(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.zip", "2024-01-01"), tmp_path / "copy.zip"]
    paths[1].write_bytes(paths[0].read_bytes())
    problem = r"--dwca: .*a\.zip and .*copy\.zip have the same content; name one of them"
    with pytest.raises(ParameterError, match=problem), open_archives(state_nothing(paths), MAX_EXPANSION):
        pass


def test_folders_are_ordered_by_what_their_files_contain(tmp_path: Path) -> None:
    folders = [
        write_folder(tmp_path / name, read_zip(write(tmp_path, f"{name}.zip", photo=name))) for name in ("a", "b")
    ]
    expected = sorted(folders, key=digest_folder)
    assert digest_folder(folders[0]) != digest_folder(folders[1])
    for paths in (folders, folders[::-1]):
        with open_archives(state_nothing(paths), MAX_EXPANSION) as found:
            assert [archive.path for archive in found.archives] == expected
            assert [digest.result() for digest in found.digests] == ["", ""]


def test_one_archive_has_no_label_and_several_have_their_names(tmp_path: Path) -> None:
    paths = [write(tmp_path, "old.zip", "2024-01-01"), write(tmp_path, "new.zip", "2024-01-02", "b")]
    with open_archives(state_nothing(paths[:1]), MAX_EXPANSION) as found:
        assert [archive.label_file("media", "multimedia.txt") for archive in found.archives] == ["multimedia.txt"]
    with open_archives(state_nothing(paths), MAX_EXPANSION) as found:
        labels = [archive.label_file("media", "multimedia.txt") for archive in found.archives]
        assert labels == ["new.zip/multimedia.txt", "old.zip/multimedia.txt"]
        assert found.digests[0].result() == hashlib.sha256(paths[1].read_bytes()).hexdigest()


def test_different_checklists_are_an_error_that_points_to_the_crosswalk(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.zip", "2024-01-01"), write(tmp_path, "b.zip", "2024-01-02", "b")]
    with open_archives(state_nothing(paths), MAX_EXPANSION) as found:
        one, other = Checklist(BACKBONE, "x"), Checklist(CATALOGUE_OF_LIFE, "x")
        with pytest.raises(ArchiveError, match=r"b\.zip and a\.zip: .*Backbone.*Catalogue of Life.*make crosswalk OLD"):
            join_checklists(found.archives, [one, other])
        assert join_checklists(found.archives, [one, one]) == (one, [])
        joined, [note] = join_checklists(found.archives, [one, Checklist(BACKBONE, "y")])
        assert joined == Checklist(BACKBONE, "")
        assert "different releases of one checklist (b.zip: x, a.zip: y)" in note
        joined, [note] = join_checklists(found.archives, [one, Checklist()])
        assert joined == Checklist()
        assert note.startswith("a.zip: the checklist of the taxon keys is not known")
        joined, [note] = join_checklists(found.archives, [Checklist(), Checklist()])
        assert note.startswith("b.zip and a.zip: the checklist")
