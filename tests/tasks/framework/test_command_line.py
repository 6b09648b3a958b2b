"""What importing the tasks changes, and what a command line changes."""

import subprocess
import sys
from pathlib import Path

LIBRARY = """
import logging, sys, warnings
import luigi, luigi.configuration, luigi.interface
import numpy, pyarrow, requests  # add filters of their own
def state():
    logger = logging.getLogger("luigi-interface")
    config = luigi.configuration.get_config()
    return (
        sys.excepthook, list(warnings.filters), logger.filters[:], logger.handlers[:], logger.level,
        len(luigi.Task._event_callbacks.get(luigi.Task, {})),
        {section: dict(config[section]) for section in config.sections()},
        luigi.interface._WorkerSchedulerFactory.create_remote_scheduler,
        vars(luigi.interface.core)["local_scheduler"].parsing,
    )
before = state()
from tasks import ReadArchive
ReadArchive(dwca="moths.zip").complete()
after = state()
for one, other in zip(before, after, strict=True):
    assert one == other, (one, other)
"""


def run(*command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_script_that_imports_a_task_keeps_its_hooks_filters_and_settings(tmp_path: Path) -> None:
    ended = run("-c", LIBRARY, folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


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
