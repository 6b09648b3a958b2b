"""A run that is killed while it writes any of its files leaves temporary ones; the next complete run deletes them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sample.server import PhotoServer
from tests.support.datasets import ROOT, Dataset

# Kills itself at the first rename to a path with the pattern, before the rename or after it.
KILL_AT_RENAME = """
import os, re, signal, sys
from luigi.cmdline import luigi_run

pattern, moment, *arguments = sys.argv[1:]
rename = os.replace

def replace(source, target, **options):
    is_chosen = re.search(pattern, str(target)) is not None
    if is_chosen and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target, **options)
    if is_chosen:
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace
if __name__ == "__main__":
    luigi_run(arguments)
"""
MOMENTS = [
    (r"\.tmp-manifest-[^/]*/chunk-00001", "before"),
    (r"/manifest$", "before"),
    (r"ReadArchive\.json$", "before"),
    (r"images/[^/]*/[^/]*\.jpg$", "before"),
    (r"fetched/chunk-\d+\.attempts$", "before"),
    (r"fetched/chunk-\d+\.parquet$", "before"),
    (r"verified/chunk-00001\.parquet$", "before"),
    (r"/verified\.parquet$", "before"),
    (r"/errors\.csv$", "before"),
    (r"/deleted\.csv$", "before"),
    (r"/clean\.parquet$", "before"),
    (r"\.tmp-splits-[^/]*/train\.csv$", "before"),
    (r"\.parts/plan\.json$", "before"),
    (r"\.parts/group-0.*\.tar$", "before"),
    (r"\.parts/group-0.*\.json$", "before"),
    (r"shards/shards\.csv$", "before"),
    (r"CreateWebDataset\.json$", "before"),
    (r"accounting\.csv$", "before"),
    (r"attribution\.parquet$", "before"),
    (r"index\.html$", "before"),
]


def kill_at(dataset: Dataset, pattern: str, moment: str, *further: str) -> None:
    _, _, _, *arguments = dataset.command(*further)
    words = [sys.executable, "-c", KILL_AT_RENAME, pattern, moment, *arguments]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, (pattern, ended.stderr)


def list_leftovers(output: Path) -> list[str]:
    names = (path.relative_to(output).as_posix() for path in output.rglob("*"))
    return [name for name in names if any(word in name for word in (".tmp-", ".lock", ".journal", "duckdb", ".parts"))]


@pytest.mark.slow
def test_a_run_after_kills_at_every_kind_of_file_leaves_none_of_them(
    made: Dataset, photos: PhotoServer, tmp_path: Path
) -> None:
    dataset = Dataset(made.archive, tmp_path / "dataset")
    for pattern, moment in MOMENTS:
        kill_at(dataset, pattern, moment)
        assert list_leftovers(dataset.output), pattern
    dataset.make()
    assert list_leftovers(dataset.output) == []
    assert dataset.shards() == made.shards()
    requested = [path for path, _ in photos.requests]
    for pattern in (r"/manifest$", r"fetched/earlier$", r"/splits$"):
        rebuilt = made.copy(tmp_path / pattern.strip("$/").replace("/", "-"))
        for record in ("ReadArchive", "SplitDataset"):
            (rebuilt.output / ".made" / f"{record}.json").unlink()
        for moment in ("before", "after"):
            kill_at(rebuilt, pattern, moment)
        rebuilt.make()
        assert list_leftovers(rebuilt.output) == []
        assert rebuilt.shards() == made.shards()
    assert [path for path, _ in photos.requests] == requested


@pytest.mark.slow
def test_a_scratch_folder_elsewhere_is_emptied_too(made: Dataset, tmp_path: Path) -> None:
    dataset, scratch = made.copy(tmp_path / "dataset"), tmp_path / "scratch"
    (dataset.output / ".made" / "CleanDataset.json").unlink()
    kill_at(dataset, r"/clean\.parquet$", "before", "--scratch", str(scratch))
    assert [path.name for path in scratch.iterdir() if "duckdb" in path.name]
    dataset.make("--scratch", str(scratch), "--CleanDataset-thumb-size", "101")
    assert list(scratch.iterdir()) == []
    assert list_leftovers(dataset.output) == []
