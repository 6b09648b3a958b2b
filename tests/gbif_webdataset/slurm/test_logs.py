import os
from pathlib import Path

import pytest

from gbif_webdataset.slurm import logs
from gbif_webdataset.slurm.logs import ATTEMPT, Log


def write(folder: Path, name: str, text: str, at: int = 0) -> Path:
    path = folder / name
    path.write_text(text)
    os.utime(path, (at, at))
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
        ("ended with status 0\n--- job 7_2 on a, now\n", "it ended without a message (job 7_2 on a, now)"),
        ("--- job 7_2 on a, now\nended with status 1\n", "ended with status 1"),
    ],
)  # fmt: skip
def test_the_error_of_an_element_is_the_last_line_before_its_status(tmp_path: Path, text: str, error: str) -> None:
    assert logs.find_error(write(tmp_path, "fetch-1.log", text)) == error


def test_logs_are_distinguished_from_other_files_and_the_latest_is_the_last(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, name, "", 100 - number)
        for number, name in enumerate(("read.log", "fetch-30.log", "verify-2-of-7.log"))
    ]
    for name in ("FetchChunk-00003.log", "notes.txt", "job.json", "read-7.log", "fetch-12_30.log", "fetch.log"):
        write(tmp_path, name, "")
    assert logs.find_logs(tmp_path) == [
        Log(paths[2], "verify", 2, 7),
        Log(paths[1], "fetch", 30),
        Log(paths[0], "read"),
    ]
    assert logs.find_logs(tmp_path / "none") == []
    assert list(Log(paths[2], "verify", 2, 7).list_chunks(20)) == [2, 9, 16]
    assert list(Log(paths[1], "fetch", 30).list_chunks(40)) == [30]


def test_a_log_keeps_the_last_three_attempts(tmp_path: Path) -> None:
    log = tmp_path / "VerifyChunk-00000.log"
    log.write_text("of an older version\n")
    for attempt in range(5):
        logs.begin_attempt(log, f"VerifyChunk-00000 {attempt}")
        with log.open("a") as file:
            file.write(f"--- not a first line\nresult {attempt}\n")
    lines = log.read_text().splitlines()
    assert [line for line in lines if line.startswith("result")] == ["result 2", "result 3", "result 4"]
    assert [line.split(",")[0] for line in lines if line.startswith(ATTEMPT)] == [
        f"{ATTEMPT}VerifyChunk-00000 {attempt}" for attempt in (2, 3, 4)
    ]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (
            ["salloc: Granted job allocation 5", "ERROR: no network", "srun: error: a: task 0: Exited with exit code 30", "salloc: Relinquishing job allocation 5"],
            "ERROR: no network",
        ),
        (
            ["salloc: Granted job allocation 5", "srun: fatal: SLURM_MEM_PER_CPU and SLURM_MEM_PER_NODE are mutually exclusive.", "salloc: Relinquishing job allocation 5"],
            "srun: fatal: SLURM_MEM_PER_CPU and SLURM_MEM_PER_NODE are mutually exclusive.",
        ),
        (
            ["fetch: 100 images", "srun: error: Node failure on b", "srun: Terminating StepId=5.0"],
            "srun: error: Node failure on b",
        ),
        (["salloc: error: Job submit/allocate failed: Invalid qos specification"], "salloc: error: Job submit/allocate failed: Invalid qos specification"),
        (["Segmentation fault", "srun: error: a: task 0: Exited with exit code 139"], "Segmentation fault"),
        ([], "it ended without a message"),
    ],
)  # fmt: skip
def test_the_error_of_an_allocation_is_that_of_the_task_or_else_that_of_slurm(
    tmp_path: Path, lines: list[str], error: str
) -> None:
    log = tmp_path / "FetchChunk-00000.log"
    log.write_text("ERROR: of an earlier attempt\n")
    logs.begin_attempt(log, "FetchChunk-00000")
    with log.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))
    assert logs.find_allocation_error(log) == error
