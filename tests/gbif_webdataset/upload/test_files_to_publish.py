from pathlib import Path

import pytest

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.stored_file import StoredFile
from gbif_webdataset.upload.files_to_publish import list_files, select_files
from tests.support.publishable import Publishable


def test_the_files_beside_the_shards_are_at_the_top(tmp_path: Path) -> None:
    dataset = Publishable.made(tmp_path / "dataset", 8)
    files = list_files(dataset.paths)
    assert {"README.md", "index.html", "train/train-000000.tar", ".nv-meta/split.yaml", "balance.csv"} <= files.keys()
    assert files["README.md"].path == dataset.paths.shards / "README.md"
    assert not [path for path in files if path.startswith((".made", "splits/", "report/", "manifest"))]
    assert all(file.read() is not None for file in files.values())


def test_shards_at_an_address_are_read_there_and_all_other_files_on_the_disk(tmp_path: Path) -> None:
    dataset = Publishable.made(tmp_path / "dataset", 8)
    before = list_files(dataset.paths)
    dataset.move_shards(StoreAddress.parse(f"file://{tmp_path}/moths"))
    files = list_files(dataset.paths)
    assert files.keys() == before.keys()
    stored = {path for path, file in files.items() if isinstance(file, StoredFile)}
    assert stored == {path for path in files if path.endswith(".tar")}
    assert all(files[path].read() is not None for path in files)
    assert {path: files[path].sha256 for path in stored} == {path: before[path].sha256 for path in stored}


@pytest.mark.parametrize("task", ["SplitDataset", "CreateWebDataset", "ReportDataset"])
def test_a_stage_that_has_not_run_gives_one_sentence(tmp_path: Path, task: str) -> None:
    dataset = Publishable.made(tmp_path / "dataset", 8)
    dataset.paths.record(task).unlink()
    with pytest.raises(MissingPieceError, match=f"{task} has not run; run `make report` first"):
        list_files(dataset.paths)


def test_patterns_select_paths_and_folders() -> None:
    paths = ["train/train-000000.tar", "train/train-000000.idx", "README.md", "a/b/c.md", "training.csv"]
    assert select_files(paths, ["train"]) == {"train/train-000000.tar", "train/train-000000.idx"}
    assert select_files(paths, ["*.md"]) == {"README.md", "a/b/c.md"}
    assert select_files(paths, ["train/*.tar", "training.csv"]) == {"train/train-000000.tar", "training.csv"}
    assert select_files(paths, ["x"]) == set()
