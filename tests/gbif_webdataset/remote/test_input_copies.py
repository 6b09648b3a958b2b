import json
import os
from pathlib import Path

import pytest

from gbif_webdataset.remote.input_copies import RemoteInput, find_copy, update_copy
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError

NAMES = ("train.csv", "val.csv")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A folder at an address."""
    folder = tmp_path / "remote"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def source(remote: Path) -> RemoteInput:
    return RemoteInput(StoreAddress.parse(f"file://{remote}", option_name="--SplitDataset-previous-splits"), NAMES)


def test_a_folder_is_copied_once(source: RemoteInput, remote: Path, tmp_path: Path) -> None:
    copy = find_copy(source, tmp_path / "inputs")
    assert {path.name: path.read_text() for path in copy.iterdir()} == {name: name for name in NAMES}
    for name in NAMES:
        (remote / name).unlink()
    assert find_copy(source, tmp_path / "inputs") == copy  # asks for nothing


def test_a_damaged_copy_is_made_again(source: RemoteInput, tmp_path: Path) -> None:
    copy = find_copy(source, tmp_path / "inputs")
    (copy / "val.csv").write_text("val.cs#")
    find_copy(source, tmp_path / "inputs")
    assert (copy / "val.csv").read_text() == "val.csv"


@pytest.mark.parametrize("content", ["", "{}", '{"files": {"train.csv": 1}}'])
def test_a_damaged_list_counts_as_absent(source: RemoteInput, tmp_path: Path, content: str) -> None:
    copy = find_copy(source, tmp_path / "inputs")
    (tmp_path / f"inputs/{source.address.name}.json").write_text(content)
    assert find_copy(source, tmp_path / "inputs") == copy
    assert json.loads((tmp_path / f"inputs/{source.address.name}.json").read_text())["files"].keys() == set(NAMES)


def test_only_files_that_changed_are_copied_again(source: RemoteInput, remote: Path, tmp_path: Path) -> None:
    copy = find_copy(source, tmp_path / "inputs")
    before = (copy / "train.csv").stat().st_ino
    assert update_copy(source, tmp_path / "inputs") == []
    (remote / "val.csv").write_text("other")
    assert update_copy(source, tmp_path / "inputs") == ["val.csv"]
    assert (copy / "val.csv").read_text() == "other"
    assert (copy / "train.csv").stat().st_ino == before


def test_the_same_bytes_of_another_time_are_no_change(source: RemoteInput, remote: Path, tmp_path: Path) -> None:
    find_copy(source, tmp_path / "inputs")
    os.utime(remote / "val.csv", ns=(1, 1))
    assert update_copy(source, tmp_path / "inputs") == []


def test_a_file_is_copied_with_those_beside_it(remote: Path, tmp_path: Path) -> None:
    source = RemoteInput(StoreAddress.parse(f"file://{remote}/train.csv"), beside=("val.csv", "missing.csv"))
    copy = find_copy(source, tmp_path / "inputs")
    assert copy.read_text() == "train.csv"
    assert copy.with_name("val.csv").exists()
    (remote / "val.csv").unlink()
    assert update_copy(source, tmp_path / "inputs") == ["val.csv"]
    assert not copy.with_name("val.csv").exists()


def test_a_missing_file_is_named(source: RemoteInput, remote: Path, tmp_path: Path) -> None:
    (remote / "val.csv").unlink()
    with pytest.raises(StoreError, match=r"--SplitDataset-previous-splits file:///.*/remote: there is no file val.csv"):
        find_copy(source, tmp_path / "inputs")
