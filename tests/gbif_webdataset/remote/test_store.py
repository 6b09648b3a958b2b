import importlib.util
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.object_store import ObjectStore
from gbif_webdataset.remote.store import open_store
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
