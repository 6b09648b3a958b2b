from pathlib import Path

from gbif_webdataset.compare.remote_dataset import copy_dataset
from gbif_webdataset.remote.store_address import StoreAddress


def test_a_dataset_in_a_folder_of_this_machine_is_not_copied(tmp_path: Path) -> None:
    address = StoreAddress.parse(f"file://{tmp_path}/moths", option_name="--old")
    assert copy_dataset(address, tmp_path / "copies") == tmp_path / "moths"
    assert not (tmp_path / "copies").exists()
