"""Shards that CreateWebDataset wrote to an address: their publication and their audit, with servers and faults."""

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext as does_not_raise
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset
from markupsafe import escape

from gbif_webdataset.audit.audit_dataset import AuditResult, audit_dataset
from gbif_webdataset.errors import DamagedFileError, ParameterError
from gbif_webdataset.publish.loading_code import write_loading_code
from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.local_file import LocalFile, RecordedFile
from gbif_webdataset.remote.object_store import ObjectStore
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.s3_parts import PART_BYTES
from gbif_webdataset.remote.store import open_store
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.remote.stored_file import StoredFile
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.shard_names import find_shard
from gbif_webdataset.upload.published_version import NAME, PublishedObject
from gbif_webdataset.upload.server_copies import find_server_copies
from gbif_webdataset.upload.transfer import Transfer
from gbif_webdataset.upload.upload_journal import UploadJournal
from tests.support.datasets import ROOT, Dataset
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.gcs_front import GcsFront
from tests.support.loading_code import run_code
from tests.support.object_servers import (
    BUCKET,
    create_container,
    make_azurite_key,
    run_azurite,
    run_gcs_emulator,
    run_rclone,
)
from tests.support.publishable import QUICK, Publishable, check_complete, list_samples

pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")
AWS = """#!{python}
import sys

import boto3

command, action, url, target = sys.argv[1:]
assert (command, action, target) == ("s3", "cp", "-")
bucket, _, key = url.removeprefix("s3://").partition("/")
sys.stdout.buffer.write(boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
"""
TARS = r"-\d{6}(-[0-9a-f]{8})?\.tar$"


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A prefix of the test's own."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]


@pytest.fixture
def source(proxy: FaultProxy, prefix: str) -> StoreAddress:
    """The address of the shards."""
    return StoreAddress.parse(f"s3://{BUCKET}/{prefix}/shards", option_name="--CreateWebDataset-to")


@pytest.fixture
def dataset(tmp_path: Path, source: StoreAddress) -> Publishable:
    """A dataset with shards at `source`."""
    dataset = Publishable.made(tmp_path / "dataset", 16)
    dataset.move_shards(source)
    return dataset


def add_sample(dataset: Publishable, source: StoreAddress) -> None:
    """Make version 1.1.0, with shards at the same address."""
    dataset.image("train", "occurrence999", label="moth 0")
    dataset.make("1.1.0").move_shards(source)


def make_target(kind: str, proxy: FaultProxy, prefix: str, tmp_path: Path) -> StoreAddress:
    """A target in the bucket of the shards, at their address, at another address of their server, or in a folder."""
    addresses = {"same bucket": f"s3://{BUCKET}/{prefix}/moths", "same address": f"s3://{BUCKET}/{prefix}/shards"}
    if kind in addresses:
        return StoreAddress.parse(addresses[kind])
    if kind == "other server":
        return StoreAddress.parse(f"s3://{BUCKET}/{prefix}/moths", proxy.url.replace("127.0.0.1", "localhost"))
    return StoreAddress.parse(f"file://{tmp_path}/published")


@pytest.mark.parametrize("kind", ["same bucket", "same address", "other server", "folder"])
def test_versions_follow_each_other_at_every_kind_of_target(
    kind: str, dataset: Publishable, source: StoreAddress, proxy: FaultProxy, prefix: str, tmp_path: Path
) -> None:
    target = make_target(kind, proxy, prefix, tmp_path)
    is_copied, read = kind.startswith("same"), open_store(target).read
    tars = sorted(name for name in open_store(source).list_sizes() if name.endswith(".tar"))
    before = {name: open_store(source).read(name) for name in tars}
    proxy.requests.clear()
    summary = dataset.send(target)
    assert proxy.count("GET", TARS) == (0 if is_copied else len(tars))
    copied = re.search(r"; (\d+) shards copied by the server", summary)
    assert (int(copied[1]) if copied else 0) == (len(tars) if is_copied else 0)
    version = check_complete(read)
    assert sum(list_samples(version, read).values()) == 16
    names = {one.name for one in version.objects if find_shard(one.path)}
    assert all(re.search(r"-\d{6}-[0-9a-f]{8}\.", name) for name in names) == (kind == "same address")
    assert dataset.send(target).startswith("Nothing to upload")
    page = read("index.html")
    assert page is not None
    assert source.address not in page.decode()
    assert {name: open_store(source).read(name) for name in tars} == before
    if kind == "same address":
        return
    add_sample(dataset, source)
    proxy.requests.clear()
    dataset.send(target)
    sent = proxy.count("GET", TARS)
    second = check_complete(read)
    assert (second.version, sum(list_samples(second, read).values())) == ("1.1.0", 17)
    changed = {one.name for one in second.objects if one.path.endswith(".tar")} - names
    assert sent == (0 if is_copied else len(changed))


def test_rclone_copies_as_well(tmp_path: Path, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_rclone(tmp_path) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        dataset = Publishable.made(tmp_path / "dataset", 16)
        source = StoreAddress.parse(f"s3://{BUCKET}/shards", option_name="--CreateWebDataset-to")
        dataset.move_shards(source)
        target = StoreAddress.parse(f"s3://{BUCKET}/moths")
        assert re.search(
            r"would upload .*; \d+ shards copied by the server\n", dataset.send(target, replace(QUICK, dry_run=True))
        )
        assert "shards copied by the server" in dataset.send(target)
        check_complete(open_store(target).read)
        audit(dataset)
        assert list_differences(dataset) == []
        missing = StoreAddress.parse("s3://no-such-bucket/shards")
        record = TargetRecord.load(dataset.paths.record("CreateWebDataset"))
        assert record is not None
        replace(record, store=missing.address).save(dataset.paths.record("CreateWebDataset"))
        with pytest.raises(StoreError, match="there is no such bucket or container"):
            audit(dataset, repair=True)


def copy_and_read(source: StoreAddress, target: StoreAddress) -> None:
    """Let a server copy an object to another prefix, and read it in blocks."""
    store, name, data = open_store(source), "train/train-000000.tar", bytes(range(256)) * 10_000
    local = LocalFile.of_content(Path(name), data)
    store.put(name, local)
    file = StoredFile(Path(name), len(data), local.sha256, store, source)
    copies = find_server_copies([file], target)
    assert copies is not None
    copies.copy(file, "train/train-000000-1a2b3c4d.tar")
    assert open_store(target).read("train/train-000000-1a2b3c4d.tar") == data
    assert b"".join(file.iterate(1 << 20)) == data
    with pytest.raises(FileNotFoundError):
        list(store.iterate("missing.tar"))


def test_azure_copies_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", make_azurite_key())
    with run_azurite(tmp_path) as url:
        create_container(url)
        copy_and_read(*(StoreAddress.parse(f"az://{BUCKET}/{name}", url) for name in ("shards", "moths")))


def test_a_large_shard_in_a_bucket_of_s3_passes_to_azure_at_a_limited_speed(
    tmp_path: Path, source: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", make_azurite_key())
    name, data = "train/train-000000.tar", bytes(range(256)) * (PART_BYTES // 256 + 40_000)
    local = LocalFile.of_content(Path(name), data)
    open_store(source).put(name, local)
    with run_azurite(tmp_path) as url:
        create_container(url)
        store = open_store(StoreAddress.parse(f"az://{BUCKET}/moths", url))
        one = PublishedObject(name, name, local.size, local.sha256)
        for sha256, expected in ((local.sha256, does_not_raise()), ("0" * 64, pytest.raises(DamagedFileError))):
            file = StoredFile(Path(name), len(data), sha256, open_store(source), source)
            with UploadJournal(tmp_path / f"{sha256}.journal") as journal, expected:
                Transfer(store, Retries("--to az://moths", 0), 1 << 30).upload({one: file}, journal)
            assert store.read(name) == data


def test_google_copies_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token")
    with run_gcs_emulator(tmp_path) as url, GcsFront(url) as front:
        copy_and_read(*(StoreAddress.parse(f"gs://{BUCKET}/{name}", front.url) for name in ("shards", "moths")))


def test_shards_at_the_address_of_the_published_version_can_be_written_again(
    dataset: Publishable, source: StoreAddress
) -> None:
    """CreateWebDataset writes the plain names again; the published version is not disturbed, also by --prune."""
    store = open_store(source)
    target = replace(source, option_name="--to")
    dataset.send(target)
    first = check_complete(store.read)
    add_sample(dataset, source)
    assert check_complete(store.read) == first
    dataset.send(target, replace(QUICK, prune=True))
    version = check_complete(store.read)
    assert (version.version, version.earlier) == ("1.1.0", [])
    recorded = {name for name in store.list_sizes() if find_shard(name)}
    assert {"train/train-000000.tar", "train/train-000000.idx"} <= recorded, "they belong to CreateWebDataset"
    assert set(store.list_sizes()) == {*version.names, *recorded, "shards.json", NAME}


@pytest.mark.parametrize("kind", ["same bucket", "other server"])
@pytest.mark.parametrize("change", [b"", b"x"], ids=["truncated", "longer"])
def test_a_shard_of_another_size_than_recorded_is_not_published(
    kind: str, change: bytes, dataset: Publishable, source: StoreAddress, proxy: FaultProxy, prefix: str, tmp_path: Path
) -> None:
    target, store = make_target(kind, proxy, prefix, tmp_path), open_store(source)
    data = store.read("train/train-000000.tar")
    assert data is not None
    store.put("train/train-000000.tar", LocalFile.of_content(Path("x.tar"), data + change if change else data[:700]))
    with pytest.raises(DamagedFileError, match=rf"^{source.address}/train/train-000000\.tar: changed since it was rec"):
        dataset.send(target)
    assert open_store(target).read(NAME) is None
    store.put("train/train-000000.tar", LocalFile.of_content(Path("x.tar"), data))
    dataset.send(target)
    check_complete(open_store(target).read)


def test_a_shard_with_other_bytes_is_not_sent_to_another_server(
    dataset: Publishable, source: StoreAddress, proxy: FaultProxy, prefix: str, tmp_path: Path
) -> None:
    target, store = make_target("other server", proxy, prefix, tmp_path), open_store(source)
    data = store.read("train/train-000000.tar")
    assert data is not None
    store.put("train/train-000000.tar", LocalFile.of_content(Path("x.tar"), data[:-1] + b"x"))
    with pytest.raises(DamagedFileError, match=rf"^{source.address}/train/train-000000\.tar: changed since it was rec"):
        dataset.send(target)
    assert "train/train-000000.tar" not in open_store(target).list_sizes()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut-answer", "GET", TARS, times=2),
        Fault("503", "GET", TARS, times=2),
        Fault("reset", "PUT", TARS, times=2),
        Fault("500", "PUT", TARS, times=2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}",
)
@pytest.mark.parametrize("kind", ["same bucket", "other server"])
def test_temporary_faults_of_source_and_target_are_repeated(
    kind: str, fault: Fault, dataset: Publishable, proxy: FaultProxy, prefix: str, tmp_path: Path
) -> None:
    target = make_target(kind, proxy, prefix, tmp_path)
    proxy.faults = [replace(fault)]
    summary = dataset.send(target)
    is_sent = fault.method == "PUT" or kind == "other server"
    assert ("2 requests repeated" in summary) == is_sent
    proxy.faults = []
    check_complete(open_store(target).read)


def test_a_publication_that_was_stopped_is_continued(
    dataset: Publishable, source: StoreAddress, proxy: FaultProxy, prefix: str, tmp_path: Path
) -> None:
    target = make_target("other server", proxy, prefix, tmp_path)
    put, done = ObjectStore.put, list[str]()

    def stop(self: ObjectStore, name: str, file: RecordedFile) -> None:
        put(self, name, file)
        done.append(name)
        if name.endswith(".tar") and sum(one.endswith(".tar") for one in done) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("gbif_webdataset.upload.transfer.WORKERS", 1)
        patch.setattr(ObjectStore, "put", stop)
        dataset.send(target)
    proxy.requests.clear()
    dataset.send(target)
    read = proxy.count("GET", TARS)
    version = check_complete(open_store(target).read)
    tars = [one for one in version.objects if one.path.endswith(".tar")]
    assert read == len(tars) - 1, "one was uploaded and noted before the stop"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["same bucket", "other server"])
@pytest.mark.parametrize(
    "moment", [r"PUT .*/moths/train/train-000000\.tar", r"PUT .*/moths/versions/", "PUT .*/moths/dataset"]
)
def test_a_publication_that_was_killed_is_continued(
    kind: str, moment: str, dataset: Publishable, proxy: FaultProxy, prefix: str, tmp_path: Path
) -> None:
    target = make_target(kind, proxy, prefix, tmp_path)
    module = [sys.executable, "-m", "tests.support.publish_process"]
    command = [*module, str(dataset.root), target.address, target.endpoint]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

    def kill(method: str, path: str) -> None:
        if re.search(moment, f"{method} {path}"):
            process.kill()

    proxy.before = kill
    assert process.wait(60) == -signal.SIGKILL
    proxy.before = lambda method, path: None
    subprocess.run(command, cwd=ROOT, check=True, timeout=120, capture_output=True)
    assert check_complete(open_store(target).read).version == "1.0.0"


def test_a_part_of_the_files_a_dry_run_and_changes_are_as_for_shards_on_the_disk(
    dataset: Publishable, proxy: FaultProxy, prefix: str, tmp_path: Path
) -> None:
    target = make_target("same bucket", proxy, prefix, tmp_path)
    assert "would upload" in dataset.send(target, replace(QUICK, dry_run=True))
    assert open_store(target).list_sizes() == {}
    dataset.send(target, replace(QUICK, only=("val/*.tar",)))
    assert list(open_store(target).list_sizes()) == ["val/val-000000.tar"]
    dataset.send(target)
    changes = dataset.paths.publish_changes(target.name).read_text().splitlines()
    assert sum(int(line.split(",")[1]) for line in changes[1:]) == 16


def test_the_hub_gets_shards_from_a_disk_only(dataset: Publishable, source: StoreAddress) -> None:
    pytest.importorskip("huggingface_hub", reason="optional: needs pip install -e .[hub]")
    sentence = f"the Hub takes shards from a disk only, and those of this dataset are at {source.address}; leave"
    with pytest.raises(ParameterError, match=rf"^--to hf://datasets/me/moths: {sentence}"):
        publish_to_hub(dataset)


def publish_to_hub(dataset: Publishable) -> None:
    """Prepare a version for the Hub, without a request to it."""
    from gbif_webdataset.upload.prepare_version import prepare_version

    prepare_version(dataset.paths, StoreAddress.parse("hf://datasets/me/moths"), None, QUICK)


def audit(dataset: Publishable, repair: bool = False) -> AuditResult:
    return audit_dataset(
        dataset.paths, workers=2, repair=repair, is_run_active=lambda: False, progress=lambda done: None
    )


def list_differences(dataset: Publishable) -> list[str]:
    """What audit.csv says of objects and indexes."""
    lines = dataset.paths.audit_table.read_text().splitlines()[1:]
    return [line for line in lines if "s3://" in line or ".idx" in line]


def test_an_audit_reads_each_object_once(dataset: Publishable, source: StoreAddress, proxy: FaultProxy) -> None:
    proxy.requests.clear()
    audit(dataset)
    assert list_differences(dataset) == []
    reads = Counter(path for method, path in proxy.requests if method == "GET" and path.endswith((".tar", ".idx")))
    assert len(reads) == len(open_store(source).list_sizes()) - 1, "all but shards.json"
    assert set(reads.values()) == {1}
    assert not proxy.count("PUT")


def test_an_audit_finds_what_differs_in_a_bucket(dataset: Publishable, source: StoreAddress) -> None:
    store = open_store(source)
    data = store.read("train/train-000000.tar")
    assert data is not None
    for name, content in (
        ("train/train-000000.tar", data[:-1] + b"x"),
        ("test/test-000000.tar", data[:512]),
        (".parts/group-000000-000.tar", b"x"),
        ("train/train-000099.tar", b"x"),
        ("dataset.json", b"x"),
    ):
        store.put(name, LocalFile.of_content(Path("x.tar"), content))
    store.delete(["val/val-000000.tar"])
    audit(dataset, repair=True)
    found = {
        line.split(",")[0].removeprefix(f"{source.address}/"): line.split(",")[1] for line in list_differences(dataset)
    }
    assert found == {
        "train/train-000000.tar": "changed",
        "test/test-000000.tar": "truncated",
        "val/val-000000.tar": "missing",
        ".parts/group-000000-000.tar": "not-recorded",
        "train/train-000099.tar": "not-recorded",
    }
    assert not dataset.paths.record("CreateWebDataset").exists()


@pytest.mark.parametrize("kind", ["cut-answer", "503", "reset"])
def test_an_audit_repeats_temporary_faults(dataset: Publishable, proxy: FaultProxy, kind: str) -> None:
    proxy.faults = [Fault(kind, "GET", TARS, times=2)]
    audit(dataset)
    assert list_differences(dataset) == []
    assert proxy.faults[0].times == 0


@pytest.mark.parametrize("kind", ["403", "503"])
def test_a_server_that_fails_is_no_difference_and_the_audit_continues_later(
    dataset: Publishable, source: StoreAddress, proxy: FaultProxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retries, "pause_before_repeat", lambda self, repeated: None)
    proxy.faults = [Fault(kind, "GET", TARS, times=1_000), Fault(kind, "GET", r"list-type|shards\.json", times=0)]

    def fail_for_good(method: str, path: str) -> None:
        if re.search(TARS, path):
            proxy.faults[1].times = 1_000

    proxy.before = fail_for_good
    with pytest.raises(StoreError, match=rf"^--CreateWebDataset-to {source.address}: "):
        audit(dataset, repair=True)
    assert dataset.paths.record("CreateWebDataset").exists()
    assert not dataset.paths.audit_table.exists()
    proxy.faults, proxy.before = [], lambda method, path: None
    result = audit(dataset)
    assert result.parts_before > 0
    assert list_differences(dataset) == []


def test_an_object_that_cannot_be_read_is_unreadable_if_the_server_answers(
    dataset: Publishable, source: StoreAddress, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retries, "pause_before_repeat", lambda self, repeated: None)
    proxy.faults = [Fault("500", "GET", r"train-000000\.tar$", times=1_000)]
    audit(dataset)
    detail = '"all requests for it fail, and others succeed"'
    assert list_differences(dataset) == [
        f"{source.address}/train/train-000000.tar,unreadable,CreateWebDataset,{detail}"
    ]


def test_webdataset_reads_the_shards_at_the_address_over_http(
    dataset: Publishable, source: StoreAddress, moto: str
) -> None:
    url = f"{moto}/{BUCKET}/{source.prefix}/train/"
    tars = [name for name in open_store(source).list_sizes() if re.match(r"train/.*\.tar", name)]
    samples = webdataset.WebDataset([url + name.removeprefix("train/") for name in tars], shardshuffle=False)
    keys = Counter(sample["__key__"] for sample in samples)
    assert keys == Counter(row["image_path"].removesuffix(".jpg") for row in dataset.rows["train"])


def test_the_code_of_the_page_reads_the_bucket_with_the_command_of_the_cloud(
    dataset: Publishable, source: StoreAddress, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    """A script takes the place of the command, which the tests do not install."""
    command = tmp_path / "bin" / "aws"
    command.parent.mkdir()
    command.write_text(AWS.format(python=sys.executable))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    description = dataset.description
    folder = str(dataset.paths.shards)
    code = write_loading_code(folder, description.shards, description.extensions, address=source.address)
    assert str(escape(code.webdataset)) in dataset.paths.report_page.read_text()
    assert len(run_code(code.webdataset, monkeypatch, tmp_path)["seen"]) == len(dataset.rows["train"])
    assert len(list(run_code(code.hugging_face, monkeypatch, tmp_path)["train"])) == len(dataset.rows["train"])


def test_datasets_reads_shards_in_a_folder_with_the_types_of_the_card(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets", reason="optional: needs pip install -e .[readers]")
    dataset = Publishable.made(tmp_path / "dataset", 16)
    source = StoreAddress.parse(f"file://{tmp_path}/my%20shards")
    dataset.move_shards(source)
    stray = Path(source.prefix) / "train" / "train-000000-1a2b3c4d.tar"  # as PublishDataset names shards there
    stray.write_bytes((Path(source.prefix) / "train" / "train-000000.tar").read_bytes())
    description = dataset.description
    folder = str(dataset.paths.shards)
    code = write_loading_code(folder, description.shards, description.extensions, address=source.address)
    assert len(run_code(code.webdataset, monkeypatch, tmp_path)["seen"]) == len(dataset.rows["train"])
    train = run_code(code.hugging_face, monkeypatch, tmp_path)["train"]
    assert train.features["cls"].names == [f"moth {number}" for number in range(3)]
    rows = list(train)
    assert len(rows) == len(dataset.rows["train"])
    assert all(row["jpg"].size for row in rows)


def test_shards_in_a_folder_are_published_to_another_folder_and_audited(tmp_path: Path) -> None:
    dataset = Publishable.made(tmp_path / "dataset", 16)
    source = StoreAddress.parse(f"file://{tmp_path}/my shards")
    dataset.move_shards(source)
    target = StoreAddress.parse(f"file://{tmp_path}/published")
    assert "shards copied by the server" in dataset.send(target)
    version = check_complete(FolderStore(target).read)
    audit(dataset)
    assert list_differences(dataset) == []
    dataset.image("train", "occurrence999", label="moth 0")
    dataset.make("1.1.0").move_shards(source)
    assert check_complete(FolderStore(target).read) == version, "writing shards again changes no published file"
    dataset.send(target)
    assert check_complete(FolderStore(target).read).version == "1.1.0"


def read_keys(urls: list[str]) -> Counter[str]:
    return Counter(sample["__key__"] for sample in webdataset.WebDataset(urls, shardshuffle=False))


@pytest.mark.slow
def test_shards_are_written_audited_published_and_read_by_commands(
    made: Dataset, tmp_path: Path, moto: str, source: StoreAddress, prefix: str
) -> None:
    dataset, store = made.copy(tmp_path / "by-command"), open_store(source)
    options = ("--CreateWebDataset-to", source.address)
    printed = dataset.make(*options)
    assert f'wds.WebDataset("pipe:aws s3 cp {source.address}/train/train-' in printed
    assert not list((dataset.output / "shards").rglob("*.tar"))
    assert "every file is as it was written" in dataset.make(task="AuditDataset")
    assert f"pipe:aws s3 cp {source.address}/train/train-" in (dataset.output / "report/index.html").read_text()
    targets = [source.in_folder(f"{prefix}/moths"), source]
    for target in targets:
        assert "shards copied by the server" in dataset.make("--to", target.address, *options, task="PublishDataset")
    versions = [check_complete(open_store(target).read) for target in targets]
    for name in ("index.html", "README.md", "croissant.json"):
        assert source.address.encode() not in (open_store(targets[0]).read(name) or source.address.encode()), name
    tars = [row["shard"] for row in dataset.rows("shards/shards.csv")]
    expected = read_keys([f"{moto}/{BUCKET}/{source.prefix}/{name}" for name in tars])
    assert sum(expected.values()) == sum(int(row["samples"]) for row in dataset.rows("shards/shards.csv"))
    for target, version in zip(targets, versions, strict=True):
        names = [one.name for one in version.objects if one.path.endswith(".tar")]
        assert read_keys([f"{moto}/{BUCKET}/{target.prefix}/{name}" for name in names]) == expected

    data = store.read(tars[0])
    assert data is not None
    store.put(tars[0], LocalFile.of_content(Path("x.tar"), data[:-1] + b"x"))
    assert "1 file differs from the records" in dataset.fail(task="AuditDataset")
    assert dataset.rows("audit.csv")[0]["file"] == f"{source.address}/{tars[0]}"
    dataset.make("--AuditDataset-repair", "true", task="AuditDataset")
    dataset.make(*options)
    assert store.read(tars[0]) == data
    assert "every file is as it was written" in dataset.make(task="AuditDataset")
    dataset.make("--CreateWebDataset-resize-min-size", "32", *options)
    assert store.read(tars[0]) != data
    assert [check_complete(open_store(target).read) for target in targets] == versions


def test_the_hub_is_refused_before_any_stage_runs(made: Dataset, tmp_path: Path, source: StoreAddress) -> None:
    pytest.importorskip("huggingface_hub", reason="optional: needs pip install -e .[hub]")
    dataset = Dataset(made.archive, tmp_path / "nothing")
    options = ("--to", "hf://datasets/me/moths", "--CreateWebDataset-to", source.address)
    ended = dataset.run(*options, task="PublishDataset")
    assert ended.returncode != 0
    assert "--to hf://datasets/me/moths: the Hub takes shards from a disk only, and those of this" in ended.stderr
    assert not dataset.output.exists()
