"""What importing the tasks changes in a process."""

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


def test_a_script_that_imports_a_task_keeps_its_hooks_filters_and_settings(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-P", "-c", LIBRARY], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
