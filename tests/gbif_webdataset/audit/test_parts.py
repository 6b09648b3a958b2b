import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.audit.parts import Part, list_image_parts, list_shard_parts, list_table_parts
from gbif_webdataset.audit.records import load_records
from gbif_webdataset.fetch.journal import Journal
from gbif_webdataset.remote.address_claim import CLAIM
from gbif_webdataset.storage.chunks import journal_name
from tests.support.audited_folder import AuditedFolder


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    return AuditedFolder(tmp_path)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def check(folder: AuditedFolder, part: Part, pool: ThreadPoolExecutor) -> list[tuple[str, str, str]]:
    return [(finding.file, finding.kind, finding.record) for finding in part.check(folder.paths, pool) or ()]


def test_a_dataset_is_read_in_parts_without_differences(folder: AuditedFolder, pool: ThreadPoolExecutor) -> None:
    paths, records = folder.paths, load_records(folder.paths)
    parts = [
        *list_table_parts(paths, records),
        *list_image_parts(paths, records, ()),
        *list_shard_parts(paths, records, ()),
    ]
    assert [(part.name, part.files) for part in parts] == [
        ("tables-000000", 4),
        ("images-00000", 5),
        ("images-00001", 5),
        ("shards-000000", 4),
    ]
    assert [check(folder, part, pool) for part in parts] == [[]] * 4


def test_the_identity_of_a_part_changes_with_what_is_expected(folder: AuditedFolder) -> None:
    def identities() -> list[str]:
        paths, records = folder.paths, load_records(folder.paths)
        parts = (
            *list_table_parts(paths, records),
            *list_image_parts(paths, records, ()),
            *list_shard_parts(paths, records, ()),
        )
        return [part.identity for part in parts]

    before = identities()
    assert identities() == before
    folder.paths.clean.write_text("other images")
    assert identities() == before, "the bytes are not what is expected of them"
    folder.record("CleanDataset", folder.paths.clean)
    os.utime(folder.paths.chunk("fetched", 1), ns=(1, 1))
    assert [old == new for old, new in zip(before, identities(), strict=True)] == [False, True, False, True]


def test_changed_tables_and_shards_are_found(folder: AuditedFolder, pool: ThreadPoolExecutor) -> None:
    paths, records = folder.paths, load_records(folder.paths)
    paths.clean.write_text("x")
    (paths.shards / "train" / "train-000000.tar").unlink()
    [tables], [shards] = list_table_parts(paths, records), list_shard_parts(paths, records, ())
    assert check(folder, tables, pool) == [("clean.parquet", "truncated", "CleanDataset")]
    assert check(folder, shards, pool) == [("shards/train/train-000000.tar", "missing", "CreateWebDataset")]


def test_without_their_record_shards_are_compared_with_the_list(
    folder: AuditedFolder, pool: ThreadPoolExecutor
) -> None:
    paths = folder.paths
    paths.record("CreateWebDataset").unlink()
    tar = paths.shards / "train" / "train-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    (tar.parent / "train-000000.idx").write_text("v1.2 0\n")
    [shards] = list_shard_parts(paths, load_records(paths), ())
    assert check(folder, shards, pool) == [
        ("shards/train/train-000000.idx", "changed", "CreateWebDataset"),
        ("shards/train/train-000001.tar", "changed", "CreateWebDataset"),
    ]
    assert list_shard_parts(paths, load_records(paths), {"shards/shards.csv"}) == []
    paths.shard_list.write_bytes(b"\xff\xfe")
    assert list_shard_parts(paths, load_records(paths), ()) == []


def test_without_their_record_shards_at_an_address_are_not_looked_for_on_the_disk(folder: AuditedFolder) -> None:
    paths = folder.paths
    (paths.output / CLAIM).write_text("{}")
    paths.record("CreateWebDataset").unlink()
    (paths.shards / "train" / "train-000001.tar").unlink()
    [shards] = list_shard_parts(paths, load_records(paths), ())
    assert [shard.tar.file for shard in shards.shards] == ["shards/train/train-000000.tar"]


def test_ledgers_that_no_record_names_are_read(folder: AuditedFolder, pool: ThreadPoolExecutor) -> None:
    paths = folder.paths
    paths.record("FetchChunk-00001").unlink()
    earlier = paths.fetched / "earlier" / "unused.parquet"
    earlier.parent.mkdir()
    pq.write_table(pq.read_table(paths.chunk("fetched", 0)), earlier)

    def findings() -> list[tuple[str, str, str]]:
        parts = list_table_parts(paths, load_records(paths))
        return [finding for part in parts for finding in check(folder, part, pool)]

    assert findings() == []
    for path in (earlier, paths.chunk("fetched", 1)):
        path.write_bytes(path.read_bytes()[:-10])
    assert findings() == [
        ("fetched/chunk-00001.parquet", "unreadable", "FetchChunk-00001"),
        ("fetched/earlier/unused.parquet", "unreadable", ""),
    ]


def test_a_ledger_that_is_damaged_in_its_middle_ends_the_part(folder: AuditedFolder, pool: ThreadPoolExecutor) -> None:
    ledger = folder.paths.chunk("fetched", 0)
    data = ledger.read_bytes()
    ledger.write_bytes(data[:4] + bytes(1000) + data[1004:])
    [part, _] = list_image_parts(folder.paths, load_records(folder.paths), ())
    assert part.check(folder.paths, pool) == []


def test_the_images_of_a_chunk_that_is_being_fetched_are_not_compared(
    folder: AuditedFolder, pool: ThreadPoolExecutor
) -> None:
    parts = list_image_parts(folder.paths, load_records(folder.paths), ())
    with Journal(folder.paths.fetched / journal_name(0)):
        assert [part.check(folder.paths, pool) for part in parts] == [None, []]
