"""Work in subprocesses."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.process_pool import run_apart, run_in_processes


def test_one_task_may_run_in_a_process_of_its_own() -> None:
    assert run_apart(_find_process, 1) != os.getpid()


def _find_process(task: int, progress: Callable[[int], None]) -> int:
    return os.getpid()


def test_a_worker_that_runs_out_of_memory_gives_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greedy.py").write_text(
        "import os, signal\n\n\ndef work(task, progress):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("greedy").work
    with pytest.raises(DatasetError, match="memory ran out; run the command again with a smaller --Cre"):
        list(run_in_processes(work, [1, 2, 3], 2, lambda count: None))
