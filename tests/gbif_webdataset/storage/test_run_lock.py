import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gbif_webdataset.errors import BusyError, ParameterError, explain
from gbif_webdataset.storage import runs
from gbif_webdataset.storage.run_lock import RunLock, check_output_is_free
from gbif_webdataset.storage.runs import STALE_SECONDS, Run, RunKind

ROOT = Path(__file__).parents[3]
HOLD = """
import sys, time
from pathlib import Path
from gbif_webdataset.storage import run_lock
from gbif_webdataset.storage.runs import Run, RunKind

run_lock.HEARTBEAT_SECONDS = 0.05
with run_lock.RunLock(Path(sys.argv[1]), Run.of_this_process("HeldTask", RunKind(sys.argv[2]), sys.argv[3])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(output: Path, kind: str = "local", scheduler: str = "") -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock until its standard input is closed."""
    command = [sys.executable, "-c", HOLD, str(output), kind, scheduler]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def run(kind: RunKind = RunKind.LOCAL, scheduler: str = "") -> Run:
    return Run.of_this_process("OtherTask", kind, scheduler)


def files(output: Path) -> list[Path]:
    return sorted((output / ".made").iterdir())


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()


def test_a_second_run_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    with held(tmp_path) as first:
        before = files(tmp_path)
        started = time.monotonic()
        with pytest.raises(BusyError) as refused, RunLock(tmp_path, run()):
            pass
        assert time.monotonic() - started < 2
        assert f"HeldTask on host {os.uname().nodename}, process {first.pid}, started 20" in str(refused.value)
        assert str(refused.value).endswith("); wait until it ends, or stop it")
        assert files(tmp_path) == before
    with RunLock(tmp_path, run()):
        assert len(files(tmp_path)) == 1
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("element", ""), ("element", "")),
        (("element", ""), ("slurm", "")),
        (("slurm", ""), ("element", "")),
        (("local", "a:1"), ("local", "a:1")),
        (("slurm", "a:1"), ("local", "a:1")),
    ],
)
def test_runs_that_work_together_share_a_dataset(
    first: tuple[str, str], second: tuple[str, str], tmp_path: Path
) -> None:
    with held(tmp_path, *first), RunLock(tmp_path, run(RunKind(second[0]), second[1])):
        assert len(files(tmp_path)) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("element", ""), ("local", "")),
        (("local", ""), ("element", "")),
        (("local", ""), ("slurm", "")),
        (("slurm", ""), ("slurm", "")),
        (("local", "a:1"), ("local", "")),
        (("local", ""), ("local", "a:1")),
        (("local", "a:1"), ("local", "a:2")),
        (("local", "a:1"), ("element", "")),
        (("local", "a:1"), ("alone", "a:1")),
        (("alone", "a:1"), ("local", "a:1")),
        (("alone", "a:1"), ("alone", "a:1")),
        (("element", ""), ("alone", "")),
    ],
)
def test_other_runs_do_not(first: tuple[str, str], second: tuple[str, str], tmp_path: Path) -> None:
    with held(tmp_path, *first), pytest.raises(BusyError), RunLock(tmp_path, run(RunKind(second[0]), second[1])):
        pass


@pytest.mark.parametrize("kinds", [("local", "alone"), ("alone", "local")])
def test_a_run_that_is_alone_is_not_advised_to_share_a_scheduler(kinds: tuple[str, str], tmp_path: Path) -> None:
    for own, other in (("a:1", "a:1"), ("", "a:1")):
        with (
            held(tmp_path / own, kinds[0], other),
            pytest.raises(BusyError, match=r"; wait until it ends, or stop it$"),
            RunLock(tmp_path / own, run(RunKind(kinds[1]), own)),
        ):
            pass


def test_a_killed_run_is_replaced_at_once(tmp_path: Path) -> None:
    with held(tmp_path) as first:
        kill(first)
        assert len(files(tmp_path)) == 1
        with RunLock(tmp_path, run()):
            pass
    assert files(tmp_path) == []


def test_a_process_with_the_number_of_a_killed_one_is_another_process(tmp_path: Path) -> None:
    with held(tmp_path) as first:
        kill(first)
        (path,) = files(tmp_path)
        path.write_text(json.dumps({**json.loads(path.read_text()), "pid": os.getpid()}))
        with RunLock(tmp_path, run()):
            pass


def test_a_run_of_another_machine_counts_until_its_heartbeat_is_five_minutes_old(tmp_path: Path) -> None:
    with held(tmp_path) as first:
        kill(first)
        (path,) = files(tmp_path)
        path.write_text(json.dumps({**json.loads(path.read_text()), "host": "node7", "machine": "another"}))
        with pytest.raises(BusyError) as refused, RunLock(tmp_path, run()):
            pass
        expected = (
            r"on host node7, process \d+, .*\); wait until it ends, or stop it there; if it was killed, this command "
        )
        assert refused.match(expected + r"works from \d\d:\d\d:\d\d$")
        old = time.time() - STALE_SECONDS + 30
        os.utime(path, (old, old))
        with pytest.raises(BusyError), RunLock(tmp_path, run()):
            pass
        os.utime(path, (old - 31, old - 31))
        with RunLock(tmp_path, run()):
            pass


@pytest.mark.parametrize("content", ["", "\0" * 300, "[]", '{"task": 1}', "{" * 5000, '{"pid": "x"}'])
def test_a_damaged_file_counts_until_it_is_five_minutes_old(content: str, tmp_path: Path) -> None:
    path = tmp_path / ".made" / "run-x.lock"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(BusyError, match="unknown task on host unknown"), RunLock(tmp_path, run()):
        pass
    old = time.time() - STALE_SECONDS - 1
    os.utime(path, (old, old))
    with RunLock(tmp_path, run()):
        pass
    assert files(tmp_path) == []


def test_the_heartbeat_renews_the_file(tmp_path: Path) -> None:
    with held(tmp_path):
        (path,) = files(tmp_path)
        os.utime(path, (1, 1))
        end = time.monotonic() + 10
        while path.stat().st_mtime == 1:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_run_whose_file_was_deleted_writes_it_again(tmp_path: Path) -> None:
    with held(tmp_path):
        (path,) = files(tmp_path)
        path.unlink()
        end = time.monotonic() + 10
        while not path.exists():
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_suspended_run_that_was_replaced_ends_when_it_wakes_up(tmp_path: Path) -> None:
    with held(tmp_path) as first:
        first.send_signal(signal.SIGSTOP)
        os.waitpid(first.pid, os.WUNTRACED)
        (path,) = files(tmp_path)
        old = time.time() - STALE_SECONDS - 1
        os.utime(path, (old, old))
        with RunLock(tmp_path, run()):
            first.send_signal(signal.SIGCONT)
            assert first.wait(10) == -signal.SIGTERM
            assert first.stderr is not None
            printed = first.stderr.read()
        assert "this run was suspended, and another run has continued its work (OtherTask on host" in printed
        assert printed.count("\n") == 1


def test_new_folders_are_removed_if_the_run_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "data" / "moths"
    with RunLock(output, run()):
        assert output.is_dir()
    assert not output.parent.exists()
    with RunLock(output, run()):
        (output / "manifest").mkdir()
    assert (output / "manifest").is_dir()


@pytest.mark.parametrize("name", ["file", "file/below", "loop"])
def test_an_output_that_cannot_be_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "nowhere" / "x")
    with (
        pytest.raises(ParameterError, match="cannot become a folder; choose another path"),
        RunLock(tmp_path / name, run()),
    ):
        pass


def test_a_full_disk_gives_a_sentence(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can mount a file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with suppress(OSError):
            (disk / "filler").write_bytes(bytes(1 << 20))
        with pytest.raises(OSError) as full, RunLock(disk, run()):
            pass
        assert "No space left on device; free some space" in str(explain(full.value))
        (disk / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(OSError) as read_only, RunLock(disk, run()):
            pass
        assert "Read-only file system; choose an --output that you may write to" in str(explain(read_only.value))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_free_output_is_left_as_it_is_by_the_check(tmp_path: Path) -> None:
    check_output_is_free(tmp_path / "new", run())
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path):
        with pytest.raises(BusyError):
            check_output_is_free(tmp_path, run(RunKind.ELEMENT))
        assert len(files(tmp_path)) == 1


def test_elements_on_other_machines_do_not_wait_for_a_killed_run_after_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(tmp_path) as first:
        kill(first)
        check_output_is_free(tmp_path, run(RunKind.ELEMENT))
        assert [path.name[:11] for path in files(tmp_path)] == ["killed-run-"]
        monkeypatch.setattr(runs, "_identify_machine", lambda: "another machine, which does not see the process")
        with RunLock(tmp_path, run(RunKind.ELEMENT)):
            pass
    assert files(tmp_path) == []
