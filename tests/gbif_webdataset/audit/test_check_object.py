import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.audit.check_file import Expected
from gbif_webdataset.audit.check_object import ExpectedObject, check_object
from gbif_webdataset.audit.stored_shards import StoredShards
from gbif_webdataset.remote.address_claim import OWNER
from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.retries import MAX_ATTEMPTS
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError
from gbif_webdataset.storage.target_record import FileRecord
from tests.support.audited_folder import AuditedFolder
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.object_servers import BUCKET
from tests.support.stored_shards import move_shards

TAR = "train/train-000001.tar"


@pytest.fixture
def store(tmp_path: Path) -> StoredShards:
    address = StoreAddress.parse(f"file://{tmp_path}/moths", option_name="--CreateWebDataset-to")
    move_shards(AuditedFolder(tmp_path / "dataset").paths, address)
    store = StoredShards(address, tmp_path / "dataset")
    store.retries.pause = 0
    return store


@pytest.fixture
def expected(store: StoredShards, tmp_path: Path) -> ExpectedObject:
    """A tar as it was written, and its index on the disk."""
    index = f"shards/{TAR.replace('.tar', '.idx')}"
    file, own = FileRecord.of(tmp_path / "moths" / TAR), FileRecord.of(tmp_path / "dataset" / index)
    return ExpectedObject(
        TAR,
        Expected(store.name_file(TAR), "CreateWebDataset", file.bytes, file.sha256),
        Expected(index, "CreateWebDataset", own.bytes, own.sha256),
        3,
    )


def check(tmp_path: Path, store: StoredShards, expected: ExpectedObject) -> list[tuple[str, str, str]]:
    found = check_object(tmp_path / "dataset", store, expected)
    assert all(finding.record == "CreateWebDataset" for finding in found)
    return [(finding.file, finding.kind, finding.detail) for finding in found]


def test_a_whole_tar_and_a_whole_index_have_no_difference(
    tmp_path: Path, store: StoredShards, expected: ExpectedObject
) -> None:
    assert check(tmp_path, store, expected) == []
    name = TAR.replace(".tar", ".idx")
    file = FileRecord.of(tmp_path / "moths" / name)
    index = ExpectedObject(name, Expected(store.name_file(name), "CreateWebDataset", file.bytes, file.sha256))
    assert check(tmp_path, store, index) == []
    (tmp_path / "moths" / name).write_bytes(b"x" * file.bytes)
    assert check(tmp_path, store, index) == [(f"file://{tmp_path}/moths/{name}", "changed", "another SHA-256")]


@pytest.mark.parametrize(
    ("change", "kind", "detail"),
    [
        (lambda data: None, "missing", ""),
        (lambda data: data[:700], "truncated", "700 of 10240 bytes"),
        (lambda data: data + b"x", "changed", "10241 of 10240 bytes"),
        (lambda data: data[:-1] + b"x", "changed", "another SHA-256"),
        (lambda data: b"\xff" * len(data), "changed", "another SHA-256"),
        (lambda data: b"", "truncated", "0 of 10240 bytes"),
    ],
)
def test_a_tar_that_differs_is_named_by_its_address(
    tmp_path: Path,
    store: StoredShards,
    expected: ExpectedObject,
    change: Callable[[bytes], bytes | None],
    kind: str,
    detail: str,
) -> None:
    path = tmp_path / "moths" / TAR
    if (changed := change(path.read_bytes())) is None:
        path.unlink()
    else:
        path.write_bytes(changed)
    assert check(tmp_path, store, expected) == [(f"file://{tmp_path}/moths/{TAR}", kind, detail)]


def test_a_tar_whose_members_cannot_be_read_is_found_although_it_is_as_recorded(
    tmp_path: Path, store: StoredShards, expected: ExpectedObject
) -> None:
    path = tmp_path / "moths" / TAR
    path.write_bytes(b"\xff" * 10_240)
    as_recorded = replace(expected.file, sha256=FileRecord.of(path).sha256)
    [(_, kind, detail)] = check(tmp_path, store, replace(expected, file=as_recorded))
    assert kind == "unreadable"
    assert detail.startswith("its members cannot be read: ")


@pytest.mark.parametrize(
    ("first", "at", "value"),
    [
        pytest.param(b"0", 124, b"\x80" + (1 << 48).to_bytes(11, "big"), id="a size of 256 TiB"),
        pytest.param(b"x", 124, b"\x80" + (1 << 48).to_bytes(11, "big"), id="an extended header of 256 TiB"),
        pytest.param(b"S", 482, b"\1", id="a sparse member that is cut off"),
    ],
)
def test_a_tar_with_a_member_that_ends_after_the_tar_is_read_to_its_end_only(
    tmp_path: Path, store: StoredShards, expected: ExpectedObject, first: bytes, at: int, value: bytes
) -> None:
    path = tmp_path / "moths" / TAR
    header = bytearray(path.read_bytes()[: tarfile.BLOCKSIZE])
    header[156:157], header[at : at + len(value)], header[148:156] = first, value, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(header)
    as_recorded = replace(expected.file, bytes=len(header), sha256=FileRecord.of(path).sha256)
    [(_, kind, detail)] = check(tmp_path, store, replace(expected, file=as_recorded))
    assert kind == "unreadable"
    assert detail.startswith("its members cannot be read: ")


def test_another_number_of_samples_than_in_the_list_is_found(
    tmp_path: Path, store: StoredShards, expected: ExpectedObject
) -> None:
    [(_, kind, detail)] = check(tmp_path, store, replace(expected, samples=4))
    assert (kind, detail) == ("changed", "3 samples instead of 4")
    assert check(tmp_path, store, replace(expected, samples=None)) == []


def test_the_index_on_the_disk_is_compared_with_its_record_and_with_the_tar(
    tmp_path: Path, store: StoredShards, expected: ExpectedObject
) -> None:
    assert expected.index is not None
    path = tmp_path / "dataset" / expected.index.file
    (tmp_path / "moths" / TAR).unlink()
    path.write_bytes(b"v1.2 0\n")
    assert [kind for _, kind, _ in check(tmp_path, store, expected)] == ["missing", "truncated"]


def test_an_index_of_another_tar_is_found(tmp_path: Path, store: StoredShards, expected: ExpectedObject) -> None:
    assert expected.index is not None
    path = tmp_path / "dataset" / expected.index.file
    path.write_bytes(b"v1.2 0\n")
    unknown = replace(expected, index=replace(expected.index, bytes=None, sha256=None))
    assert check(tmp_path, store, unknown) == [(expected.index.file, "changed", "it does not agree with the tar")]


def fail_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FolderStore, asked: str) -> None:
        raise TemporaryStoreError(os.strerror(5))

    monkeypatch.setattr(FolderStore, name, fail)


def test_an_object_that_alone_cannot_be_read_is_unreadable(
    tmp_path: Path, store: StoredShards, expected: ExpectedObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_for("iterate", monkeypatch)
    detail = "all requests for it fail, and others succeed"
    assert check(tmp_path, store, expected) == [(f"file://{tmp_path}/moths/{TAR}", "unreadable", detail)]


def test_a_store_that_does_not_answer_is_no_difference(
    tmp_path: Path, store: StoredShards, expected: ExpectedObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_for("iterate", monkeypatch)
    fail_for("read", monkeypatch)
    with pytest.raises(
        StoreError, match=r"^--CreateWebDataset-to file://.*: 8 attempts failed, the last one with: Input"
    ):
        check(tmp_path, store, expected)


@pytest.mark.parametrize(
    ("error", "times"), [(TemporaryStoreError("timed out"), MAX_ATTEMPTS), (FileNotFoundError(), 1)]
)
def test_a_store_that_fails_for_a_moment_has_no_difference(
    tmp_path: Path,
    store: StoredShards,
    expected: ExpectedObject,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    times: int,
) -> None:
    iterate, failures = FolderStore.iterate, [error] * times

    def fail_first(self: FolderStore, name: str) -> Iterator[bytes]:
        if failures:
            raise failures.pop()
        return iterate(self, name)

    monkeypatch.setattr(FolderStore, "iterate", fail_first)
    assert check(tmp_path, store, expected) == []
    assert failures == []


def test_a_folder_that_is_not_mounted_any_more_has_lost_no_object(
    tmp_path: Path, store: StoredShards, expected: ExpectedObject
) -> None:
    assert check(tmp_path, store, expected) == []
    for unmount in ((tmp_path / "moths").rename, lambda path: (tmp_path / "moths").mkdir()):
        unmount(tmp_path / "elsewhere")
        with pytest.raises(
            StoreError, match=r"^--CreateWebDataset-to file://.*: shards.json is missing there: is the disk"
        ):
            check(tmp_path, store, expected)


def test_requests_that_fail_are_a_difference_only_if_those_for_other_objects_succeed(
    tmp_path: Path, expected: ExpectedObject, proxy: FaultProxy
) -> None:
    bucket = StoredShards(StoreAddress.parse(f"s3://{BUCKET}/audited"), tmp_path / "dataset")
    bucket.retries.pause = 0
    for name in (TAR, OWNER):
        bucket.store.put(name, LocalFile.of_content(Path(name), (tmp_path / "moths" / name).read_bytes()))
    proxy.faults = [Fault("503", "GET", TAR, times=MAX_ATTEMPTS)]
    assert check(tmp_path, bucket, expected) == []
    proxy.faults = [Fault("503", "GET", TAR, times=1_000)]
    assert [kind for _, kind, _ in check(tmp_path, bucket, expected)] == ["unreadable"]
    proxy.faults = [Fault("503", "GET", "", times=1_000)]
    with pytest.raises(StoreError, match=f"^--to s3://{BUCKET}/audited: {MAX_ATTEMPTS} attempts failed"):
        check(tmp_path, bucket, expected)
