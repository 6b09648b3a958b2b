"""MakeCrosswalk as a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.archives import find_case
from tests.support.datasets import ROOT
from tests.support.taxonomies import read_crosswalk


def run(folder: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "MakeCrosswalk", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command_writes_the_table_where_it_runs_and_prints_the_kinds_of_changes(tmp_path: Path) -> None:
    old, new = (find_case(f"archives/taxonomy-{name}.zip") for name in ("old-backbone", "new-col"))
    ended = run(tmp_path, "--old", old, "--new", new)
    assert ended.returncode == 0, ended.stderr
    assert "6 renamed: the taxon has another key or another name" in ended.stdout
    assert len(read_crosswalk(tmp_path / "crosswalk.csv")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["crosswalk.csv"]
    (tmp_path / "folder").mkdir()
    assert run(tmp_path, "--old", old, "--new", new, "--crosswalk", "folder").returncode == 0
    assert (tmp_path / "folder" / "crosswalk.csv").read_bytes() == (tmp_path / "crosswalk.csv").read_bytes()


@pytest.mark.parametrize(
    ("old", "sentence"),
    [
        ("nowhere.zip", "--MakeCrosswalk-old nowhere.zip: there is no such file or folder; check the path"),
        (".", "--old .: neither a dataset with a manifest nor a Darwin Core Archive; give the --output of a run"),
    ],
)
def test_a_source_that_cannot_be_read_gives_one_sentence(tmp_path: Path, old: str, sentence: str) -> None:
    ended = run(tmp_path, "--old", old, "--new", find_case("archives/taxonomy-new-col.zip"))
    assert ended.returncode != 0
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_make_crosswalk_runs_the_command() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", "crosswalk", "OLD=data/a", "NEW=b.zip", "TABLE=t.tsv.gz"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "MakeCrosswalk --old='data/a' --new='b.zip' --table='t.tsv.gz'" in " ".join(ended.stdout.split())
