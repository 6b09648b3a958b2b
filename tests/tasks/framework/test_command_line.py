"""Luigi's command line with the tasks: what it lists, and its equivalence to ours."""

import subprocess
import sys
from pathlib import Path


def run(*command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_without_a_task_lists_the_tasks(tmp_path: Path) -> None:
    ended = run("-m", "tasks", folder=tmp_path)
    assert ended.returncode == 0
    assert "ReadArchive, FetchChunk, FetchImages" in " ".join(ended.stdout.split())


def test_luigi_and_the_command_say_the_same(tmp_path: Path) -> None:
    task = ("ReadArchive", "--dwca", "nowhere.zip")
    ours, luigis = (
        run("-m", *command, *task, folder=tmp_path) for command in (["tasks"], ["luigi", "--module", "tasks"])
    )
    assert (ours.returncode, ours.stderr) == (luigis.returncode, luigis.stderr)
    assert ours.returncode == 30
