from pathlib import Path

import pytest

from gbif_webdataset.slurm import status
from gbif_webdataset.slurm.jobs import STAGES, QueuedJob
from gbif_webdataset.slurm.status import Log


def log(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("fetch: 7 images\nended with status 0\n", ""),
        ("ERROR: no network\n\nended with status 30\n", "ERROR: no network"),
        ("slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***\n", "slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***"),
        ("ended with status 0\nfetch: 3 images\n", "fetch: 3 images"),
        ("", "the log is empty"),
        ("ended with status 1\n", "ended with status 1"),
    ],
)  # fmt: skip
def test_the_error_of_an_element_is_the_last_line_before_its_status(tmp_path: Path, text: str, error: str) -> None:
    assert status.find_error(log(tmp_path, "fetch-1_0.log", text)) == error


def test_logs_are_distinguished_from_other_files(tmp_path: Path) -> None:
    paths = [log(tmp_path, name, "") for name in ("read-7.log", "fetch-12_30.log")]
    log(tmp_path, "FetchChunk-00003.log", "")
    log(tmp_path, "notes.txt", "")
    assert sorted(status.find_logs(tmp_path), key=lambda found: found.job) == [
        Log(paths[0], "read", 7, 0),
        Log(paths[1], "fetch", 12, 30),
    ]
    assert status.find_logs(tmp_path / "none") == []


def test_each_element_is_in_one_state(tmp_path: Path) -> None:
    log(tmp_path, "fetch-5_1.log", "ERROR: no room\nended with status 30\n")
    log(tmp_path, "fetch-9_1.log", "ERROR: no network\nended with status 30\n")  # of a later submission
    log(tmp_path, "fetch-5_0.log", "ended with status 0\n")
    log(tmp_path, "fetch-5_2.log", "ERROR: old\nended with status 30\n")
    missing = {stage: [0] for stage in STAGES} | {"read": [], "fetch": [1, 2, 3], "verify": [0, 1, 2, 3]}
    present = [
        QueuedJob("9_2", "fetch", 2, "RUNNING", "None"),
        QueuedJob("10_0", "verify", 0, "PENDING", "Dependency"),
        QueuedJob("10_1", "verify", 1, "PENDING", "DependencyNeverSatisfied"),
    ]
    stages = list(status.count_states(missing, 4, present, status.find_logs(tmp_path)))
    numbers = {stage.name: (stage.done, stage.running, stage.waiting, stage.failed) for stage in stages}
    assert numbers["read"] == (1, 0, 0, 0)
    assert numbers["fetch"] == (1, 1, 0, 1)
    assert numbers["verify"] == (0, 0, 2, 0)
    assert numbers["report"] == (0, 0, 0, 0)
    assert stages[1].errors == {1: "ERROR: no network"}
    table = status.format_table(stages, 4).splitlines()
    assert table[0].split() == ["stage", "done", "running", "waiting", "failed", "to", "do"]
    assert table[2].split() == ["fetch", "1", "1", "0", "1", "1"]
    assert table[3].split() == ["verify", "0", "0", "2", "0", "2", "Dependency", "1,", "DependencyNeverSatisfied", "1"]
    assert table[-1] == "fetch 1: ERROR: no network"


def test_equal_errors_share_a_line(tmp_path: Path) -> None:
    for element in range(8):
        log(tmp_path, f"fetch-5_{element}.log", "ERROR: no network\nended with status 30\n")
    missing = {stage: [] for stage in STAGES} | {"fetch": list(range(8))}
    stages = list(status.count_states(missing, 8, [], status.find_logs(tmp_path)))
    assert status.format_table(stages, 8).splitlines()[-1] == "fetch 0, 1, 2, 3, 4 ...: ERROR: no network"


@pytest.mark.parametrize(
    ("images", "note"),
    [(0, ""), (1, "1 image may succeed in another run"), (27, "27 images may succeed in another run")],
)
def test_a_finished_stage_is_done_and_images_that_may_succeed_are_noted_beside_it(images: int, note: str) -> None:
    missing: dict[str, list[int]] = {stage: [] for stage in STAGES}
    table = status.format_table(list(status.count_states(missing, 4, [], [])), 4, images).splitlines()
    assert table[2] == f"fetch         4        0        0       0      0  {note}".rstrip()
    assert all(line.split()[5:] == ["0"] for line in (table[1], *table[3:]))
