import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gbif_webdataset.storage.leftovers import delete_leftovers
from gbif_webdataset.storage.run_lock import RunLock
from gbif_webdataset.storage.runs import Run, RunKind
from tests.gbif_webdataset.storage.test_run_lock import held, kill

ROOT = Path(__file__).parents[3]
TEMPORARY = [
    ".tmp-verified.parquet-a1",
    ".tmp-manifest-host-b2/chunk-00000.parquet",
    ".tmp-manifest-host-b2-old/chunk-00000.parquet",
    ".made/.tmp-ReadArchive.json-c3",
    ".scratch/.tmp-duckdb-host-d4/duckdb_temp_storage-0.tmp",
    ".scratch/.tmp-progress-host-17",
    "fetched/.tmp-chunk-00001.parquet-e5",
    "verified/.tmp-chunk-00001.parquet-e5",
    "shards/.tmp-shards.csv-f6",
    "shards/.parts/.tmp-group-000000.json-g7",
    "report/.tmp-index.html-h8",
]
IMAGE = "images/d1/.tmp-1.jpg"
OUTCOMES = "fetched/.tmp-earlier-host-i9/chunk-00000.parquet"
KEPT = ["images/d1/2.jpg", "shards/train/train-000000.tar", "notes/.hidden", "fetched/chunk-00000.parquet"]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for name in (*TEMPORARY, IMAGE, OUTCOMES, *KEPT, "manifest/chunk-00000.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def later() -> int:
    return time.time_ns() + 10**9


def present(output: Path, names: list[str]) -> list[str]:
    return [name for name in names if (output / name).exists()]


def test_temporary_files_are_deleted_and_others_kept(output: Path) -> None:
    assert delete_leftovers(output, later(), has_killed_runs=False)
    assert present(output, [*TEMPORARY, IMAGE, OUTCOMES, *KEPT]) == [IMAGE, OUTCOMES, *KEPT]


def test_images_are_looked_through_after_a_killed_run_once_all_chunks_are_fetched(output: Path) -> None:
    journal = output / "fetched" / "chunk-00000.journal"
    journal.touch()
    assert not delete_leftovers(output, later(), has_killed_runs=True)
    assert present(output, [IMAGE]) == [IMAGE]
    journal.unlink()
    assert delete_leftovers(output, later(), has_killed_runs=True)
    assert present(output, [IMAGE, *KEPT]) == KEPT


def test_newer_files_are_kept(output: Path) -> None:
    assert delete_leftovers(output, 1, has_killed_runs=True)
    assert present(output, [*TEMPORARY, IMAGE]) == [*TEMPORARY, IMAGE]


USING = """
import sys
from pathlib import Path
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file

output = Path(sys.argv[1])
with tables.open_database(output / ".scratch"), atomic_file(output / "audit.csv") as temporary:
    temporary.write_text("findings")
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def reader(output: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that uses temporary files, without a lock of the dataset, until its standard input is closed."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", USING, str(output)]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as task:
        assert task.stdout is not None
        assert task.stdout.readline() == "ready\n"
        yield task


def test_files_of_a_task_that_only_reads_are_kept(output: Path) -> None:
    with reader(output) as task:
        assert delete_leftovers(output, later(), has_killed_runs=False)
        left = [path for folder in (output, output / ".scratch") for path in folder.glob(".tmp-*")]
        assert [path.name[:12] for path in left] == [".tmp-audit.c", ".tmp-duckdb-"]
        task.communicate("")
        assert task.returncode == 0
    assert (output / "audit.csv").read_text() == "findings"


def test_files_of_a_killed_task_that_only_read_are_deleted(output: Path) -> None:
    with reader(output) as task:
        kill(task)
    assert list(output.glob(".tmp-audit.csv-*"))
    assert delete_leftovers(output, later(), has_killed_runs=False)
    assert not list(output.glob(".tmp-*"))
    assert not list((output / ".scratch").glob(".tmp-*"))


def test_a_link_with_a_temporary_name_is_deleted_and_not_its_target(output: Path) -> None:
    (output / ".tmp-link").symlink_to(output / "notes")
    (output / ".tmp-broken").symlink_to(output / "nowhere")
    delete_leftovers(output, later(), has_killed_runs=False)
    assert not list(output.glob(".tmp-*"))
    assert present(output, KEPT) == KEPT


def test_an_output_that_does_not_exist_has_no_leftovers(tmp_path: Path) -> None:
    assert delete_leftovers(tmp_path / "none", later(), has_killed_runs=False)


def element() -> Run:
    return Run.of_this_process("FetchChunk-00001", RunKind.ELEMENT)


def test_files_of_a_running_element_are_kept_until_it_has_ended(output: Path) -> None:
    with held(output, "element") as other:
        for name in TEMPORARY:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).touch()
            os.utime(output / name, (1, 1))
        with RunLock(output, element()):
            assert present(output, TEMPORARY) == TEMPORARY
        assert present(output, [*TEMPORARY, IMAGE]) == [*TEMPORARY, IMAGE]
        kill(other)
    with RunLock(output, element()):
        pass
    assert present(output, [*TEMPORARY, IMAGE]) == []


def test_the_marks_of_killed_runs_remain_until_images_were_looked_through(output: Path) -> None:
    journal = output / "fetched" / "chunk-00000.journal"
    journal.touch()
    with held(output) as other:
        kill(other)
    with RunLock(output, element()):
        pass
    assert [path.name[:11] for path in (output / ".made").iterdir()] == ["killed-run-"]
    assert present(output, [IMAGE]) == [IMAGE]
    journal.unlink()
    with RunLock(output, element()):
        pass
    assert present(output, [IMAGE]) == []
    assert not list((output / ".made").iterdir())


BUSY = """
import sys, time
from pathlib import Path
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.run_lock import RunLock
from gbif_webdataset.storage.runs import Run, RunKind

output, name = Path(sys.argv[1]), sys.argv[2]
for _ in range(40):
    with RunLock(output, Run.of_this_process(name, RunKind.ELEMENT)):
        for number in range(5):
            with atomic_file(output / "verified" / f"{name}-{number}") as temporary:
                temporary.write_text("x")
                time.sleep(0.001)
"""


def test_elements_that_start_and_end_all_the_time_never_delete_files_of_each_other(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUSY, str(tmp_path)]
    elements = [
        subprocess.Popen([*command, f"e{number}"], cwd=ROOT, stderr=subprocess.PIPE, text=True) for number in range(4)
    ]
    printed = [element.communicate(timeout=120)[1] for element in elements]
    assert [element.returncode for element in elements] == [0] * 4, printed
    assert len(list((tmp_path / "verified").iterdir())) == 20
    assert not list((tmp_path / ".made").iterdir())
