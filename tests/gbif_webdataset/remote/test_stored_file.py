import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import TemporaryStoreError
from gbif_webdataset.remote.stored_file import StoredFile, find_shard_address
from gbif_webdataset.storage.target_record import Fingerprint, TargetRecord

DATA = bytes(range(256)) * 100


@pytest.fixture
def file(tmp_path: Path) -> StoredFile:
    address = StoreAddress.parse(f"file://{tmp_path}/moths")
    store = FolderStore(address)
    store.put("train/train-000000.tar", LocalFile.of_content(Path("x.tar"), DATA))
    name = Path("train/train-000000.tar")
    return StoredFile(name, len(DATA), hashlib.sha256(DATA).hexdigest(), store, address)


@pytest.mark.parametrize("block_bytes", [1_000, 25_600, 7_001, 100_000])
@pytest.mark.parametrize("arriving", [1, 999, 100_000])
def test_blocks_have_the_size_that_is_asked_for_however_they_arrive(
    file: StoredFile, block_bytes: int, arriving: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = [DATA[start : start + arriving] for start in range(0, len(DATA), arriving)]
    monkeypatch.setattr(FolderStore, "iterate", lambda self, name: iter(pieces))
    blocks = list(file.iterate(block_bytes))
    assert b"".join(blocks) == DATA
    assert {len(block) for block in blocks[:-1]} <= {block_bytes}
    assert 0 < len(blocks[-1]) <= block_bytes


def test_it_is_read_as_a_whole_and_has_the_type_of_its_name(file: StoredFile) -> None:
    assert file.read() == DATA
    assert file.media_type == "application/x-tar"


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(DATA[:-1]),
        lambda path: path.write_bytes(DATA + b"x"),
        lambda path: path.write_bytes(DATA[:-1] + b"x"),
    ],
)
def test_an_object_that_changed_is_refused_before_its_last_block(
    file: StoredFile, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    change(tmp_path / "moths" / file.name)
    received = []
    with pytest.raises(DamagedFileError, match=rf"^file://{tmp_path}/moths/train/train-000000\.tar: changed since"):
        received.extend(file.iterate(1_000))
    assert len(b"".join(received)) < len(DATA)


def test_a_temporary_failure_names_the_object(file: StoredFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FolderStore, name: str) -> None:
        raise TemporaryStoreError("SlowDown")

    monkeypatch.setattr(FolderStore, "iterate", fail)
    with pytest.raises(TemporaryStoreError, match=r"^SlowDown at file:///.*/moths/train/train-000000\.tar$"):
        file.read()


def test_the_record_of_shards_on_the_disk_has_no_address() -> None:
    record = TargetRecord("CreateWebDataset", Fingerprint(1))
    assert find_shard_address(record) is None
    assert find_shard_address(None) is None
    address = find_shard_address(TargetRecord("CreateWebDataset", Fingerprint(1), store="s3://bucket/moths"))
    assert address is not None
    assert address.option == "--CreateWebDataset-to s3://bucket/moths"
