from pathlib import Path

import pytest

from gbif_webdataset.audit.stored_shards import StoredShards, list_unrecorded
from gbif_webdataset.remote.address_claim import OWNER
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError


def test_the_objects_of_an_address_are_listed_and_named(tmp_path: Path) -> None:
    store = StoredShards(StoreAddress.parse(f"file://{tmp_path}"), tmp_path)
    with pytest.raises(StoreError, match=r"shards.json is missing there: is the disk mounted"):
        store.list_sizes()
    (tmp_path / OWNER).write_text("{}")
    store.store.put("train/train-000000.tar", LocalFile.of_content(Path("x.tar"), b"xyz"))
    assert store.list_sizes() == {"train/train-000000.tar": 3, OWNER: 2}
    assert store.name_file("train/train-000000.tar") == f"file://{tmp_path}/train/train-000000.tar"


def test_a_folder_that_is_not_mounted_is_not_a_folder_without_shards(tmp_path: Path) -> None:
    store = StoredShards(StoreAddress.parse(f"file://{tmp_path}/gone", option_name="--CreateWebDataset-to"), tmp_path)
    with pytest.raises(StoreError, match=rf"^--CreateWebDataset-to file://{tmp_path}/gone: there is no such folder; "):
        store.list_sizes()


def test_only_objects_that_are_named_like_shards_are_unrecorded() -> None:
    ours = ["train/train-000000.tar", "train/train-000000.idx"]
    unrecorded = [".parts/group-000001-000.tar", "train/train-000001.tar", "val/val-0.idx"]
    others = ["shards.json", "dataset.json", "train/train-000002-1a2b3c4d.tar", "README.md", "other/train-000001.tar"]
    assert list(list_unrecorded([*others, *reversed(unrecorded), *ours], ours)) == unrecorded
