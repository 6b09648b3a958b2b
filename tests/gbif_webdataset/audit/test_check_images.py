import csv
import fcntl
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.audit.check_file import Finding
from gbif_webdataset.audit.check_images import ImageTable, check_images, find_image_table, is_being_fetched, read_images
from tests.support.audited_folder import AuditedFolder


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    return AuditedFolder(tmp_path)


def check(folder: AuditedFolder, chunk: int = 0) -> list[Finding]:
    table = find_image_table(folder.paths, chunk, ())
    assert table
    with ThreadPoolExecutor(3) as pool:
        return list(check_images(folder.paths, chunk, table, pool))


def change(folder: AuditedFolder, chunk: int, column: str, value: str) -> None:
    """Set a column of the second image in a ledger."""
    path = folder.paths.chunk("fetched", chunk)
    rows = pq.read_table(path).to_pylist()
    rows[1][column] = value
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)


def test_images_as_they_were_downloaded_have_no_difference(folder: AuditedFolder) -> None:
    assert check(folder) == check(folder, 1) == []


def test_changed_truncated_and_missing_images_are_found(folder: AuditedFolder) -> None:
    images = folder.paths.images / "d1"
    (images / "0.jpg").write_bytes((images / "1.jpg").read_bytes())
    (images / "2.jpg").write_bytes(b"x")
    (images / "3.jpg").unlink()
    assert check(folder) == []
    assert [(finding.file, finding.kind, finding.record) for finding in check(folder, 1)] == [
        ("images/d1/0.jpg", "changed", "FetchChunk-00001"),
        ("images/d1/2.jpg", "truncated", "FetchChunk-00001"),
        ("images/d1/3.jpg", "missing", "FetchChunk-00001"),
    ]


@pytest.mark.parametrize("name", ["deleted.csv", "errors.csv"])
def test_an_image_that_was_deleted_or_is_to_be_deleted_is_not_missing(folder: AuditedFolder, name: str) -> None:
    for number in (1, 2):
        (folder.paths.images / "d0" / f"{number}.jpg").unlink()
    with (folder.paths.output / name).open("w", newline="") as file:
        rows = [["image_path", "identifier"], ["d0/1.jpg", "http://x.test/d0/1.jpg"], ["d0/2.jpg", "http://other/2"]]
        csv.writer(file).writerows(rows)
    assert [finding.file for finding in check(folder)] == ["images/d0/2.jpg"]


@pytest.mark.parametrize(("column", "value"), [("status", "failed"), ("image_path", "../../secret")])
def test_images_that_were_not_downloaded_and_paths_outside_the_folder_are_not_read(
    folder: AuditedFolder, column: str, value: str
) -> None:
    change(folder, 0, column, value)
    (folder.paths.images / "d0/1.jpg").unlink()
    assert check(folder) == []


def test_another_table_is_read_if_the_ledger_is_damaged(folder: AuditedFolder) -> None:
    paths = folder.paths
    paths.chunk("verified", 0).parent.mkdir()
    ledger, verified = paths.chunk("fetched", 0), paths.chunk("verified", 0)
    both = pa.concat_tables([pq.read_table(ledger), pq.read_table(paths.chunk("fetched", 1))])
    pq.write_table(both, paths.verified)
    paths.manifest.mkdir()
    pq.write_table(pq.read_table(ledger, columns=["image_path"]), paths.chunk("manifest", 0))
    verified.write_bytes(ledger.read_bytes())
    assert find_image_table(paths, 0, ()) == ImageTable(ledger)
    assert find_image_table(paths, 0, {"fetched/chunk-00000.parquet"}) == ImageTable(verified)
    ledger.write_bytes(b"PAR1")
    verified.unlink()
    whole = find_image_table(paths, 0, ())
    assert whole == ImageTable(paths.verified, paths.chunk("manifest", 0))
    assert whole
    images = [row.expected.file for rows in read_images(whole, "FetchChunk-00000") for row in rows]
    assert images == [f"images/d0/{number}.jpg" for number in range(5)]
    paths.verified.unlink()
    assert find_image_table(paths, 0, ()) is None


def test_a_chunk_whose_journal_is_locked_is_being_fetched(folder: AuditedFolder) -> None:
    assert not is_being_fetched(folder.paths, 0)
    journal = folder.paths.fetched / "chunk-00000.journal"
    journal.write_text(json.dumps(["d0/9.jpg"]))
    assert not is_being_fetched(folder.paths, 0)
    with journal.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_being_fetched(folder.paths, 0)
    assert not is_being_fetched(folder.paths, 0)
