import json
import os
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.audit.records import load_records
from gbif_webdataset.audit.unrecorded_files import find_unrecorded_files
from tests.support.audited_folder import AuditedFolder


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    return AuditedFolder(tmp_path)


def find(folder: AuditedFolder, started_ns: int | None = None) -> list[tuple[str, str]]:
    paths = folder.paths
    started_ns = time.time_ns() + 10**9 if started_ns is None else started_ns
    recorded, ledgers = load_records(paths).list_files().keys(), paths.list_chunks("fetched")
    return [(finding.file, finding.kind) for finding in find_unrecorded_files(paths, recorded, ledgers, started_ns)]


def add(folder: AuditedFolder, *names: str) -> None:
    for name in names:
        path = folder.paths.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def test_every_file_of_a_dataset_is_recorded(folder: AuditedFolder) -> None:
    add(folder, ".scratch/a", "logs/fetch-1.log", "shards/.parts/plan.json", "fetched/chunk-00000.attempts")
    add(folder, "audit.csv", "deleted.csv", "report/comparison.html", ".made/audit.progress", "publish/s3-bucket.json")
    assert find(folder) == []


def test_files_that_no_record_and_images_that_no_ledger_names_are_found(folder: AuditedFolder) -> None:
    add(folder, "notes.txt", "shards/train/train-000009.tar", "images/d0/99.jpg", "images/other/a.jpg")
    assert find(folder) == [
        ("notes.txt", "not-recorded"),
        ("shards/train/train-000009.tar", "not-recorded"),
        ("images/d0/99.jpg", "not-recorded"),
        ("images/other/a.jpg", "not-recorded"),
    ]


def test_temporary_files_have_a_kind_of_their_own(folder: AuditedFolder) -> None:
    add(folder, "images/d0/.tmp-1.jpg", ".tmp-splits-ab/train.csv")
    assert find(folder) == [(".tmp-splits-ab/train.csv", "temporary"), ("images/d0/.tmp-1.jpg", "temporary")]


def test_images_of_journals_and_of_earlier_ledgers_are_named(folder: AuditedFolder) -> None:
    add(folder, "images/j/1.jpg", "images/e/1.jpg", "images/j/2.jpg")
    (folder.paths.fetched / "chunk-00002.journal").write_bytes(
        json.dumps(["j/1.jpg", "http://x"]).encode() + b"\n\xff\xfe\n{}\n"
    )
    earlier = folder.paths.fetched / "earlier"
    earlier.mkdir()
    table = pq.read_table(folder.paths.chunk("fetched", 0)).slice(0, 1)
    pq.write_table(table.set_column(0, "image_path", [["e/1.jpg"]]), earlier / "unused.parquet")
    (earlier / "chunk-00000.parquet").write_bytes(b"damaged")
    assert find(folder) == [("images/j/2.jpg", "not-recorded")]


def test_files_that_are_written_during_the_audit_are_left_out(folder: AuditedFolder) -> None:
    started_ns = time.time_ns()
    add(folder, "notes.txt", "images/d0/99.jpg")
    os.utime(folder.paths.output / "notes.txt", ns=(started_ns + 1, started_ns + 1))
    os.utime(folder.paths.images / "d0" / "99.jpg", ns=(started_ns - 1, started_ns - 1))
    assert find(folder, started_ns) == [("images/d0/99.jpg", "not-recorded")]


def test_a_name_that_is_not_utf_8_is_reported_as_text(folder: AuditedFolder) -> None:
    for folder_name in (b"", b"images/"):
        path = os.fsencode(folder.paths.output) + b"/" + folder_name + b"\xff.jpg"
        with open(path, "wb"):  # noqa: PTH123  # the name is bytes
            pass
    assert find(folder) == [("\\xff.jpg", "not-recorded"), ("images/\\xff.jpg", "not-recorded")]
