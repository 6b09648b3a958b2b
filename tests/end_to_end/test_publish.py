"""Publishing to real servers of object storage, with faults and kills."""

import contextlib
import hashlib
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.remote import object_store, s3_parts
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.object_store import ObjectStore
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.upload.publish_dataset import Publication
from gbif_webdataset.upload.published_version import NAME, PublishedVersion
from tests.support.datasets import ROOT
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.gcs_front import GcsFront
from tests.support.object_servers import (
    BUCKET,
    S3_ENVIRONMENT,
    SECRET,
    create_container,
    make_azurite_key,
    run_azurite,
    run_gcs_emulator,
    run_moto,
    run_rclone,
)
from tests.support.publish_process import LARGE_BYTES, PART_BYTES
from tests.support.publishable import QUICK, Publishable, check_complete, load_record, read_version

pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
boto3 = pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")
SERVERS = {"moto": run_moto, "rclone": run_rclone}
OTHER_CLOUDS = {"azurite": run_azurite, "gcs": run_gcs_emulator}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URL of a server by its name; each is started when it is first used."""
    urls: dict[str, str] = {}
    with contextlib.ExitStack() as stack:

        def find(name: str) -> str:
            if name not in urls:
                run = {**SERVERS, **OTHER_CLOUDS}[name]
                urls[name] = stack.enter_context(run(tmp_path_factory.mktemp(name)))
                if name == "azurite":
                    create_container(urls[name])
            return urls[name]

        yield find


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def proxy(servers: Callable[[str], str]) -> Iterator[FaultProxy]:
    """A proxy before moto."""
    with FaultProxy(servers("moto")) as proxy:
        yield proxy


@pytest.fixture
def dataset(tmp_path: Path) -> Publishable:
    return Publishable.made(tmp_path / "dataset", 16)


@pytest.fixture
def target(proxy: FaultProxy, request: pytest.FixtureRequest) -> StoreAddress:
    return make_target(proxy.url, request)


def make_target(endpoint: str, request: pytest.FixtureRequest) -> StoreAddress:
    """A target of the test's own."""
    prefix = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return StoreAddress.parse(f"s3://{BUCKET}/{prefix}/moths", endpoint)


def add_large_file(dataset: Publishable, size: int = 12 << 20) -> Path:
    """Make a file of the dataset so large that it is uploaded in parts."""
    path = dataset.paths.shards / "dropped.csv"
    path.write_bytes(b"0123456789abcde\n" * (size // 16))
    shards = [path for path in dataset.paths.shards.rglob("*") if path.is_file()]
    dataset.write_record("CreateWebDataset", shards)
    return path


def list_unfinished(target: StoreAddress) -> list[str]:
    """The keys of unfinished multipart uploads."""
    client = boto3.client("s3", endpoint_url=target.endpoint)
    return [one["Key"] for one in client.list_multipart_uploads(Bucket=target.container).get("Uploads", [])]


@pytest.mark.parametrize("name", SERVERS)
def test_versions_follow_each_other_in_a_bucket(
    servers: Callable[[str], str], name: str, dataset: Publishable, request: pytest.FixtureRequest
) -> None:
    with FaultProxy(servers(name)) as proxy:
        target = make_target(proxy.url, request)
        read = ObjectStore(target).read
        dataset.send(target)
        first = check_complete(read)
        puts = proxy.count("PUT")
        assert "Nothing to upload" in dataset.send(target)
        assert proxy.count("PUT") == puts
        dataset.image("train", "occurrence999", label="moth 0")
        dataset.make("1.1.0")
        dataset.send(target)
        second = check_complete(read)
        assert (first.version, second.version) == ("1.0.0", "1.1.0")
        kept = set(first.objects) & set(second.objects)
        assert "train/train-000000.tar" in {one.path for one in kept}
        assert not {one.name for one in kept} & {path for _, path in proxy.requests[puts:]}
        dataset.send(target, replace(QUICK, prune=True))
        assert check_complete(read).earlier == []
        listed = set(ObjectStore(target).list_sizes())
        assert listed == {*second.names, NAME}


@pytest.mark.parametrize(
    ("fault", "repeated"),
    [
        (Fault("reset", times=3), 3),
        (Fault("500", times=3), 3),
        (Fault("503", times=3), 3),
        (Fault("cut", times=3), 3),
        (Fault("lost-answer", times=3), 3),
        (Fault("stale", "GET", "list-type=2", times=3), 2),  # the first list, before the upload, finds no shard anyway
        (Fault("503", "GET", NAME), 1),
        (Fault("reset", path=NAME), 1),
    ],
    ids=lambda value: f"{value.kind}-{value.method}-{value.path}" if isinstance(value, Fault) else str(value),
)
def test_temporary_faults_are_repeated_and_counted(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress, fault: Fault, repeated: int
) -> None:
    proxy.faults = [fault]
    summary = dataset.send(target)
    assert f"{repeated} request{'' if repeated == 1 else 's'} repeated" in summary
    assert load_record(dataset, target)["repeated_requests"] == repeated
    check_complete(ObjectStore(target).read)


def test_an_object_that_was_stored_in_part_is_uploaded_again(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress
) -> None:
    proxy.faults = [Fault("stored-truncated", path=r"train-000000\.tar$")]
    dataset.send(target)
    check_complete(ObjectStore(target).read)
    assert proxy.count("PUT", r"train-000000\.tar$") == 2


def test_an_object_that_is_always_stored_in_part_is_never_announced(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress
) -> None:
    proxy.faults = [Fault("stored-truncated", path=r"train-000000\.tar$", times=100)]
    with pytest.raises(StoreError, match=r"does not have 1 object, such as train/train-000000\.tar, with the size"):
        dataset.send(target)
    assert ObjectStore(target).read(NAME) is None
    proxy.faults = []
    dataset.send(target)
    check_complete(ObjectStore(target).read)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("403", r"the credentials may not read, list and write there \(AccessDenied\); give others, or allow it"),
        ("301", r"the bucket is in another region; set AWS_REGION to the region of the bucket"),
        ("507", r"the target has no space left \(InsufficientStorage\); free some space there, and repeat"),
    ],
)
def test_what_the_target_refuses_gives_one_sentence_without_the_servers_text(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress, kind: str, sentence: str
) -> None:
    proxy.faults = [Fault(kind, times=1_000)]
    with pytest.raises(StoreError, match=rf"^--to {target.address}: {sentence}") as raised:
        dataset.send(target)
    assert "SECRET" not in str(raised.value)
    assert proxy.count("PUT") <= 32, "refusals are not repeated"


def test_a_missing_bucket_wrong_credentials_and_no_server_give_one_sentence(
    servers: Callable[[str], str], dataset: Publishable, monkeypatch: pytest.MonkeyPatch
) -> None:
    rclone = servers("rclone")
    with pytest.raises(StoreError, match="there is no such bucket or container; create it, or correct the address"):
        dataset.send(StoreAddress.parse("s3://no-such-bucket/x", rclone))
    with pytest.raises(StoreError, match="8 attempts failed, the last one with: connect error"):
        dataset.send(StoreAddress.parse(f"s3://{BUCKET}/x", "http://127.0.0.1:9"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match="the credentials may not read, list and write there"):
        dataset.send(StoreAddress.parse(f"s3://{BUCKET}/x", rclone))
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StoreError, match="there are no credentials for S3; run `aws configure`"):
        dataset.send(StoreAddress.parse(f"s3://{BUCKET}/x", rclone))


def test_a_reader_sees_a_complete_version_at_every_moment_of_an_update(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress, servers: Callable[[str], str]
) -> None:
    def read(name: str) -> bytes | None:
        try:
            return bytes(
                urllib.request.urlopen(f"{servers('moto')}/{BUCKET}/{target.prefix}/{name}", timeout=10).read()
            )
        except urllib.error.HTTPError:
            return None

    dataset.send(target)
    dataset.rows["train"] = dataset.rows["train"][1:]
    dataset.image("val", "occurrence999", label="moth 0")
    dataset.make("1.1.0")
    seen: list[PublishedVersion] = []

    def look(method: str, path: str) -> None:
        if method == "PUT":
            seen.append(check_complete(read))

    proxy.before = look
    dataset.send(target)
    assert {version.version for version in seen} == {"1.0.0"}
    assert len(seen) > 10
    assert check_complete(read).version == "1.1.0"


def test_a_server_without_conditional_writes_has_versions_and_refuses_a_publisher_that_began_earlier(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress
) -> None:
    proxy.has_conditions = False
    store = ObjectStore(target)
    assert "repeated" not in dataset.send(target)
    assert proxy.count("PUT", f"{NAME}$") == 2, "one on a condition, and one without"
    for version in ("1.0.1", "1.0.2"):
        dataset.rows["train"] = dataset.rows["train"][1:]
        dataset.make(version)
        if version == "1.0.1":
            dataset.send(target)
            assert check_complete(store.read).version == version
    slow = Publication(dataset.paths, target, QUICK)
    theirs = PublishedVersion("theirs", "Birds", "2.0.0", []).to_json()
    store.put(NAME, LocalFile.of_content(Path(NAME), theirs))
    with pytest.raises(StoreError, match=r"dataset\.json has changed since this command began"):
        slow.run()
    assert store.read(NAME) == theirs


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upload files in parts that are not large."""
    monkeypatch.setattr(object_store, "MAX_PUT_BYTES", LARGE_BYTES)
    for module in (object_store, s3_parts):
        monkeypatch.setattr(module, "PART_BYTES", PART_BYTES)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("name", SERVERS)
def test_large_files_are_uploaded_in_parts_to_each_server(
    servers: Callable[[str], str], name: str, dataset: Publishable, request: pytest.FixtureRequest
) -> None:
    add_large_file(dataset)
    with FaultProxy(servers(name)) as proxy:
        target = make_target(proxy.url, request)
        dataset.send(target)
        assert proxy.count("PUT", "/versions/.*partNumber=3") == 1
        check_complete(ObjectStore(target).read)
        assert list_unfinished(target) == []


@pytest.mark.usefixtures("small_parts")
def test_a_part_that_fails_is_sent_again_and_no_other(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress
) -> None:
    large = add_large_file(dataset)
    proxy.faults = [Fault("503", path="partNumber=2"), Fault("reset", path="partNumber=3")]
    summary = dataset.send(target)
    assert "2 requests repeated" in summary
    assert [proxy.count("PUT", f"/versions/.*partNumber={number}") for number in (1, 2, 3)] == [1, 2, 2]
    version = check_complete(ObjectStore(target).read)
    assert version.by_path["dropped.csv"].bytes == large.stat().st_size
    assert list_unfinished(target) == []


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("name", SERVERS)
def test_a_large_file_whose_last_answer_is_lost_is_not_sent_again(
    servers: Callable[[str], str], name: str, dataset: Publishable, request: pytest.FixtureRequest
) -> None:
    add_large_file(dataset)
    with FaultProxy(servers(name)) as proxy:
        target = make_target(proxy.url, request)
        proxy.faults = [Fault("lost-answer", "POST", "/versions/.*uploadId=")]
        assert "1 request repeated" in dataset.send(target)
        assert proxy.count("PUT", "/versions/.*partNumber=") == 3
        check_complete(ObjectStore(target).read)
        assert list_unfinished(target) == []


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_that_changed_leaves_no_parts(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress
) -> None:
    large = add_large_file(dataset)
    large.write_bytes(large.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedFileError):
        dataset.send(target)
    assert proxy.count("PUT", "partNumber=1") == 1
    assert list_unfinished(target) == []
    assert ObjectStore(target).read(NAME) is None


@pytest.mark.parametrize(
    "moment", ["PUT /.*/train/.*tar$", "PUT .*partNumber=2", "PUT .*/shards.csv$", f"PUT .*/{NAME}$"]
)
def test_a_killed_upload_continues_and_leaves_no_parts(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress, moment: str
) -> None:
    add_large_file(dataset)
    kill_at(proxy, dataset, target, moment)
    if "partNumber" in moment:
        assert list_unfinished(target) == [f"{target.prefix}/versions/1.0.0/dropped.csv"]
    before = set(ObjectStore(target).list_sizes())
    if NAME not in moment:  # the last request reaches the server
        assert read_or_none(target) is None
    lines = dataset.paths.publish_journal(target.name).read_text().split("\n")
    done = [line for line in lines if line.endswith("}") and '"uploaded_at": ""' not in line]
    puts = proxy.count("PUT")
    publish(dataset, target)
    version = check_complete(ObjectStore(target).read)
    assert list_unfinished(target) == []
    assert proxy.count("PUT", "/versions/.*partNumber=1") == 1, "parts of the killed run are sent again"
    assert before <= {*version.names, NAME}
    repeated = [path for method, path in proxy.requests if method == "PUT"][puts:]
    names = [re.search(r'"name": "([^"]+)"', line) for line in done]
    assert not [found[1] for found in names if found and f"/{BUCKET}/{target.prefix}/{found[1]}" in repeated]


def read_or_none(target: StoreAddress) -> PublishedVersion | None:
    data = ObjectStore(target).read(NAME)
    return PublishedVersion.of_json(data) if data else None


def publish(dataset: Publishable, target: StoreAddress) -> str:
    """Publish in a process of its own; what it prints."""
    ended = subprocess.run(command(dataset, target), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def command(dataset: Publishable, target: StoreAddress) -> list[str]:
    module = "tests.support.publish_process"
    return [sys.executable, "-m", module, str(dataset.root), target.address, target.endpoint]


def kill_at(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress, moment: str, number: int = signal.SIGKILL
) -> None:
    """Publish until the first request that matches, and send a signal then, which ends the process."""
    process = subprocess.Popen(command(dataset, target), cwd=ROOT, stderr=subprocess.DEVNULL)

    def kill(method: str, path: str) -> None:
        if re.search(moment, f"{method} {path}"):
            process.send_signal(number)

    proxy.before = kill
    try:
        assert process.wait(60) == -number
    finally:
        process.kill()
        process.wait(10)
        proxy.before = lambda method, path: None


@pytest.mark.parametrize(("method", "path"), [("GET", "list-type"), ("PUT", r"train-000000\.tar")])
def test_ctrl_c_ends_a_publication_whose_request_is_not_answered(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress, method: str, path: str
) -> None:
    proxy.faults.append(Fault("hang", method, path, times=99))
    kill_at(proxy, dataset, target, f"{method} .*{path}", signal.SIGINT)
    proxy.faults.clear()
    publish(dataset, target)
    check_complete(ObjectStore(target).read)


def test_bandwidth_is_limited(proxy: FaultProxy, dataset: Publishable, target: StoreAddress) -> None:
    paths = dataset.paths
    size = sum(path.stat().st_size for path in paths.shards.rglob("*") if path.is_file())
    moments: list[tuple[float, int]] = []

    def note(method: str, path: str) -> None:
        if method == "PUT":
            moments.append((time.monotonic(), 1))

    proxy.before = note
    dataset.send(target, replace(QUICK, bytes_per_second=size))
    assert moments[-1][0] - moments[0][0] > 0.5


@pytest.mark.usefixtures("small_parts")
def test_the_parts_of_a_file_are_limited_as_well(proxy: FaultProxy, dataset: Publishable, target: StoreAddress) -> None:
    add_large_file(dataset)
    moments: list[float] = []

    def note(method: str, path: str) -> None:
        if "partNumber=" in path and "/versions/" in path:
            moments.append(time.monotonic())

    proxy.before = note
    dataset.send(target, replace(QUICK, bytes_per_second=2 * PART_BYTES))
    assert len(moments) == 3
    assert moments[1] - moments[0] > 0.4
    assert moments[2] - moments[1] > 0.4


def test_secrets_are_in_no_output_record_or_object(
    proxy: FaultProxy, dataset: Publishable, target: StoreAddress
) -> None:
    proxy.faults = [Fault("403", path=r"shards\.csv")]
    printed = ""
    for _ in range(2):
        ended = subprocess.run(
            command(dataset, target), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        printed += ended.stdout + ended.stderr
    assert "AccessDenied" in printed
    check_complete(ObjectStore(target).read)
    texts = [printed.encode(), *(path.read_bytes() for path in dataset.root.rglob("*") if path.is_file())]
    texts += [ObjectStore(target).read(name) or b"" for name in ObjectStore(target).list_sizes()]
    for secret in (SECRET, S3_ENVIRONMENT["AWS_ACCESS_KEY_ID"], "AKIASECRETINANSWER"):
        assert not [text for text in texts if secret.encode() in text]


@dataclass
class Cloud:
    """A proxy before an imitation of Azure or Google, and a target there."""

    proxy: FaultProxy
    target: StoreAddress


@pytest.fixture(params=OTHER_CLOUDS)
def cloud(
    servers: Callable[[str], str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", make_azurite_key())
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token")
    prefix = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    if request.param == "azurite":
        with FaultProxy(servers("azurite")) as proxy:
            yield Cloud(proxy, StoreAddress.parse(f"az://{BUCKET}/{prefix}", f"{proxy.url}/devstoreaccount1"))
    else:
        with GcsFront(servers("gcs")) as proxy:
            yield Cloud(proxy, StoreAddress.parse(f"gs://{BUCKET}/{prefix}", proxy.url))


def test_other_clouds_have_the_same_versions(dataset: Publishable, cloud: Cloud) -> None:
    publish_twice_and_prune(dataset, cloud.target)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("is_limited", [False, True])
def test_large_files_are_uploaded_to_other_clouds(dataset: Publishable, cloud: Cloud, is_limited: bool) -> None:
    add_large_file(dataset)
    dataset.send(cloud.target, replace(QUICK, bytes_per_second=100_000_000 if is_limited else 0))
    assert check_complete(ObjectStore(cloud.target).read).by_path["dropped.csv"].bytes > LARGE_BYTES
    assert bool(cloud.proxy.count("PUT", "/versions/.*comp=block&")) is (cloud.target.scheme == "az")


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_that_changed_is_not_published_to_other_clouds(dataset: Publishable, cloud: Cloud) -> None:
    large = add_large_file(dataset)
    large.write_bytes(large.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedFileError, match=re.escape(str(large))):
        dataset.send(cloud.target)
    store = ObjectStore(cloud.target)
    assert store.read(NAME) is None
    assert "versions/1.0.0/dropped.csv" not in store.list_sizes()


@pytest.mark.parametrize("kind", ["reset", "500", "503", "cut", "lost-answer"])
@pytest.mark.parametrize("path", [r"/train/.*\.tar", NAME])
def test_temporary_faults_of_other_clouds_are_repeated_and_counted(
    dataset: Publishable, cloud: Cloud, kind: str, path: str
) -> None:
    cloud.proxy.faults = [Fault(kind, path=path, times=2)]
    assert "2 requests repeated" in dataset.send(cloud.target)
    check_complete(ObjectStore(cloud.target).read)


@pytest.mark.usefixtures("small_parts")
def test_a_part_that_fails_is_repeated_on_azure(dataset: Publishable, cloud: Cloud) -> None:
    if cloud.target.scheme != "az":
        pytest.skip("Google's objects have no parts")
    add_large_file(dataset)
    cloud.proxy.faults = [Fault("503", path="comp=block&"), Fault("reset", path="comp=blocklist")]
    assert "2 requests repeated" in dataset.send(cloud.target)
    check_complete(ObjectStore(cloud.target).read)


def test_what_other_clouds_refuse_gives_one_sentence(dataset: Publishable, cloud: Cloud) -> None:
    cloud.proxy.faults = [Fault("403", times=1_000)]
    with pytest.raises(StoreError, match=rf"^--to {cloud.target.address}: the credentials may not") as raised:
        dataset.send(cloud.target)
    assert "SECRET" not in str(raised.value)
    assert cloud.proxy.count("PUT") <= 32, "refusals are not repeated"


@pytest.mark.parametrize("moment", ["PUT .*/train/.*tar", "PUT .*/dropped.csv", "PUT .*/shards.csv", f"PUT .*/{NAME}"])
def test_a_killed_upload_to_other_clouds_continues(dataset: Publishable, cloud: Cloud, moment: str) -> None:
    add_large_file(dataset)
    kill_at(cloud.proxy, dataset, cloud.target, moment)
    before = set(ObjectStore(cloud.target).list_sizes())
    publish(dataset, cloud.target)
    version = check_complete(ObjectStore(cloud.target).read)
    assert before <= {*version.names, NAME} == set(ObjectStore(cloud.target).list_sizes())


def publish_twice_and_prune(dataset: Publishable, target: StoreAddress) -> None:
    """Publish two versions, and prune the first."""
    read = ObjectStore(target).read
    dataset.send(target)
    assert check_complete(read).version == "1.0.0"
    assert "Nothing to upload" in dataset.send(target)
    dataset.rows["train"] = dataset.rows["train"][1:]
    dataset.make("1.0.1")
    dataset.send(target, replace(QUICK, prune=True))
    version = check_complete(read)
    assert (version.version, version.earlier) == ("1.0.1", [])
    assert set(ObjectStore(target).list_sizes()) == {*version.names, NAME}
    assert read_version(read).dataset
