import importlib.util
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.object_store import ObjectStore
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store import LIST_ATTEMPTS, find_unlisted, open_store
from gbif_webdataset.remote.store_address import StoreAddress

pytest.importorskip("obstore")


def test_a_folder_is_opened(tmp_path: Path) -> None:
    store = open_store(StoreAddress.parse(f"file://{tmp_path}/moths"))
    store.put("a.csv", LocalFile.of_content(Path("a.csv"), b"x"))
    assert (tmp_path / "moths/a.csv").read_bytes() == b"x"
    assert store.list_sizes() == {"a.csv": 1}


def test_a_bucket_is_opened_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert isinstance(open_store(StoreAddress.parse("s3://bucket/moths")), ObjectStore)


def test_a_missing_package_gives_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ParameterError, match=r"^--CreateWebDataset-to s3://\.\.\.: the package obstore is not installed"
    ):
        open_store(StoreAddress.parse("s3://bucket/moths", option_name="--CreateWebDataset-to"))


def test_a_late_list_is_asked_for_again_and_other_sizes_are_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(StoreAddress.parse(f"file://{tmp_path}/moths"))
    store.put("a.csv", LocalFile.of_content(Path("a.csv"), b"x"))
    late = iter([{"a.csv": 0}])
    listed = store.list_sizes
    monkeypatch.setattr(store, "list_sizes", lambda: next(late, None) or listed())
    retries = Retries("--to", pause=0)
    assert find_unlisted(store, retries, {"a.csv": 1}) == []
    assert retries.count == 1
    assert find_unlisted(store, retries, {"a.csv": 1, "b.csv": 1, "c.csv": 0}) == ["b.csv", "c.csv"]
    assert retries.count == 1 + LIST_ATTEMPTS - 1
