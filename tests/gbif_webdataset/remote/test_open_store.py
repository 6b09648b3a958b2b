from pathlib import Path

import pytest

from gbif_webdataset.remote.open_store import open_object_store
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from tests.support.object_servers import BUCKET, S3_ENVIRONMENT, run_moto

obstore = pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")


def test_the_environment_names_server_and_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with run_moto(tmp_path) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        store = open_object_store(StoreAddress.parse(f"s3://{BUCKET}/x"))
        obstore.put(store, "a", b"1")
        assert [one["path"] for one in obstore.list(store).collect()] == ["a"]


def test_without_credentials_a_sentence_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match=r"--dwca s3://bucket/x: there are no credentials for S3; run `aws configure`"):
        open_object_store(StoreAddress.parse("s3://bucket/x", option_name="--dwca"))
