"""What make's targets run, with a command in place of ours that records its arguments."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECORDER = """\
#!/usr/bin/env python3
import json, pathlib, sys
pathlib.Path("arguments").write_text(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile, set up already."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for path in [ROOT / "pyproject.toml", *ROOT.glob("requirements*.lock")]:
        shutil.copy(path, tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("gbif-webdataset", "python"):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    for name in (".ready", ".ready-dev", ".ready-upload"):
        (tmp_path / ".venv" / name).touch()
    return tmp_path


def make(checkout: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["make", *words], cwd=checkout, capture_output=True, text=True, timeout=30, check=False)


def recorded(checkout: Path, *words: str) -> list[str]:
    ended = make(checkout, *words)
    assert ended.returncode == 0, ended.stderr
    arguments: list[str] = json.loads((checkout / "arguments").read_text())
    return arguments


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("dwca=x.zip", "dwca=x.zip: there is no variable dwca; did you mean DWCA=x.zip?"),
        ("WORKER=3", "WORKER=3: there is no variable WORKER; did you mean WORKERS=3?"),
        ("colour=red", "colour=red: there is no variable colour; `make help` lists the variables"),
        ("it's;pwned=1", "it's;pwned=1: there is no variable it's;pwned; `make help` lists the variables"),
        ("GBIF_PWD=s3cret", "GBIF_PWD=...: not a variable of make; set it in the environment"),
        ("gbif_pwd=s3cret", "gbif_pwd=...: not a variable of make; set it in the environment"),
        ("SCHEDULER=here", "SCHEDULER=here: not the address of a scheduler; write HOST:PORT"),
    ],
)
def test_a_variable_that_does_not_exist_is_an_error(checkout: Path, setting: str, sentence: str) -> None:
    ended = make(checkout, "dataset", setting)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert "s3cret" not in ended.stdout + ended.stderr
    assert not (checkout / "arguments").exists()


@pytest.mark.parametrize(
    "archive", ["it's.zip", "two words.zip", "~/x.zip", "a$b.zip", '"quoted".zip', "a,b.zip", "-dash.zip", "`x`;#.zip"]
)
def test_the_names_of_archive_and_folder_reach_the_command_unchanged(checkout: Path, archive: str) -> None:
    expected = [f"--dwca={archive}", f"--output=data/{archive}"]
    assert recorded(checkout, "dataset", f"DWCA={archive}", f"OUTPUT=data/{archive}")[:3] == [
        "ReportDataset",
        *expected,
    ]
    assert recorded(checkout, "slurm", f"DWCA={archive}", f"OUTPUT=data/{archive}") == ["slurm", "submit", *expected]
    folders = recorded(checkout, "compare", f"OLD={archive}", f"NEW=new {archive}")
    assert folders == ["CompareDatasets", f"--old={archive}", f"--new=new {archive}"]


def test_variables_become_options_and_args_are_words_of_the_shell(checkout: Path) -> None:
    words = recorded(
        checkout,
        "shards",
        "DWCA=a.zip",
        "CHUNKS=8",
        "WORKERS=3",
        "SCHEDULER=host:8082",
        "ARGS=--ReadArchive-where \"year >= '2015'\" --FetchChunk-user-agent 'me, $HOME'",
    )
    assert words == [
        *("CreateWebDataset", "--dwca=a.zip", "--chunks=8", "--workers=3"),
        *("--local-scheduler", "false", "--scheduler-host=host", "--scheduler-port=8082"),
        *("--ReadArchive-where", "year >= '2015'", "--FetchChunk-user-agent", "me, $HOME"),
    ]


def test_a_plan_runs_nothing_and_for_fetch_describes_the_download(checkout: Path) -> None:
    assert recorded(checkout, "split", "DWCA=a.zip", "PLAN=1")[:3] == ["SplitDataset", "--plan", "--dwca=a.zip"]
    assert recorded(checkout, "split", "DWCA=a.zip", "PLAN=0")[:2] == ["SplitDataset", "--dwca=a.zip"]
    assert recorded(checkout, "fetch", "DWCA=a.zip", "PLAN=1")[:2] == ["PlanFetch", "--dwca=a.zip"]


def test_without_an_archive_the_sample_is_served_to_the_command(checkout: Path) -> None:
    words = recorded(checkout, "dataset")
    assert words[:5] == ["-m", "sample.server", "--", ".venv/bin/gbif-webdataset", "ReportDataset"]
    assert words[5:7] == ["--dwca", "sample/archive.zip"]


def test_publish_uploads_to_an_address(checkout: Path) -> None:
    words = recorded(checkout, "publish", "DWCA=a.zip", "TO=s3://bucket/a,b", "DRY_RUN=1")
    assert words[:4] == ["PublishDataset", "--to=s3://bucket/a,b", "--dry-run", "--dwca=a.zip"]
    assert recorded(checkout, "publish", "DWCA=a.zip", "TO=file:///x", "DRY_RUN=0")[:3] == [
        *("PublishDataset", "--to=file:///x", "--dwca=a.zip"),
    ]


def test_slurm_has_a_dry_run_and_a_status(checkout: Path) -> None:
    assert recorded(checkout, "slurm", "DWCA=a.zip", "DRY_RUN=1") == ["slurm", "submit", "--dwca=a.zip", "--dry-run"]
    assert recorded(checkout, "slurm", "DWCA=a.zip", "DRY_RUN=0") == ["slurm", "submit", "--dwca=a.zip"]
    assert recorded(checkout, "slurm-status", "DWCA=a.zip") == ["slurm", "status", "--dwca=a.zip"]
    assert recorded(checkout, "slurm-status", "OUTPUT=data/a") == ["slurm", "status", "--output=data/a"]


def test_slurm_is_told_where_to_download(checkout: Path) -> None:
    assert recorded(checkout, "slurm", "DWCA=a.zip", "FETCH=here", "WORKERS=4") == [
        *("slurm", "submit", "--dwca=a.zip", "--fetch=here", "--workers=4")
    ]
    assert recorded(checkout, "slurm", "DWCA=a.zip", "FETCH=no")[3] == "--fetch=no"


def test_help_lists_every_target_and_every_variable_with_an_effect(checkout: Path) -> None:
    ended = make(checkout, "help")
    text = (ROOT / "Makefile").read_text()
    targets = text.partition(".PHONY:")[2].partition("\n\n")[0].replace("\\", "").split()
    listed = [line.split()[0] for line in ended.stdout.splitlines() if line.startswith("  ")]
    assert set(targets) <= set(listed)
    variables = [line.split()[0] for line in text.splitlines() if " ?=" in line]
    assert set(variables) <= {name.rstrip(",") for name in ended.stdout.split()}


@pytest.mark.parametrize(("retry", "is_retried"), [("RETRY=1", True), ("RETRY=0", False), ("RETRY=", False)])
def test_retry_is_passed_to_runs_and_to_slurm(checkout: Path, retry: str, is_retried: bool) -> None:
    run, submission = (recorded(checkout, target, "DWCA=a.zip", retry) for target in ("dataset", "slurm"))
    assert ("--FetchChunk-retry-after" in run) is is_retried
    assert ("--retry" in submission) is is_retried


def test_request_passes_its_variables_and_only_it_has_the_password(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = checkout / ".venv" / "bin" / "gbif-webdataset"
    program.write_text(
        program.read_text() + 'import os; pathlib.Path("password").write_text(os.environ.get("GBIF_PWD", ""))\n'
    )
    monkeypatch.setenv("GBIF_PWD", "a$b$$c'\"d")
    words = ["NAMES=my species.txt", "COUNTRY=DK,SE", "YEAR=2015,2026", "LICENSES=cc0", "BASIS=OBSERVATION"]
    assert recorded(checkout, "request", *words, "TAXONOMY=backbone", "OUTPUT=r.json", "SEND=1") == [
        "RequestDownload",
        "--names=my species.txt",
        "--country=DK,SE",
        "--year=2015,2026",
        "--licenses=cc0",
        "--basis=OBSERVATION",
        "--taxonomy=backbone",
        "--send",
        "--request=r.json",
    ]
    assert (checkout / "password").read_text() == "a$b$$c'\"d"
    assert recorded(checkout, "request", "SEND=0") == ["RequestDownload"]
    recorded(checkout, "manifest", "DWCA=10.15468/dl.abc123")
    assert (checkout / "password").read_text() == ""
