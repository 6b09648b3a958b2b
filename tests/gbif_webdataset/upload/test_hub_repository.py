"""One commit for each version, on an imitation of the Hub."""

import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.remote.local_file import LocalFile, LocalFileError
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.upload.hub_repository import HubRepository
from gbif_webdataset.upload.published_version import NAME
from tests.support.datasets import ROOT
from tests.support.hub_server import SIGNATURE, TOKEN, Commit, HubFault, HubServer
from tests.support.publishable import QUICK, Publishable, check_complete, load_record
from tests.support.small_disk import fill_disk, mount_disk

MESSAGES = ["initial commit", "Keep shards, indexes and tables as large files", "Version 1.0.0"]
pytest.importorskip("huggingface_hub", reason="optional: needs pip install -e .[hub]")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # its storage protocol has no imitation
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with HubServer() as server:
        yield server


@pytest.fixture
def dataset(tmp_path: Path) -> Publishable:
    return Publishable.made(tmp_path / "dataset", 16)


@pytest.fixture
def target(hub: HubServer) -> StoreAddress:
    return StoreAddress.parse("hf://datasets/me/moths", hub.url)


def track_large_files(hub: HubServer) -> None:
    """Let the first commit have all endings, so that the version is the next commit."""
    hub.files[".gitattributes"] += b"*.idx filter=lfs diff=lfs merge=lfs -text\n"


def test_each_version_is_one_commit_with_plain_names(
    hub: HubServer, dataset: Publishable, target: StoreAddress
) -> None:
    dataset.send(target)
    assert [commit.message for commit in hub.commits] == MESSAGES
    assert NAME not in hub.commits[1].files
    version = check_complete(hub.files.get)
    assert all(one.name == one.path for one in version.objects)
    assert {*version.names, NAME, ".gitattributes"} == hub.files.keys()
    assert hub.files["README.md"] == (dataset.paths.shards / "README.md").read_bytes()
    assert load_record(dataset, target)["version"] == "1.0.0"


def test_repeating_it_makes_no_commit_and_sends_nothing(
    hub: HubServer, dataset: Publishable, target: StoreAddress
) -> None:
    dataset.send(target)
    before = hub.count("^(PUT|POST)")
    assert "Nothing to upload" in dataset.send(target)
    assert [commit.message for commit in hub.commits] == MESSAGES
    assert hub.count("^(PUT|POST)") == before


def test_a_new_version_sends_what_changed_and_deletes_what_is_gone(
    hub: HubServer, dataset: Publishable, target: StoreAddress
) -> None:
    dataset.send(target)
    sent = hub.count("^PUT /blobs")
    dataset.rows["train"] = dataset.rows["train"][:-3]
    dataset.make("1.0.1")
    summary = dataset.send(target)
    version = check_complete(hub.files.get)
    assert version.version == "1.0.1"
    gone = hub.commits[-2].files.keys() - hub.commits[-1].files.keys()
    assert any(name.endswith(".tar") for name in gone)
    assert f"Deleted {len(gone)} objects of earlier versions" in summary
    assert 0 < hub.count("^PUT /blobs") - sent < sent
    card = yaml.safe_load(hub.files["README.md"].decode().split("---\n")[1])
    assert card["configs"][0]["data_files"][0]["path"] == "train/train-*.tar"
    assert {name for name in hub.files if name.startswith("train/")} == {
        one.name for one in version.objects if one.name.startswith("train/")
    }


def test_a_file_that_somebody_deleted_is_not_deleted_again(
    hub: HubServer, dataset: Publishable, target: StoreAddress
) -> None:
    dataset.send(target)
    dataset.rows["train"] = dataset.rows["train"][:-3]
    dataset.make("1.0.1")
    gone = sorted(name for name in hub.files if name.startswith("train/"))[-1]
    hub.commits.append(Commit("theirs", {name: data for name, data in hub.files.items() if name != gone}))
    dataset.send(target)
    assert check_complete(hub.files.get).version == "1.0.1"


@pytest.mark.parametrize(
    "fault",
    [
        HubFault("^PUT /blobs", 0, 2),
        HubFault("^PUT /blobs", 500, 2),
        HubFault("^POST .*/preupload/", 503),
        HubFault("^POST .*/commit/", 0, 2),
        HubFault("^POST .*/commit/", 503, 2),
        HubFault("^POST .*/commit/", 0, loses_answer=True),
        HubFault("^HEAD .*/resolve/", 503),
    ],
    ids=lambda fault: f"{fault.request}-{fault.status}-{fault.loses_answer}",
)
def test_temporary_faults_are_repeated(
    hub: HubServer, dataset: Publishable, target: StoreAddress, fault: HubFault
) -> None:
    hub.faults = [fault]
    dataset.send(target)
    assert [commit.message for commit in hub.commits] == MESSAGES
    check_complete(hub.files.get)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            HubFault("^POST .*/commit/", 403, 99),
            r"the token may not read or write there \(HTTP 403\); run `hf auth login`",
        ),
        (HubFault("^PUT /blobs", 507, 99), r"the Hub has no space left for it \(HTTP 507\); free some space there"),
        (
            HubFault("^POST .*/commit/", 400, 99),
            r"the Hub refuses a request \(HTTP 400\); check the address and the endpoint",
        ),
    ],
    ids=lambda value: value.request if isinstance(value, HubFault) else "",
)
def test_refusals_give_one_sentence_without_the_hubs_text(
    hub: HubServer, dataset: Publishable, target: StoreAddress, fault: HubFault, sentence: str
) -> None:
    hub.faults = [fault]
    with pytest.raises(StoreError, match=sentence) as raised:
        dataset.send(target)
    assert TOKEN not in str(raised.value)
    assert NAME not in hub.files


def test_a_missing_repository_gives_one_sentence(hub: HubServer, dataset: Publishable) -> None:
    with pytest.raises(StoreError, match=r"there is no such repository.*; create it with `hf repo create me/birds"):
        dataset.send(StoreAddress.parse("hf://datasets/me/birds", hub.url))


def test_shards_indexes_and_tables_are_large_files(hub: HubServer, dataset: Publishable, target: StoreAddress) -> None:
    hub.files[".gitattributes"] = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"
    dataset.send(target)
    assert not [path for path in hub.regular if path.endswith((".tar", ".idx", ".parquet"))]
    assert {"README.md", "shards.csv", NAME} <= hub.regular
    lines = hub.files[".gitattributes"].decode().splitlines()
    assert [line.split()[0] for line in lines] == ["*.bin", "*.tar", "*.idx", "*.parquet"]
    dataset.rows["train"] = dataset.rows["train"][:-3]
    dataset.make("1.0.1")
    dataset.send(target)
    assert [commit.message for commit in hub.commits] == [*MESSAGES, "Version 1.0.1"]


@pytest.mark.parametrize("size", [10, 2 << 20])
def test_a_file_that_cannot_be_read_is_named(
    hub: HubServer, dataset: Publishable, target: StoreAddress, size: int
) -> None:
    repository = HubRepository(target)
    with pytest.raises(LocalFileError, match=r"^/proc/self/mem: Input/output error"):
        repository.send({"x.tar": LocalFile(Path("/proc/self/mem"), size, "")})
    with pytest.raises(DamagedFileError, match="missing: changed since it was recorded"):
        repository.send({"x.tar": LocalFile(Path("missing"), size, "")})


def test_a_full_disk_is_named_when_a_file_is_downloaded(
    hub: HubServer, dataset: Publishable, target: StoreAddress, tmp_path: Path
) -> None:
    dataset.send(target)
    with (
        mount_disk(tmp_path / "disk", 65_536) as disk,
        pytest.raises(LocalFileError, match=r"attribution\.parquet: No space left on device; free some space"),
    ):
        fill_disk(disk)
        HubRepository(target).download("attribution.parquet", disk / "x")


def test_a_file_that_changed_is_refused(hub: HubServer, dataset: Publishable, target: StoreAddress) -> None:
    shard = dataset.paths.shards / "train" / "train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedFileError, match=rf"{re.escape(str(shard))}: changed since it was recorded"):
        dataset.send(target)
    assert NAME not in hub.files


def test_a_killed_run_sends_nothing_twice(hub: HubServer, dataset: Publishable, target: StoreAddress) -> None:
    module = "tests.support.publish_process"
    command = [sys.executable, "-m", module, str(dataset.root), target.address, target.endpoint]
    track_large_files(hub)
    hub.faults = [HubFault("^POST .*/commit/", 503, 99)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if hub.count("^POST .*/commit/"):
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    finally:
        process.kill()
    hub.faults = []
    sent = hub.count("^PUT /blobs")
    assert sent
    dataset.send(target)
    assert hub.count("^PUT /blobs") == sent
    assert [commit.message for commit in hub.commits] == ["initial commit", "Version 1.0.0"]


@pytest.mark.parametrize("status", [0, 503])
def test_a_hub_that_does_not_answer_is_not_one_without_a_dataset(
    hub: HubServer,
    dataset: Publishable,
    target: StoreAddress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # huggingface_hub waits up to 23 seconds as well
    Publishable(tmp_path / "other").fill(8).make(title="Birds").send(target)
    birds = hub.files
    for times, sentence in ((7, "has not published: 'Birds'"), (10_000, "8 attempts failed")):
        hub.faults = [HubFault("^HEAD .*/resolve/", status, times)]
        with pytest.raises(StoreError, match=sentence):
            dataset.send(target)
    assert hub.files == birds


@pytest.mark.parametrize("moment", ["^POST .*/preupload/", "^POST .*/commit/"])
def test_a_commit_of_somebody_else_is_not_overwritten(
    hub: HubServer, dataset: Publishable, target: StoreAddress, moment: str
) -> None:
    theirs = Commit("theirs", {NAME: b"theirs", "README.md": b"theirs"})

    def commit(request: str) -> None:
        if re.search(moment, request) and theirs not in hub.commits:
            hub.commits.append(theirs)

    hub.before = commit
    with pytest.raises(StoreError, match=r"has a new commit since this command began.*; wait until it has ended"):
        dataset.send(target)
    assert hub.commits[-1] is theirs


def test_a_commit_whose_answer_is_lost_is_not_made_again(
    hub: HubServer, dataset: Publishable, target: StoreAddress
) -> None:
    track_large_files(hub)
    hub.faults = [HubFault("^POST .*/commit/", loses_answer=True)]
    assert "Published version 1.0.0" in dataset.send(target)
    assert [commit.message for commit in hub.commits] == ["initial commit", "Version 1.0.0"]


def test_signed_addresses_are_not_printed(
    hub: HubServer,
    dataset: Publishable,
    target: StoreAddress,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    hub.faults = [HubFault("^PUT /blobs", 503, 2)]
    dataset.send(target)
    assert hub.count(re.escape(SIGNATURE))
    captured = capfd.readouterr()
    assert SIGNATURE not in captured.out + captured.err + caplog.text


def test_a_dry_run_makes_no_commit(hub: HubServer, dataset: Publishable, target: StoreAddress) -> None:
    assert "would upload" in dataset.send(target, replace(QUICK, dry_run=True))
    assert len(hub.commits) == 1


def test_the_token_is_in_no_record_or_file(hub: HubServer, dataset: Publishable, target: StoreAddress) -> None:
    dataset.send(target)
    texts = [path.read_bytes() for path in dataset.root.rglob("*") if path.is_file()]
    assert not [text for text in [*texts, *hub.files.values()] if TOKEN.encode() in text]
    assert json.loads(hub.files[NAME])["version"] == "1.0.0"
