"""The job scripts, run by bash with a Python and a scontrol that only record how they were called."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from luigi.cmdline_parser import CmdlineParser

import tasks  # noqa: F401  # registers the tasks
from tests.support.datasets import ROOT

NEAR = "the time limit is near: the results are kept, and the job returns to the queue"
# What the task does, by its chunk; its parent is the job script, which Slurm signals.
PYTHON = """\
#!/bin/bash
printf '%s\\n' "$*" >> calls
case "$*" in
{cases}
esac
"""
NEAR_THE_LIMIT = "kill -USR1 $PPID; while :; do sleep 0.01; done"


def test_the_memory_that_the_documentation_states_is_requested() -> None:
    stated = dict(re.findall(r"^\| `(\w+)\.sbatch` \| (\w+) \|", (ROOT / "docs/slurm.md").read_text(), re.MULTILINE))
    requested = {
        name: re.findall(r"^#SBATCH --mem=(\w+)$", (ROOT / f"sbatch/{name}.sbatch").read_text(), re.MULTILINE)
        for name in stated
    }
    assert requested == {"verify": [stated["verify"]], "shards": [stated["shards"]]}


class Script:
    """A folder with the job scripts and a task that behaves, at some chunks, as `cases` say."""

    def __init__(self, root: Path, **cases: str) -> None:
        self.root = root
        (root / "bin").mkdir(parents=True)
        branches = "\n".join(f"*'--chunk {name.removeprefix('chunk_')} '*) {does} ;;" for name, does in cases.items())
        _program(root / "bin" / "python", PYTHON.format(cases=branches))
        _program(root / "bin" / "scontrol", '#!/bin/bash\necho "$@" >> requeued\n')

    def run(self, name: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a script as Slurm would, element 1 of array 7."""
        slurm = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_ID": "9", "SLURM_CPUS_PER_TASK": "3"}
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        ended = subprocess.run(
            [*_command(name, self.root), *arguments],
            env=os.environ | slurm | {"PATH": path} | variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        first, _, ended.stdout = ended.stdout.partition("\n")
        assert re.fullmatch(r"--- job (7_1|9) on \S+, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", first)
        return ended

    @property
    def chunks(self) -> list[int]:
        """What the task was called for."""
        calls = (self.root / "calls").read_text().splitlines()
        return [int(call.partition("--chunk ")[2].split()[0]) for call in calls]

    @property
    def requeued(self) -> str:
        path = self.root / "requeued"
        return path.read_text() if path.exists() else ""


def _command(name: str, root: Path) -> list[str]:
    return [
        "bash",
        str(ROOT / "sbatch" / f"{name}.sbatch"),
        str(ROOT / "sbatch"),
        str(root / "bin" / "python"),
        str(root),
    ]


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_an_element_runs_its_chunks_one_after_the_other_with_the_submitting_python(tmp_path: Path) -> None:
    script = Script(tmp_path / "a 'root'")
    ended = script.run("shards", "0-5", "2", "--dwca=it's $(touch pwned).zip", SLURM_TMPDIR="/scratch 9")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended with status 0\n", "")
    assert (script.root / "calls").read_text().splitlines() == [
        "-P -m tasks ShardChunk --scratch /scratch 9 --CreateWebDataset-num-workers 3 --dwca=it's $(touch pwned).zip "
        f"--chunk {chunk} --runner element --local-scheduler true --no-lock"
        for chunk in (1, 3, 5)
    ]


def test_the_scratch_folder_that_the_user_requests_overrides_that_of_the_job(tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.run("tables", "--dwca=a.zip", "--output=out", "--scratch=/mine", SLURM_TMPDIR="/of/the/job")
    words = (script.root / "calls").read_text().split()[3:]
    with CmdlineParser.global_instance(words) as command:
        assert command.get_task_obj().scratch == "/mine"


def test_an_element_runs_only_the_chunks_that_are_missing(tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.run("fetch", "0,3-5,9,11-12", "2")
    assert script.chunks == [3, 5, 9, 11]


def test_a_log_to_which_slurm_appends_keeps_the_last_three_attempts(tmp_path: Path) -> None:
    script = Script(tmp_path / "a 'root'")
    log = script.root / "fetch-1 $(touch pwned).log"
    log.write_text("of an older version\n")
    slurm = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1", "SLURMD_NODENAME": "a"}
    for attempt in range(5):
        _program(script.root / "bin" / "python", f"#!/bin/bash\necho result {attempt}\nexit {attempt}\n")
        with log.open("ab") as file:
            command = [*_command("fetch", script.root), "1", "2"]
            ended = subprocess.run(command, env=os.environ | slurm, stdout=file, stderr=file, timeout=30, check=False)
        assert ended.returncode == attempt
    lines = log.read_text().splitlines()
    assert [line for line in lines if not line.startswith("--- job 7_1 on a, ")] == [
        line for attempt in (2, 3, 4) for line in (f"result {attempt}", f"ended with status {attempt}")
    ]
    assert len(lines) == 9
    assert sorted(path.name for path in script.root.iterdir()) == ["bin", log.name]


def test_after_a_failed_chunk_the_other_chunks_of_the_element_run(tmp_path: Path) -> None:
    script = Script(tmp_path, chunk_1="echo no network; exit 30")
    ended = script.run("fetch", "0-5", "2")
    assert (ended.returncode, ended.stdout) == (30, "no network\nended with status 30\n")
    assert script.chunks == [1, 3, 5]
    assert not script.requeued


@pytest.mark.parametrize("status", [0, 30], ids=["succeeds", "fails"])
def test_at_the_time_limit_the_remaining_chunks_return_to_the_queue(tmp_path: Path, status: int) -> None:
    script = Script(tmp_path, chunk_3=f"trap 'exit {status}' TERM; {NEAR_THE_LIMIT}")
    ended = script.run("fetch", "0-5", "2")
    assert ended.returncode != 0
    assert ended.stdout.splitlines() == [NEAR, f"ended with status {ended.returncode}"]
    assert script.chunks == [1, 3]
    assert script.requeued == "requeue 7_1\n"


def test_an_element_that_succeeds_at_its_time_limit_is_not_requeued(tmp_path: Path) -> None:
    script = Script(tmp_path, chunk_5=f"trap 'exit 0' TERM; {NEAR_THE_LIMIT}")
    ended = script.run("verify", "0-5", "2")
    assert (ended.returncode, ended.stdout) == (0, "ended with status 0\n")
    assert script.chunks == [1, 3, 5]
    assert not script.requeued


def test_a_job_without_elements_is_requeued_by_its_own_number(tmp_path: Path) -> None:
    script = Script(tmp_path)
    _program(tmp_path / "bin" / "python", f"#!/bin/bash\ntrap 'exit 30' TERM; {NEAR_THE_LIMIT}\n")
    ended = script.run("read", "--dwca=a.zip", SLURM_ARRAY_JOB_ID="", SLURM_ARRAY_TASK_ID="")
    assert ended.stdout.splitlines() == [NEAR, "ended with status 30"]
    assert script.requeued == "requeue 9\n"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    shutil.rmtree(Script(tmp_path / "gone").root)
    ended = subprocess.run(
        _command("report", tmp_path / "gone"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    assert str(tmp_path / "gone") in ended.stderr


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "sbatch").iterdir()))
def test_bash_and_shellcheck_accept_each_script(script: str) -> None:
    checks = [["bash", "-n", script]]
    if shutil.which("shellcheck"):
        checks.append(["shellcheck", "--shell=bash", "--external-sources", script])
    for check in checks:
        ended = subprocess.run(check, cwd=ROOT / "sbatch", capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
