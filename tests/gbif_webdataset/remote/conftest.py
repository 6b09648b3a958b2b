"""A bucket of an imitation of S3."""

from collections.abc import Iterator

import pytest

from gbif_webdataset.remote.object_store import ObjectStore
from gbif_webdataset.remote.store_address import StoreAddress
from tests.support.object_servers import BUCKET, S3_ENVIRONMENT, run_moto


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def store(url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return ObjectStore(StoreAddress.parse(f"s3://{BUCKET}/{request.node.name}", url))
