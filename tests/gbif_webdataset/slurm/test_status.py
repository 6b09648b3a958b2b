import os
from pathlib import Path

import pytest

from gbif_webdataset.slurm import status
from gbif_webdataset.slurm.jobs import STAGES, QueuedJob
from gbif_webdataset.slurm.logs import find_logs

NOTHING: dict[str, list[int]] = {stage: [] for stage in STAGES}


def log(folder: Path, name: str, text: str, at: int = 1) -> None:
    (folder / name).write_text(text)
    os.utime(folder / name, (at, at))


def test_each_chunk_is_in_one_state(tmp_path: Path) -> None:
    log(tmp_path, "fetch-1-of-2.log", "ERROR: no space\nended with status 30\n", at=1)  # of an earlier submission
    log(tmp_path, "fetch-1.log", "ERROR: no network\nended with status 30\n", at=2)
    log(tmp_path, "fetch-0.log", "ended with status 0\n")
    log(tmp_path, "fetch-2.log", "ERROR: old\nended with status 30\n")
    missing = {stage: [0] for stage in STAGES} | {"read": [], "fetch": [1, 2, 3], "verify": [0, 1, 2, 3]}
    missing["shards"] = [0, 1, 2, 3]
    present = [
        QueuedJob("9_2", "fetch", 2, "RUNNING", "None"),
        QueuedJob("10_0", "verify", 0, "PENDING", "Dependency"),
        QueuedJob("10_1", "verify", 1, "PENDING", "DependencyNeverSatisfied"),
        QueuedJob("11_1", "shards", 1, "PENDING", "Dependency", 2),
    ]
    stages = list(status.count_states(missing, 4, present, find_logs(tmp_path)))
    numbers = {stage.name: (stage.done, stage.running, stage.waiting, stage.failed) for stage in stages}
    assert numbers == {
        "read": (1, 0, 0, 0),
        "fetch": (1, 1, 0, 2),
        "verify": (0, 0, 2, 0),
        "tables": (0, 0, 0, 0),
        "shards": (0, 0, 2, 0),
        "report": (0, 0, 0, 0),
    }
    assert stages[1].errors == {1: "ERROR: no network", 3: "ERROR: no space"}
    assert (
        status.format_table(stages, 4)
        == """\
stage      done  running  waiting  failed  to do
read          1        0        0       0      0
fetch         1        1        0       2      0
verify        0        0        2       0      2  Dependency 1, DependencyNeverSatisfied 1
tables        0        0        0       0      1
shards        0        0        2       0      2  Dependency 2
report        0        0        0       0      1
fetch 1: ERROR: no network
fetch 3: ERROR: no space"""
    )


def test_a_built_chunk_is_not_done_while_a_job_is_about_to_process_it_again() -> None:
    again = [QueuedJob("9_2", "fetch", 2, "PENDING", "Priority")]
    combined = [
        QueuedJob("9_0", "fetch", 0, "PENDING", "Priority", 2)
    ]  # of its chunks only those missing are processed
    for queue, waiting in ((again, 1), (combined, 0)):
        fetch = list(status.count_states(NOTHING, 4, queue, []))[1]
        assert (fetch.done, fetch.waiting) == (4 - waiting, waiting)


def test_of_combined_chunks_only_those_that_a_job_was_given_are_waiting(tmp_path: Path) -> None:
    log(tmp_path, "verify-0-of-2.log", "ERROR: no space\nended with status 30\n")
    missing = NOTHING | {"verify": [0, 2, 4]}
    queue = [QueuedJob("9_0", "verify", 0, "PENDING", "Priority", 2, frozenset({4}))]
    verify = list(status.count_states(missing, 6, queue, find_logs(tmp_path)))[2]
    assert (verify.done, verify.waiting, verify.failed) == (3, 1, 2)
    assert verify.errors == {0: "ERROR: no space", 2: "ERROR: no space"}


def test_equal_errors_share_a_line(tmp_path: Path) -> None:
    for element in range(8):
        log(tmp_path, f"fetch-{element}.log", "ERROR: no network\nended with status 30\n")
    missing = NOTHING | {"fetch": list(range(8))}
    stages = list(status.count_states(missing, 8, [], find_logs(tmp_path)))
    assert status.format_table(stages, 8).splitlines()[-1] == "fetch 0, 1, 2, 3, 4 ...: ERROR: no network"


@pytest.mark.parametrize(
    ("images", "note"),
    [(0, ""), (1, "1 image may succeed in another run"), (27, "27 images may succeed in another run")],
)
def test_a_finished_stage_is_done_and_images_that_may_succeed_are_noted_beside_it(images: int, note: str) -> None:
    table = status.format_table(list(status.count_states(NOTHING, 4, [], [])), 4, images).splitlines()
    assert table[2] == f"fetch         4        0        0       0      0  {note}".rstrip()
    assert all(line.split()[5:] == ["0"] for line in (table[1], *table[3:]))
