import subprocess
import sys

from tests.support.datasets import ROOT

# Luigi's own function is replaced by one that finds tasks of other runs twice, and then everything done.
SCRIPT = """
import sys
from types import SimpleNamespace
from luigi import execution_summary, interface
from luigi.execution_summary import LuigiStatusCode
import tasks
from tasks.framework import shared_runs

statuses = [LuigiStatusCode[name] for name in sys.argv[1].split(",")]
calls = []

def schedule_and_run(tasks):
    calls.append(tasks)
    return SimpleNamespace(status=statuses[len(calls) - 1], worker=None)

interface._schedule_and_run = schedule_and_run
execution_summary._summary_dict = lambda worker: {"run_by_other_worker": []}
shared_runs.name_scheduler = lambda: sys.argv[2]
shared_runs.MIN_PAUSE = 0.01
shared_runs.install()
shared_runs.install()
print(interface._schedule_and_run([]).status.name, len(calls))
"""


def run(statuses: str, scheduler: str) -> str:
    command = [sys.executable, "-c", SCRIPT, statuses, scheduler]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_run_waits_until_other_runs_have_done_their_tasks() -> None:
    assert run("NOT_RUN,NOT_RUN,SUCCESS,FAILED", "a:1") == "SUCCESS 3"


def test_a_run_ends_when_one_of_its_tasks_fails() -> None:
    assert run("NOT_RUN,FAILED,SUCCESS", "a:1") == "FAILED 2"


def test_a_run_without_a_central_scheduler_waits_for_nobody() -> None:
    assert run("NOT_RUN,SUCCESS", "") == "NOT_RUN 1"
