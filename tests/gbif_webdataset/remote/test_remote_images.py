from collections.abc import Iterator
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.remote.remote_images import RemoteImages
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.object_servers import BUCKET, S3_ENVIRONMENT, run_moto

boto3 = pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")
pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
OPTION = "--FetchChunk-cache-path"


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with run_moto(tmp_path) as url, FaultProxy(url) as proxy:
        for name, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": proxy.url}.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3", endpoint_url=url).put_object(Bucket=BUCKET, Key="images/a/1.jpg", Body=b"image")
        yield proxy


def test_each_image_is_one_request(proxy: FaultProxy) -> None:
    images = RemoteImages(StoreAddress.parse(f"s3://{BUCKET}/images", option_name=OPTION))
    assert images.read("a/1.jpg") == b"image"
    with pytest.raises(FileNotFoundError):
        images.read("a/2.jpg")
    assert [method for method, _ in proxy.requests] == ["GET", "GET"]  # nothing is listed
    proxy.faults = [Fault("503", "GET", times=1)]
    assert images.read("a/1.jpg") == b"image"
    proxy.faults = [Fault("403", "GET", times=1)]
    with pytest.raises(StoreError, match=f"{OPTION} s3://{BUCKET}/images: the credentials may not read"):
        images.read("a/1.jpg")


def test_a_missing_bucket_is_an_error(proxy: FaultProxy) -> None:
    images = RemoteImages(StoreAddress.parse("s3://no-such-bucket/images", option_name=OPTION))
    with pytest.raises(StoreError, match="there is no such bucket"):
        images.read("a/1.jpg")


def test_images_on_the_hub_are_refused() -> None:
    with pytest.raises(ParameterError, match="cannot be read one by one"):
        RemoteImages(StoreAddress.parse("hf://datasets/me/moths/images", option_name=OPTION))
