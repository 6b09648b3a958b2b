import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.datasets import ROOT, Dataset

PRINT_SCHEDULER = """
import socket, sys
from luigi.cmdline_parser import CmdlineParser
from tasks.framework.run_locking import name_scheduler
with CmdlineParser.global_instance(["ReadArchive", "--dwca", "a", *sys.argv[1:]]):
    print(name_scheduler().replace(socket.gethostname(), "HERE"))
"""


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ((), ""),
        (("--local-scheduler", "false"), "HERE:8082"),
        (("--local-scheduler", "false", "--scheduler-host", "127.0.0.1", "--scheduler-port", "9"), "HERE:9"),
        (("--local-scheduler", "false", "--scheduler-host", "node7"), "node7:8082"),
        (("--local-scheduler", "false", "--scheduler-url", "http://node7:8082/"), "node7:8082"),
    ],
)
def test_a_scheduler_has_the_same_name_on_every_machine(options: tuple[str, ...], name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}]; import tasks{PRINT_SCHEDULER}"]
    ended = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"{name}\n"), ended.stderr


def test_an_output_that_cannot_become_a_folder_gives_one_sentence(made: Dataset) -> None:
    dataset = Dataset(made.archive, Path("/dev/full/dataset"))
    ended = dataset.run()
    assert ended.returncode == 30
    assert ended.stderr == "ERROR: --output /dev/full/dataset: cannot become a folder; choose another path\n"
