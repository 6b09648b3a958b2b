import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.audit.check_file import Finding
from gbif_webdataset.audit.repair import repair_dataset
from gbif_webdataset.fetch.journal import read_journal
from gbif_webdataset.fetch.ledger import Outcome
from gbif_webdataset.storage.removed_images import find_removal, remove_images
from tests.support.audited_folder import AuditedFolder

FETCH = "FetchChunk-00001"
LEDGER = "fetched/chunk-00001.parquet"


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    return AuditedFolder(tmp_path)


def list_records(folder: AuditedFolder) -> list[str]:
    return sorted(path.stem for path in folder.paths.records.iterdir())


def list_status(folder: AuditedFolder) -> list[tuple[str, str, str]]:
    rows = pq.read_table(folder.paths.chunk("fetched", 1)).to_pylist()
    return [(row["image_path"], row["status"], row["error"]) for row in rows]


def test_findings_that_do_no_harm_change_nothing(folder: AuditedFolder) -> None:
    before = folder.snapshot()
    findings = [
        Finding("notes.txt", "not-recorded"),
        Finding(".tmp-x", "temporary"),
        Finding(".made/CleanDataset.json", "without-checksum", "CleanDataset"),
    ]
    assert repair_dataset(folder.paths, findings) == []
    assert folder.snapshot() == before


def test_the_record_of_a_table_or_a_shard_that_differs_is_deleted_and_the_file_is_kept(folder: AuditedFolder) -> None:
    findings = [
        Finding("clean.parquet", "changed", "CleanDataset"),
        Finding(".made/SplitDataset.json", "missing", "SplitDataset"),
        Finding("shards/train/train-000000.tar", "truncated", "CreateWebDataset"),
    ]
    assert repair_dataset(folder.paths, findings) == ["CleanDataset", "CreateWebDataset", "SplitDataset"]
    assert list_records(folder) == ["FetchChunk-00000", "FetchChunk-00001"]
    assert folder.paths.clean.exists()


def test_images_that_differ_are_marked_in_their_ledger(folder: AuditedFolder) -> None:
    findings = [Finding("images/d1/0.jpg", "changed", FETCH), Finding("images/d1/3.jpg", "missing", FETCH)]
    assert repair_dataset(folder.paths, findings) == [FETCH]
    assert FETCH not in list_records(folder)
    assert list_status(folder) == [
        ("d1/0.jpg", "failed", "changed-file"),
        ("d1/1.jpg", "fetched", ""),
        ("d1/2.jpg", "fetched", ""),
        ("d1/3.jpg", "failed", "missing-file"),
        ("d1/4.jpg", "fetched", ""),
    ]


def test_a_damaged_ledger_becomes_the_journal_of_the_images_in_its_verified_table(folder: AuditedFolder) -> None:
    paths = folder.paths
    rows = [Outcome(**row) for row in pq.read_table(paths.chunk("fetched", 1)).to_pylist()]
    verified = paths.chunk("verified", 1)
    verified.parent.mkdir()
    table = pq.read_table(paths.chunk("fetched", 1))
    at = table.schema.get_field_index("error")
    pq.write_table(table.set_column(at, "error", [["", "truncated", "changed-file", "", ""]]), verified)
    journal = paths.fetched / "chunk-00001.journal"
    journal.write_text(json.dumps(["d1/9.jpg", "http://x.test/9", "failed", "timeout", *[None] * 8]) + "\n")

    findings = [Finding(LEDGER, "changed", FETCH), Finding("images/d1/3.jpg", "changed", FETCH)]
    assert repair_dataset(paths, findings) == [FETCH]

    assert not paths.chunk("fetched", 1).exists()
    lines = journal.read_text().splitlines()
    assert json.loads(lines[-1])[0] == "d1/9.jpg"
    journal.write_text("\n".join(lines[:-1]) + "\n")
    assert list(read_journal(journal)) == [rows[0], rows[1], rows[4]]


def test_the_table_of_all_chunks_replaces_a_damaged_ledger_whose_verified_table_is_damaged_too(
    folder: AuditedFolder,
) -> None:
    paths = folder.paths
    ledgers = [pq.read_table(paths.chunk("fetched", chunk)) for chunk in (0, 1)]
    verified = paths.chunk("verified", 1)
    for path in (verified, paths.chunk("manifest", 1)):
        path.parent.mkdir()
        pq.write_table(ledgers[1], path)
    pq.write_table(pa.concat_tables(ledgers), paths.verified)

    findings = [
        Finding(LEDGER, "changed", FETCH),
        Finding("verified/chunk-00001.parquet", "changed", "VerifyChunk-00001"),
        Finding("images/d1/3.jpg", "missing", FETCH),
    ]
    repair_dataset(paths, findings)

    assert not paths.chunk("fetched", 1).exists()
    restored = [outcome.image_path for outcome in read_journal(paths.fetched / "chunk-00001.journal")]
    assert restored == ["d1/0.jpg", "d1/1.jpg", "d1/2.jpg", "d1/4.jpg"]


def test_a_damaged_ledger_without_a_verified_table_is_deleted(folder: AuditedFolder) -> None:
    findings = [Finding(LEDGER, "unreadable", FETCH), Finding("fetched/earlier/unused.parquet", "unreadable")]
    earlier = folder.paths.fetched / "earlier" / "unused.parquet"
    earlier.parent.mkdir()
    earlier.write_text("x")
    repair_dataset(folder.paths, findings)
    assert sorted(path.name for path in folder.paths.fetched.rglob("*")) == ["chunk-00000.parquet", "earlier"]


def test_a_damaged_list_of_deleted_images_is_deleted(folder: AuditedFolder) -> None:
    with folder.paths.deleted.open("w", newline="") as file:
        csv.writer(file).writerow(["image_path"])
    repair_dataset(folder.paths, [Finding("deleted.csv", "changed", "DeleteImages")])
    assert not folder.paths.deleted.exists()


def test_a_folder_in_the_place_of_a_record_or_a_ledger_is_left_to_the_user(folder: AuditedFolder) -> None:
    for path in (folder.paths.record(FETCH), folder.paths.chunk("fetched", 1)):
        path.unlink()
        path.mkdir()
    findings = [Finding(f".made/{FETCH}.json", "unreadable", FETCH), Finding(LEDGER, "unreadable", FETCH)]
    assert repair_dataset(folder.paths, findings) == [FETCH]
    assert folder.paths.chunk("fetched", 1).is_dir()


def test_images_that_were_removed_after_the_report_still_count_as_removed(folder: AuditedFolder) -> None:
    removal = remove_images(folder.paths, 2, lambda done: None)
    findings = [Finding(LEDGER, "changed", FETCH), Finding("images/d1/3.jpg", "changed", FETCH)]
    assert repair_dataset(folder.paths, findings) == [FETCH]
    assert find_removal(folder.paths) == removal
    assert not folder.paths.chunk("fetched", 1).exists()
