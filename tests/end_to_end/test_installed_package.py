"""The wheel in an environment of its own, used from a folder that has a package `tasks` of its own."""

import csv
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image

from gbif_webdataset.slurm.jobs import STAGES
from tests.support.datasets import ROOT, archive_of

IMAGES = 10
LOOPBACK = ("--FetchChunk-allow-addresses", "127.0.0.1/32", "--FetchChunk-requests-per-second-per-host", "0")


class Photos(SimpleHTTPRequestHandler):
    """The files of a folder."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the code: setuptools leaves files beside the code that it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("tasks", "gbif_webdataset", "sbatch", "sample", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "code" / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "code")
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    subprocess.run([sys.executable, "-m", "pip", *build, folder / "code"], check=True, timeout=120)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel; the dependencies are those of this Python's environment."""
    folder = tmp_path_factory.mktemp("environment") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    install = ("--python", folder / "bin" / "python", "install", "--quiet", "--no-deps", "--no-index", wheel)
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, timeout=120)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with packages that have our names and cannot be imported."""
    for name in ("tasks", "gbif_webdataset", "sample"):
        (tmp_path / "project" / name).mkdir(parents=True)
        (tmp_path / "project" / name / "__init__.py").write_text(f"raise SystemExit('the wrong {name}')\n")
    return tmp_path / "project"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An archive of ten occurrences, whose photos are served."""
    folder = tmp_path_factory.mktemp("archive")
    for number in range(IMAGES):
        Image.effect_noise((150, 120), 20 + number).save(folder / f"{number}.jpg")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Photos, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        urls = [f"http://127.0.0.1:{server.server_address[1]}/{number}.jpg" for number in range(IMAGES)]
        yield archive_of(folder / "moths.zip", urls)
        server.shutdown()


def run(*command: object, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | variables
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_wheel_has_both_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    code = [path for package in ("tasks", "gbif_webdataset") for path in (ROOT / package).rglob("*") if path.is_file()]
    expected = {path.relative_to(ROOT).as_posix() for path in code if "__pycache__" not in path.parts}
    assert names == expected | {f"tasks/sbatch/{path.name}" for path in (ROOT / "sbatch").iterdir()}


def test_the_command_makes_a_dataset_in_a_folder_with_its_own_tasks(
    environment: Path, archive: Path, project: Path
) -> None:
    options = (*LOOPBACK, "--chunks", 2, "--workers", 2, "--CreateWebDataset-num-workers", 2)
    ended = run(environment / "gbif-webdataset", "ReportDataset", f"--dwca={archive}", *options, cwd=project)
    assert ended.returncode == 0, ended.stderr
    output = project / "data" / "moths"
    with (output / "shards" / "shards.csv").open(newline="") as file:
        assert sum(int(row["samples"]) for row in csv.DictReader(file)) == IMAGES
    assert (output / "report" / "index.html").exists()
    again = run(
        environment / "gbif-webdataset", "CreateWebDataset", f"--dwca={archive}", *LOOPBACK, "--chunks", 2, cwd=project
    )
    assert again.returncode == 0, again.stderr


def test_a_failed_run_has_a_status_and_one_sentence_with_luigi_as_well(environment: Path, project: Path) -> None:
    commands = ([environment / "gbif-webdataset"], [environment / "python", "-P", "-m", "luigi", "--module", "tasks"])
    for command in commands:
        ended = run(*command, "CreateWebDataset", "--dwca", "nowhere.zip", cwd=project)
        assert ended.returncode == 30
        assert ended.stderr.startswith(
            "ERROR: ReadArchive: --dwca nowhere.zip: there is no such file or folder; give the path"
        )
        assert len(ended.stderr.splitlines()) == 1


@pytest.fixture
def slurm(tmp_path: Path) -> str:
    """A PATH on which Slurm's commands have an empty queue and a small limit of elements."""
    programs = tmp_path / "slurm"
    programs.mkdir()
    for name, does in {"squeue": "", "scontrol": "echo 'MaxArraySize = 3'"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


def test_jobs_are_submitted_with_the_installed_scripts_and_python(
    environment: Path, archive: Path, project: Path, slurm: str
) -> None:
    which = (f"--dwca={archive}", "--chunks", 4, *LOOPBACK)
    submit = ("submit", "--dry-run", *which)
    ended = run(environment / "gbif-webdataset", "slurm", *submit, cwd=project, PATH=slurm)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    [scripts] = environment.parent.glob("lib/python*/site-packages/tasks/sbatch")
    common = f" {scripts} {environment / 'python'} {project} "
    for line, stage in zip(lines, STAGES, strict=True):
        assert line.startswith("sbatch --parsable --job-name=gbif-")
        assert f" {scripts / stage}.sbatch{common}" in line
    assert (
        f"{common}0-3 3 --FetchChunk-concurrent-chunks 3 --dwca={archive} --output=data/moths --chunks=4 " in lines[1]
    )
    module = run(environment / "python", "-P", "-m", "tasks.arrays", *submit, cwd=project, PATH=slurm)
    assert module.stdout == ended.stdout
    shutil.copytree(scripts, project / "mine")
    own = run(environment / "gbif-webdataset", "slurm", *submit, "--slurm-scripts", "mine", cwd=project, PATH=slurm)
    assert own.stdout == ended.stdout.replace(str(scripts), str(project / "mine"))
    status = run(environment / "gbif-webdataset", "slurm", "status", *which, cwd=project, PATH=slurm)
    assert status.stdout.splitlines()[1].split() == ["read", "0", "0", "0", "0", "1"]
    assert not (project / "data").exists()


def test_a_submitted_job_script_runs_the_installed_package(
    environment: Path, archive: Path, project: Path, slurm: str, tmp_path: Path
) -> None:
    submit = ("slurm", "submit", "--dry-run", f"--dwca={archive}", "--chunks", 4)
    printed = run(environment / "gbif-webdataset", *submit, cwd=project, PATH=slurm).stdout.splitlines()
    words = printed[0].split()
    [at] = [number for number, word in enumerate(words) if word.endswith("read.sbatch")]
    spooled = shutil.copy(words[at], tmp_path / "slurm_script")  # Slurm runs a copy
    ended = run("bash", spooled, *words[at + 1 :], cwd=tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[1:]) == (0, ["ended with status 0"]), ended.stderr
    assert (project / "data" / "moths" / "manifest" / "chunk-00003.parquet").exists()


def test_the_sample_and_the_tests_are_not_installed(environment: Path, tmp_path: Path) -> None:
    for name in ("sample", "tests", "bench"):
        ended = run(environment / "python", "-P", "-c", f"import {name}", cwd=tmp_path)
        assert f"ModuleNotFoundError: No module named '{name}'" in ended.stderr
