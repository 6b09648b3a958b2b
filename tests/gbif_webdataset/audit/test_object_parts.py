from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gbif_webdataset.audit.object_parts import find_stored_shards, list_object_parts
from gbif_webdataset.audit.parts import list_shard_parts
from gbif_webdataset.audit.records import load_records
from gbif_webdataset.remote.store_address import StoreAddress
from tests.support.audited_folder import AuditedFolder
from tests.support.stored_shards import move_shards


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    folder = AuditedFolder(tmp_path / "dataset")
    move_shards(folder.paths, StoreAddress.parse(f"file://{tmp_path}/moths"))
    return folder


def test_objects_take_the_place_of_shards_on_the_disk(folder: AuditedFolder, tmp_path: Path) -> None:
    paths, records = folder.paths, load_records(folder.paths)
    assert list_shard_parts(paths, records, ()) == []
    [part] = list_object_parts(paths, records, (), find_stored_shards(paths, records))
    assert (part.name, part.files) == ("objects-000000", 6)
    with ThreadPoolExecutor(2) as pool:
        assert part.check(paths, pool) == []
        (tmp_path / "moths/train/train-000001.tar").unlink()
        (paths.shards / "train/train-000000.idx").unlink()
        found = part.check(paths, pool)
    assert [(finding.file, finding.kind, finding.record) for finding in found] == [
        ("shards/train/train-000000.idx", "missing", "CreateWebDataset"),
        (f"file://{tmp_path}/moths/train/train-000001.tar", "missing", "CreateWebDataset"),
    ]


def test_the_identity_of_a_part_changes_with_what_is_expected(folder: AuditedFolder, tmp_path: Path) -> None:
    def find_identity() -> str:
        records = load_records(folder.paths)
        [part] = list_object_parts(folder.paths, records, (), find_stored_shards(folder.paths, records))
        return part.identity

    before = find_identity()
    (tmp_path / "moths/train/train-000001.tar").write_bytes(b"x")
    assert find_identity() == before
    listed = folder.paths.shard_list.read_text()
    folder.paths.shard_list.write_text(listed.replace("train/train-000001.tar,3", "train/train-000001.tar,4"))
    assert find_identity() != before


def test_shards_on_the_disk_have_no_address(tmp_path: Path) -> None:
    paths = AuditedFolder(tmp_path).paths
    records = load_records(paths)
    assert find_stored_shards(paths, records) is None
    assert list_object_parts(paths, records, (), None) == []
