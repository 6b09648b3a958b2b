import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.obtain.archive_entry import ArchiveEntry, find_entry
from gbif_webdataset.obtain.sources import ArchiveUrl, DownloadDoi, DownloadKey
from tests.support.gbif_api import DOI, KEY

URL = ArchiveUrl("https://example.org/moths.zip")
ENTRY = ArchiveEntry(KEY, DOI, KEY, DOI, sha256=hashlib.sha256(b"zip").hexdigest())


@pytest.mark.parametrize("source", [DownloadKey(KEY), DownloadDoi(DOI)])
def test_an_entry_is_found_by_key_and_by_doi(source: DownloadKey | DownloadDoi, tmp_path: Path) -> None:
    ENTRY.save(tmp_path)
    assert find_entry(tmp_path, source) == ENTRY


def test_an_entry_is_found_by_its_address_and_not_by_another_of_the_same_name(tmp_path: Path) -> None:
    ArchiveEntry.of_url(URL).save(tmp_path)
    assert find_entry(tmp_path, URL) == ArchiveEntry.of_url(URL)
    assert find_entry(tmp_path, ArchiveUrl("https://example.com/moths.zip")) is None


def test_an_empty_doi_is_no_doi(tmp_path: Path) -> None:
    replace(ENTRY, doi="").save(tmp_path)
    assert find_entry(tmp_path, DownloadDoi(DOI)) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "x"}', '{"predicate": {}}'])
def test_other_and_damaged_files_count_as_absent(content: str, tmp_path: Path) -> None:
    ENTRY.save(tmp_path)
    (tmp_path / "0.json").write_text(content)
    assert find_entry(tmp_path, DownloadKey(KEY)) == ENTRY
    damaged = (tmp_path / ENTRY.json_name).read_text().replace(DOI, "10.15468/dl.changed")
    (tmp_path / ENTRY.json_name).write_text(damaged)
    assert find_entry(tmp_path, DownloadKey(KEY)) is None


def test_a_missing_folder_has_no_entries(tmp_path: Path) -> None:
    assert find_entry(tmp_path / "archive", DownloadKey(KEY)) is None


def test_an_archive_is_complete_if_its_bytes_are_those_of_the_entry(tmp_path: Path) -> None:
    assert not ENTRY.is_complete(tmp_path)
    (tmp_path / ENTRY.zip_name).write_bytes(b"zap")
    assert not ENTRY.is_complete(tmp_path)
    (tmp_path / ENTRY.zip_name).write_bytes(b"zip")
    assert ENTRY.is_complete(tmp_path)
    assert not replace(ENTRY, sha256="").is_complete(tmp_path)
