import hashlib
from pathlib import Path

import pytest

from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.store import open_store
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.remote.stored_file import StoredFile
from gbif_webdataset.upload.server_copies import find_server_copies, is_copied


def test_a_file_is_copied_between_folders_of_this_machine(tmp_path: Path) -> None:
    source, target = (StoreAddress.parse(f"file://{tmp_path}/{name}") for name in ("shards", "published"))
    store = FolderStore(source)
    store.put("train/train-000000.tar", LocalFile.of_content(Path("x.tar"), b"data"))
    file = StoredFile(Path("train/train-000000.tar"), 4, hashlib.sha256(b"data").hexdigest(), store, source)
    local = LocalFile.of_content(Path("x.csv"), b"x")
    copies = find_server_copies([local, file], target)
    assert copies is not None
    assert is_copied(file, copies)
    assert not is_copied(file, None)
    assert not is_copied(local, copies)
    copies.copy(file, "train/train-000000-1a.tar")
    assert FolderStore(target).read("train/train-000000-1a.tar") == b"data"


def test_errors_name_the_address_of_the_target(tmp_path: Path) -> None:
    source, target = StoreAddress.parse(f"file://{tmp_path}"), StoreAddress.parse(f"file://{tmp_path}/x/moths")
    (tmp_path / "x").write_text("a file in the place of a folder")
    file = StoredFile(Path("a.tar"), 4, "", FolderStore(source), source)
    copies = find_server_copies([file], target)
    assert copies is not None
    with pytest.raises(StoreError, match=rf"^--to file://{tmp_path}/x/moths: "):
        copies.copy(file, "train/a.tar")


@pytest.mark.parametrize(
    ("source", "target", "endpoint", "is_copied"),
    [
        ("s3://bucket/shards", "s3://bucket/moths", "", True),
        ("s3://bucket/shards", "s3://bucket", "https://minio.test:9000/", True),
        ("s3://bucket/shards", "s3://bucket/moths", "https://other.test", False),
        ("s3://bucket/shards", "s3://another-bucket/moths", "", False),
        ("s3://bucket/shards", "file:///mnt/moths", "", False),
        ("file:///mnt/shards", "s3://bucket/moths", "", False),
    ],
)
def test_only_a_bucket_of_the_same_server_copies(
    source: str, target: str, endpoint: str, is_copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://minio.test:9000")
    address = StoreAddress.parse(source)
    file = StoredFile(Path("train/train-000000.tar"), 4, "", open_store(address), address)
    copies = find_server_copies([file], StoreAddress.parse(target, endpoint))
    assert (copies is not None) == is_copied


def test_files_on_the_disk_are_not_copied_by_a_server(tmp_path: Path) -> None:
    target = StoreAddress.parse(f"file://{tmp_path}/published")
    assert find_server_copies([LocalFile.of_content(Path("x.csv"), b"x")], target) is None
