import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.remote import recorded_objects
from gbif_webdataset.remote.address_claim import CLAIM, OWNER, Claim, write_claim
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.recorded_objects import find_damaged_object
from gbif_webdataset.remote.store import open_store
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.storage.target_record import FileRecord, Fingerprint, TargetRecord, record_path
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.object_servers import BUCKET

OPTION = "--CreateWebDataset-to"


def write_record(folder: Path, store: str) -> Path:
    """The record of two objects, which are files in the folder `store`."""
    objects = {"train/a.tar": FileRecord(3, "0" * 64), "train/a.idx": FileRecord(1, "1" * 64)}
    record = TargetRecord("Shards", Fingerprint(1), objects=objects, store=store)
    path = record_path(folder, "Shards")
    record.save(path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store" / "train"
    folder.mkdir(parents=True)
    (folder / "a.tar").write_bytes(b"abc")
    (folder / "a.idx").write_bytes(b"x")
    claim = Claim.new(tmp_path)
    write_claim(tmp_path, claim)
    (folder.parent / OWNER).write_bytes(claim.owner)
    return folder.parent


def test_the_first_object_that_is_missing_or_has_another_size_is_named(store: Path, tmp_path: Path) -> None:
    address = f"file://{store}"
    assert find_damaged_object(write_record(tmp_path, address), OPTION) is None
    (store / "train/a.tar").write_bytes(b"abcd")
    assert find_damaged_object(write_record(tmp_path, address), OPTION) == f"{address}/train/a.tar has the wrong size"
    (store / "train/a.tar").unlink()
    assert find_damaged_object(write_record(tmp_path, address), OPTION) == f"{address}/train/a.tar is missing"


def test_a_folder_that_is_not_mounted_has_lost_no_object(store: Path, tmp_path: Path) -> None:
    store.rename(tmp_path / "elsewhere")
    path = write_record(tmp_path, f"file://{store}")
    with pytest.raises(
        StoreError, match=f"^{OPTION} file://{store}: there is no such folder; mount the disk that has it"
    ):
        find_damaged_object(path, OPTION)
    store.mkdir()
    with pytest.raises(
        StoreError,
        match=f"^{OPTION} file://{store}: {OWNER} is missing there: is the disk mounted, is the endpoint right\\?; correct "
        f"that, or, if the shards there were deleted, delete {tmp_path}/.store.json and {tmp_path}/.made/Create",
    ):
        find_damaged_object(write_record(tmp_path, f"file://{store}"), OPTION)


@pytest.mark.parametrize("owner", [b"{}", b'{"id": "1"}', b""])
def test_the_shards_of_another_dataset_at_the_address_are_not_damaged_ones(
    store: Path, tmp_path: Path, owner: bytes
) -> None:
    (store / OWNER).write_bytes(owner)
    with pytest.raises(StoreError, match=f"{OWNER} there is that of another dataset: is the disk mounted"):
        find_damaged_object(write_record(tmp_path, f"file://{store}"), OPTION)
    (tmp_path / CLAIM).unlink()
    assert find_damaged_object(write_record(tmp_path, f"file://{store}"), OPTION) is None


def test_a_record_without_objects_needs_no_list(tmp_path: Path) -> None:
    path = write_record(tmp_path, "s3://bucket/moths")
    record = TargetRecord.load(path)
    assert record
    replace(record, objects={}).save(path)
    assert find_damaged_object(path, OPTION) is None


def test_a_bucket_is_listed_once_for_a_record(tmp_path: Path, proxy: FaultProxy) -> None:
    open_store(StoreAddress.parse(f"s3://{BUCKET}/moths")).put(OWNER, LocalFile.of_content(Path(OWNER), b"{}"))
    proxy.requests.clear()
    path = write_record(tmp_path, f"s3://{BUCKET}/moths")
    for _ in range(3):
        assert find_damaged_object(path, OPTION) == f"s3://{BUCKET}/moths/train/a.idx is missing"
    assert [method for method, _ in proxy.requests] == ["GET", "GET", "HEAD"]
    find_damaged_object(write_record(tmp_path, f"s3://{BUCKET}/moths"), OPTION)
    assert len(proxy.requests) == 6


def test_a_bucket_that_cannot_be_listed_gives_the_same_sentence_each_time_without_another_request(
    tmp_path: Path, proxy: FaultProxy
) -> None:
    path = write_record(tmp_path, "s3://no-such-bucket/moths")
    for _ in range(2):
        with pytest.raises(StoreError, match=f"^{OPTION} s3://no-such-bucket/moths: there is no such bucket"):
            find_damaged_object(path, OPTION)
    assert len(proxy.requests) == 1


def test_an_object_that_a_late_list_lacks_is_not_missing(tmp_path: Path, proxy: FaultProxy) -> None:
    to = f"s3://{BUCKET}/late"
    store = open_store(StoreAddress.parse(to))
    for name, content in ((OWNER, b"{}"), ("train/a.tar", b"abc"), ("train/a.idx", b"x")):
        store.put(name, LocalFile.of_content(Path(name), content))
    proxy.faults.append(Fault("stale", "GET", "list-type", times=9))
    assert find_damaged_object(write_record(tmp_path, to), OPTION) is None
    assert proxy.faults[0].times == 8
    store.put("train/a.tar", LocalFile.of_content(Path("a.tar"), b"abcd"))
    assert find_damaged_object(write_record(tmp_path, to), OPTION) == f"{to}/train/a.tar has the wrong size"


def test_a_process_that_is_killed_or_cannot_be_started_says_nothing_about_the_objects(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_record(tmp_path, f"file://{store}")
    monkeypatch.setattr(recorded_objects, "_compare_sizes", kill_itself)
    for _ in range(2):
        with pytest.raises(StoreError, match=f"^{OPTION}: the objects cannot be listed: worker process .* was killed"):
            find_damaged_object(path, OPTION)
        monkeypatch.setattr(recorded_objects, "_compare_sizes", len)  # the answer is remembered
    path = write_record(tmp_path, f"file://{store}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(StoreError, match=f"^{OPTION}: the objects cannot be listed: .*{tmp_path}/python"):
        find_damaged_object(path, OPTION)


def kill_itself(task: object, progress: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
