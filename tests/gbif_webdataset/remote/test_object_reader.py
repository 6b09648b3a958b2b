"""Objects of a bucket that are read in ranges."""

from pathlib import Path

import pytest

from gbif_webdataset.remote import object_reader
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.object_store import ObjectStore
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from tests.support.fault_proxy import FaultProxy
from tests.support.object_servers import BUCKET, run_rclone

pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")


def test_an_object_is_read_by_requests_for_ranges_and_a_missing_one_differs_from_a_missing_bucket(
    store: ObjectStore, url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_reader, "RANGE_BYTES", 1_000)
    for size in (2_999, 1_000, 0):
        data = (bytes(range(256)) * 12)[:size]
        store.put("large.tar", LocalFile.of_content(Path("large.tar"), data))
        with FaultProxy(url) as proxy:
            through = ObjectStore(StoreAddress.parse(f"s3://{BUCKET}/{request.node.name}", proxy.url))
            blocks = through.iterate("large.tar")
            assert b"".join(blocks) == data
            assert proxy.count("GET") == (1 + 3 if size > 1_000 else 1)
    store.put("large.tar", LocalFile.of_content(Path("large.tar"), bytes(2_000)))
    blocks = store.iterate("large.tar")
    assert next(blocks) == bytes(1_000)
    store.delete(["large.tar"])
    with pytest.raises(FileNotFoundError):
        next(blocks)
    with pytest.raises(FileNotFoundError):
        list(store.iterate("missing.tar"))
    with pytest.raises(StoreError, match="there is no such bucket"):
        list(ObjectStore(StoreAddress.parse("s3://no-such-bucket/x", url)).iterate("large.tar"))


def test_a_server_without_ranges_sends_whole_objects(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_reader, "RANGE_BYTES", 1_000)
    with run_rclone(tmp_path) as url:
        of_rclone = ObjectStore(StoreAddress.parse(f"s3://{BUCKET}/x", url))
        of_rclone.put("large.tar", LocalFile.of_content(Path("large.tar"), b"0123456789" * 250))
        assert b"".join(of_rclone.iterate("large.tar")) == b"0123456789" * 250
