"""AuditDataset as a command."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gbif_webdataset.audit.findings_file import FindingsFile
from tasks import AuditDataset
from tests.gbif_webdataset.storage.test_run_lock import held
from tests.support.audited_folder import AuditedFolder
from tests.support.datasets import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> AuditedFolder:
    return AuditedFolder(tmp_path / "dataset")


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "AuditDataset", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in ended.stdout + ended.stderr, ended.stderr
    return ended


def test_a_sound_dataset_passes_without_an_archive(folder: AuditedFolder) -> None:
    for _ in range(2):
        ended = run(f"--output={folder.paths.output}")
        assert ended.returncode == 0, ended.stderr
        assert "every file is as it was written" in ended.stdout


def test_a_difference_fails_the_command_with_one_sentence_and_the_remedy(folder: AuditedFolder) -> None:
    folder.paths.clean.write_text("x")
    ended = run(f"--output={folder.paths.output}")
    assert ended.returncode not in (0, 40)
    assert "1 truncated: clean.parquet" in ended.stdout
    errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR: ")]
    assert errors == [
        f"ERROR: AuditDataset: {folder.paths.output}: 1 file differs from the records and is listed in audit.csv; run "
        "`make audit ARGS=--AuditDataset-repair`, and then the job again"
    ]


@pytest.mark.parametrize("option", ["--repair", "--AuditDataset-repair"])
def test_with_repair_the_command_succeeds(folder: AuditedFolder, option: str) -> None:
    folder.paths.clean.write_text("x")
    ended = run(f"--output={folder.paths.output}", option, "--AuditDataset-num-workers", "2")
    assert ended.returncode == 0, ended.stderr
    assert "1 record deleted" in ended.stdout
    assert not folder.paths.record("CleanDataset").exists()


def test_a_second_audit_gives_one_sentence(folder: AuditedFolder) -> None:
    progress = folder.paths.audit_progress
    with FindingsFile(progress):
        ended = run(f"--output={folder.paths.output}")
    assert ended.returncode not in (0, 40)
    errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR: ")]
    assert errors == [
        f"ERROR: AuditDataset: {progress}: another audit is reading this dataset; wait until it ends, or stop it"
    ]


def test_a_repair_does_not_run_beside_a_run_with_the_same_central_scheduler(folder: AuditedFolder) -> None:
    folder.paths.clean.write_text("x")
    scheduler = ("--local-scheduler", "false", "--scheduler-url", "http://node7.invalid:9")
    with held(folder.paths.output, "local", "node7.invalid:9"):
        ended = run(f"--output={folder.paths.output}", "--repair", *scheduler)
    assert ended.returncode == 10, ended.stderr
    assert "another run is using it (HeldTask on host" in ended.stderr
    assert ended.stderr.endswith("); wait until it ends, or stop it\n")
    assert folder.paths.record("CleanDataset").exists()


def test_a_run_is_seen_by_a_machine_with_a_wrong_clock(folder: AuditedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = AuditDataset(output=str(folder.paths.output))
    assert not audit._is_run_active()
    with held(folder.paths.output):
        wrong = time.time() + 3600
        monkeypatch.setattr(time, "time", lambda: wrong)
        assert audit._is_run_active()


def test_names_of_files_cannot_act_on_the_terminal(folder: AuditedFolder) -> None:
    (folder.paths.output / "\x1b[2J.txt").write_text("x")
    ended = run(f"--output={folder.paths.output}")
    assert "\x1b" not in ended.stdout + ended.stderr
    assert r"\x1b[2J.txt" in ended.stdout


@pytest.mark.parametrize("arguments", [("--output=/nowhere/at/all",), ("--dwca=/nowhere/no-such-archive.zip",)])
def test_a_folder_without_a_dataset_gives_one_sentence(arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert ended.returncode not in (0, 40)
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "there is no dataset in this folder; give the --output of an earlier run" in ended.stderr
    assert not (ROOT / "data" / "no-such-archive").exists()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (["OUTPUT=data/a"], "AuditDataset --output='data/a'"),
        (["DWCA=a.zip"], "AuditDataset --dwca='a.zip'"),
        ([], "AuditDataset --dwca sample/archive.zip"),
    ],
)
def test_make_audit_runs_the_command(variables: list[str], expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", "audit", *variables]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert expected in " ".join(ended.stdout.split())
