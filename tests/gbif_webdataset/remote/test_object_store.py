"""Requests to a bucket; tests/end_to_end/test_publish.py has faults, kills and the other servers."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.remote import object_store
from gbif_webdataset.remote.local_file import LocalFile, LocalFileError
from gbif_webdataset.remote.object_store import ObjectStore
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.gcs_front import GcsFront
from tests.support.object_servers import BUCKET, S3_ENVIRONMENT, run_gcs_emulator

pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
boto3 = pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")


def content(text: str, name: str = "x.csv") -> LocalFile:
    return LocalFile.of_content(Path(name), text.encode())


def test_objects_are_written_listed_read_and_deleted(store: ObjectStore, tmp_path: Path) -> None:
    assert store.list_sizes() == {}
    assert store.read("a/b.csv") is None
    store.put("a/b.csv", content("hello"))
    store.put("c.csv", content(""))
    assert store.list_sizes() == {"a/b.csv": 5, "c.csv": 0}
    assert store.read("a/b.csv") == b"hello"
    store.download("a/b.csv", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"hello"
    assert list(store.iterate("a/b.csv")) == [b"hello"]
    store.delete(["a/b.csv", "missing.csv"])
    assert store.list_sizes() == {"c.csv": 0}


def test_google_deletes_several_objects_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token")
    both = threading.Barrier(2)
    with run_gcs_emulator(tmp_path) as url, GcsFront(url) as front:
        store = ObjectStore(StoreAddress.parse(f"gs://{BUCKET}/moths", front.url))
        names = [f"{number}.csv" for number in range(4)]
        for name in names:
            store.put(name, content("x"))
        front.before = lambda method, path: method == "DELETE" and both.wait(20)
        store.delete(names[:2])
        front.before = lambda method, path: None
        front.faults = [Fault("500", "DELETE", "2.csv")]
        with pytest.raises(TemporaryStoreError, match="InternalError"):
            store.delete(names)
        store.delete(names)
        assert store.list_sizes() == {}
        assert not both.broken


def test_objects_have_the_media_type_of_their_file(
    store: ObjectStore, url: str, request: pytest.FixtureRequest
) -> None:
    store.put("x.html", content("<p>", "index.html"))
    head = boto3.client("s3", endpoint_url=url).head_object(Bucket=BUCKET, Key=f"{request.node.name}/x.html")
    assert head["ContentType"] == "text/html; charset=utf-8"


def test_unfinished_uploads_of_these_objects_alone_are_aborted(
    store: ObjectStore, url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "PART_BYTES", 100)
    client = boto3.client("s3", endpoint_url=url)
    for name in ("ours.tar", "other.tar"):
        client.create_multipart_upload(Bucket=BUCKET, Key=f"{request.node.name}/{name}")
    store.abort_uploads({"ours.tar": 101, "small.tar": 100})
    listed = client.list_multipart_uploads(Bucket=BUCKET, Prefix=request.node.name)["Uploads"]
    assert [one["Key"] for one in listed] == [f"{request.node.name}/other.tar"]


def test_credentials_come_from_profiles_too(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    for name in S3_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "credentials").write_text("[moths]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "moths")
    store = ObjectStore(StoreAddress.parse(f"s3://{BUCKET}/{request.node.name}", url))
    store.put("x.csv", content("x"))
    assert store.list_sizes() == {"x.csv": 1}
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(StoreError, match=r"the settings of the cloud are not valid \(ProfileNotFound\)"):
        ObjectStore(StoreAddress.parse(f"s3://{BUCKET}/x", url))


def test_an_object_is_replaced_only_if_it_is_as_it_was_read(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    store.replace("d.json", b"first", None)
    store.replace("d.json", b"first", None)  # as after an answer that was lost
    store.replace("d.json", b"second", b"first")
    with pytest.raises(StoreError, match=r"d\.json has changed since this command began"):
        store.replace("d.json", b"third", b"first")
    with pytest.raises(StoreError, match=r"e\.json was deleted since this command began"):
        store.replace("e.json", b"third", b"first")
    get, put = obstore.get, obstore.put

    def get_before_another_process_writes(client: object, name: str) -> object:
        try:
            return get(client, name)
        finally:
            put(client, name, b"theirs")

    monkeypatch.setattr(obstore, "get", get_before_another_process_writes)
    for name, old in (("d.json", b"second"), ("f.json", None)):
        with pytest.raises(TemporaryStoreError):
            store.replace(name, b"ours", old)
        assert store.read(name) == b"theirs"


@pytest.mark.parametrize("max_put_bytes", [5, object_store.MAX_PUT_BYTES])
def test_faults_of_a_file_of_this_machine_are_not_those_of_the_target(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, max_put_bytes: int
) -> None:
    monkeypatch.setattr(object_store, "MAX_PUT_BYTES", max_put_bytes)
    with pytest.raises(LocalFileError, match=r"^/proc/self/mem: Input/output error"):
        store.put("x", LocalFile(Path("/proc/self/mem"), 10, ""))
    store.put("x", content("x"))
    with pytest.raises(LocalFileError, match=r"^/dev/full: No space left on device"):
        store.download("x", Path("/dev/full"))


def test_an_object_is_sent_in_parts_if_it_is_large_or_larger_than_a_part_at_a_limited_speed(
    store: ObjectStore, url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "MAX_PUT_BYTES", 100)
    monkeypatch.setattr(object_store, "PART_BYTES", 10)
    client = boto3.client("s3", endpoint_url=url)
    for size, is_paced, has_parts in ((100, False, False), (101, False, True), (10, True, False), (11, True, True)):
        store.put("x", replace(content("x" * size), pace=(lambda count: None) if is_paced else None))
        tag = client.head_object(Bucket=BUCKET, Key=f"{request.node.name}/x")["ETag"]
        assert ("-" in tag) is has_parts


def test_all_bytes_of_an_object_of_google_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token")
    google = ObjectStore(StoreAddress.parse("gs://bucket/x", "http://127.0.0.1:9"))
    assert google.count_memory(LocalFile(Path("x.tar"), 1 << 30, "")) == 1 << 30


def test_credentials_that_may_not_list_uploads_have_left_none(
    url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with FaultProxy(url) as proxy:
        store = ObjectStore(StoreAddress.parse(f"s3://{BUCKET}/{request.node.name}", proxy.url))
        proxy.faults = [Fault("403", "GET", "uploads")]
        store.abort_uploads({"x.tar": 1 << 30})
        proxy.faults = [Fault("503", "GET", "uploads")]
        with pytest.raises(TemporaryStoreError, match="SlowDown"):
            store.abort_uploads({"x.tar": 1 << 30})


@pytest.mark.parametrize("max_bytes", [5 << 30, 1 << 20])
def test_the_server_copies_an_object_as_a_whole_or_in_parts(
    store: ObjectStore, url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, max_bytes: int
) -> None:
    monkeypatch.setattr(object_store, "MAX_COPY_BYTES", max_bytes)
    data = bytes(range(256)) * (9 << 12)  # more than the 8 MiB above which boto3 copies in parts
    store.put("a.html", LocalFile.of_content(Path("a.html"), data))
    store.put("b", content("other"))
    store.copy("a.html", "b", len(data))
    assert store.read("b") == data
    assert store.find_size("b") == len(data)
    name = f"{request.node.name}/b"
    head = boto3.client("s3", endpoint_url=url).head_object(Bucket=BUCKET, Key=name)
    assert (head["ETag"].endswith('-2"')) == (max_bytes < len(data))
    with pytest.raises(TemporaryStoreError):
        store.copy("missing", "c", 2 << 20)
    assert store.find_size("c") is None
