import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gbif_webdataset.storage.runs import STALE_SECONDS, Run, RunKind, is_alive, list_runs


def make_run(kind: RunKind = RunKind.LOCAL, scheduler: str = "", parameters: dict[str, str] | None = None) -> Run:
    return Run.of_this_process("OtherTask", kind, scheduler, parameters)


def test_a_run_is_the_same_after_it_was_written_and_read() -> None:
    run = make_run(RunKind.ELEMENT, "a:1", {"Fetch": "1"})
    assert Run.from_json(json.dumps(asdict(run))) == run
    assert run.is_on_this_machine()


def test_runs_with_one_scheduler_need_the_same_parameters_of_the_stages_of_both() -> None:
    one = make_run(scheduler="a:1", parameters={"Fetch": "1", "Clean": "2"})
    assert one.is_compatible(make_run(scheduler="a:1", parameters={"Fetch": "1", "Split": "3"}))
    other = make_run(scheduler="a:1", parameters={"Fetch": "0", "Clean": "2"})
    assert not one.is_compatible(other)
    assert one.find_differences(other) == ["Fetch"]


def test_a_process_is_gone_when_it_has_ended_even_before_its_parent_knows() -> None:
    code = "from gbif_webdataset.storage.runs import *; import json; from dataclasses import asdict\n"
    code += "print(json.dumps(asdict(Run.of_this_process('T', RunKind.LOCAL))), flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    run = Run.from_json(process.stdout.readline())
    assert run.pid == process.pid
    assert not run.is_gone()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert run.is_gone()
    process.communicate()
    assert run.is_gone()


def test_another_process_with_the_same_number_is_not_the_run() -> None:
    run = make_run()
    assert not run.is_gone()
    assert replace(run, process_start="1").is_gone()
    assert not replace(run, process_start="1", machine="another").is_gone()


@pytest.mark.parametrize(("age", "alive"), [(0.0, True), (STALE_SECONDS, True), (STALE_SECONDS + 1, False)])
def test_a_run_with_an_old_heartbeat_has_ended(age: float, alive: bool) -> None:
    assert is_alive(make_run(), age) == alive


def test_the_age_of_a_heartbeat_is_measured_with_the_clock_of_the_file_system(tmp_path: Path) -> None:
    path = tmp_path / "run-a.lock"
    path.write_text(json.dumps(asdict(make_run())))
    os.utime(path, (1000, 1000))
    ((found, run, age),) = list_runs(tmp_path, 1090.0)
    assert (found, run.task, age) == (path, "OtherTask", 90.0)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_process_with_a_wrong_clock_knows_the_age_of_a_heartbeat(
    hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run-a.lock").write_text(json.dumps(asdict(make_run())))
    wrong = time.time() + 3600 * hours
    monkeypatch.setattr(time, "time", lambda: wrong)
    ((_, run, age),) = list_runs(tmp_path)
    assert abs(age) < STALE_SECONDS
    assert is_alive(run, age)
    assert [path.name for path in tmp_path.iterdir()] == ["run-a.lock"]


def test_without_runs_no_file_is_written(tmp_path: Path) -> None:
    before = tmp_path.stat().st_mtime_ns
    assert list(list_runs(tmp_path)) == list(list_runs(tmp_path / "missing")) == []
    assert tmp_path.stat().st_mtime_ns == before
