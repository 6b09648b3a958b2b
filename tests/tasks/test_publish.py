"""PublishDataset as a command, on the dataset of the small archive."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.store_address import StoreAddress
from tests.support.datasets import ROOT, Dataset
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.object_servers import BUCKET, KEY, S3_ENVIRONMENT, SECRET, run_moto
from tests.support.publishable import check_complete, list_samples


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "PublishDataset", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_publishes_each_time_and_makes_no_stage_again(dataset: Dataset, tmp_path: Path) -> None:
    address = f"file://{tmp_path}/target"
    planned = dataset.make("--to", address, "--dry-run", task="PublishDataset")
    assert "would upload" in planned
    assert not (tmp_path / "target").exists()
    first = dataset.make("--to", address, task="PublishDataset")
    assert "Published version 1.0.0 of" in first
    assert "Nothing to upload" in dataset.make("--to", address, task="PublishDataset")
    read = FolderStore(StoreAddress.parse(address)).read
    version = check_complete(read)
    rows = dataset.rows("shards/shards.csv")
    assert list_samples(version, read) == {row["shard"]: int(row["samples"]) for row in rows}
    page = (tmp_path / "target" / "index.html").read_text(encoding="utf-8")
    assert str(dataset.output) not in page
    links = [part.partition('"')[0] for part in page.split('href="')[1:]]
    relative = [link for link in links if not link.startswith(("#", "http", "data:"))]
    assert len(relative) > 10
    assert all((tmp_path / "target" / link).is_file() for link in relative), relative


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--PublishDataset-to: PublishDataset needs this parameter; add --PublishDataset-to VALUE"),
        (
            ("--to", "/mnt/x"),
            "--to /mnt/x: not an address in a bucket, a repository or a folder; write it like s3://bucket/prefix",
        ),
        (("--to", "s3://KEY:SECRET@b/x"), "--to s3://b/x: has a user, a password, a token"),
        (("--to", "hf://datasets/me/moths", "--only", "x"), "--only: the Hub takes a version as one commit"),
    ],
)
def test_a_mistake_gives_one_sentence_before_any_stage_runs(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
    pytest.importorskip("huggingface_hub", reason="optional: needs pip install -e .[hub]")
    ended = run("--dwca", "sample/archive.zip", f"--output={tmp_path}/dataset", *arguments)
    assert ended.returncode != 0
    assert sentence in ended.stderr
    assert "SECRET" not in ended.stdout + ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "dataset").exists()


def test_make_publish_runs_the_command() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", "publish", "DWCA=a.zip", "TO=file:///mnt/two words", "DRY_RUN=1"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "PublishDataset --to='file:///mnt/two words' --dry-run --dwca='a.zip'" in " ".join(ended.stdout.split())


def test_secrets_are_in_no_output_log_or_record(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with run_moto(tmp_path) as url, FaultProxy(url) as proxy:
        proxy.faults = [Fault("403", path=r"README\.md"), Fault("503", times=3), Fault("500", "GET")]
        options = ("--to", f"s3://{BUCKET}/moths", "--endpoint", proxy.url, "--log-level", "DEBUG")
        runs = [dataset.run(*options, task="PublishDataset") for _ in range(2)]
    assert runs[0].returncode not in (0, 40)
    errors = [line for line in runs[0].stderr.splitlines() if "AccessDenied" in line]
    assert len(errors) == 1
    assert runs[1].returncode == 0, runs[1].stderr
    assert "Published version 1.0.0" in runs[1].stdout
    texts = [run.stdout.encode() + run.stderr.encode() for run in runs]
    texts += [path.read_bytes() for path in dataset.output.rglob("*") if path.is_file()]
    for secret in (SECRET, KEY, "AKIASECRETINANSWER"):
        assert not [text for text in texts if secret.encode() in text]
