"""CompareDatasets as a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tests.gbif_webdataset.storage.test_run_lock import held
from tests.support.datasets import ROOT, Dataset


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "CompareDatasets", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_compares_each_time_and_writes_into_the_newer_report(dataset: Dataset, made: Dataset) -> None:
    dataset.make("--SplitDataset-random-seed", "7")
    for _ in range(2):
        ended = run("--old", str(made.output), "--new", str(dataset.output))
        assert ended.returncode == 0, ended.stderr
        rows = dataset.rows("report/comparison.csv")
        total = sum(len(dataset.rows(f"splits/{split}.csv")) for split in SPLITS_OF_CLASSES)
        assert f"{total:,} images in the old dataset, {total:,} in the new one" in ended.stdout
        assert {row["change"] for row in rows} == {"split"}
        assert f"{len(rows):,} in another split" in ended.stdout
        assert "<svg" in (dataset.output / "report" / "comparison.html").read_text()
    assert not (made.output / "report" / "comparison.csv").exists()


def test_the_command_does_not_disturb_elements_of_a_slurm_job(dataset: Dataset, made: Dataset) -> None:
    with held(dataset.output, "element"):
        ended = run("--old", str(made.output), "--new", str(dataset.output))
        assert ended.returncode == 0, ended.stderr
        assert (dataset.output / "report" / "comparison.csv").exists()


@pytest.mark.parametrize(
    ("old", "message"), [(".", "there is no dataset with splits"), ("/nowhere", "/nowhere: there is no such folder")]
)
def test_a_folder_without_a_dataset_gives_one_sentence(tmp_path: Path, old: str, message: str) -> None:
    ended = run("--old", old if old != "." else str(tmp_path), "--new", str(tmp_path))
    assert ended.returncode != 0
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_make_compare_runs_the_command() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", "compare", "OLD=data/a", "NEW=data/b"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "CompareDatasets --old='data/a' --new='data/b'" in ended.stdout
