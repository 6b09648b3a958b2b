"""The command that lists, shows and copies the images of a dataset."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.datasets import ROOT, Dataset


def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "tasks.packs", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)


def test_images_are_listed_shown_and_exported(made: Dataset, tmp_path: Path) -> None:
    rows = [row for row in made.rows("verified.parquet") if row["valid"] and row["width"] >= 500]
    where = ("--where", "valid = 'true' AND TRY_CAST(width AS INT) >= 500")
    listed = run("list", "--output", str(made.output), *where)
    assert listed.returncode == 0, listed.stderr
    lines = sorted(line.split() for line in listed.stdout.decode().splitlines())
    assert lines == sorted([str(row["file_size"]), row["image_path"]] for row in rows)
    size, name = lines[0]
    shown = run("cat", "--output", str(made.output), name)
    assert (shown.returncode, len(shown.stdout)) == (0, int(size))
    copied = run("export", "--output", str(made.output), str(tmp_path / "copies"), *where)
    assert copied.stdout.decode().startswith(f"{len(rows)} images (")
    assert (tmp_path / "copies" / name).read_bytes() == shown.stdout


@pytest.mark.parametrize("arguments", [("cat", "none.jpg"), ("list", "--where", "width > 3"), ("list", "--where", "x")])
def test_a_mistake_gives_one_sentence(made: Dataset, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments, "--output", str(made.output))
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"ERROR: ")
    assert len(ended.stderr.splitlines()) == 1


def test_a_reader_that_needs_no_more_lines_ends_the_list_silently(made: Dataset) -> None:
    command = f"{sys.executable} -m tasks.packs list --output '{made.output}' | head -n 1"
    ended = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert len(ended.stdout.splitlines()) == 1
    assert ended.stderr == b""
