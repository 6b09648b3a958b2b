"""Luigi's worker processes: they get the command line of the run, and end when the run ends.

With `--workers` above 1 Luigi runs each task in a process of its own. A forked process inherits everything from the
run's process. A spawned one, or one from a fork server, only gets the pickled task, which carries all that it needs.
"""

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Pipe, wait
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.interface import core
from luigi.setup_logging import InterfaceLogging
from luigi.task_register import Register

from gbif_webdataset.storage.runs import RunKind
from tasks.framework.command_line import begin_run


class _Run:
    started = 0.0


def run_started() -> float:
    """Return when the run started, in seconds since 1970, in each of its processes; without a command line: now."""
    _Run.started = _Run.started or time.time()
    return _Run.started


class RunTask(luigi.Task):
    """A task that carries the command line and the start time of the run into its worker process."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes of the task and the state of the run."""
        return {"task": vars(self), "command_line": CmdlineParser.get_instance(), "run_started": run_started()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the task, and the run in a process that does not have it yet."""
        vars(self).update(state["task"])
        if CmdlineParser.get_instance() is None and state["command_line"] is not None:
            CmdlineParser._instance = state["command_line"]
            _Run.started = state["run_started"]
            begin_run()
            InterfaceLogging.setup(core())

    @property
    def label(self) -> str:
        """The name of the task within its dataset."""
        return str(self.task_family)

    @property
    def changed_output(self) -> Path | None:
        """The folder of the dataset that a run of this task changes; None if the run only reads.

        A run that changes a dataset has it for itself. One that only reads may run at any time.
        """
        return None

    @property
    def run_kind(self) -> RunKind:
        """How the run works, which decides with which others it may share the dataset."""
        return RunKind.LOCAL

    @property
    def is_root(self) -> bool:
        """Whether the command line names this task, or FetchImages, which only stands for other tasks."""
        root = root_task_class()
        return root is type(self) or issubclass(root, luigi.WrapperTask)


def root_task_class() -> type[luigi.Task]:
    """Return the class of the task that the command line names, or luigi.Task without a command line."""
    command = CmdlineParser.get_instance()
    return Register.get_task_cls(command.known_args.root_task) if command else luigi.Task


def install() -> None:
    """Note the start of the run, and let each worker process end when the run's process ends.

    `kill` and supervisors end a run by the id of its first process. Other workers would continue with their chunks,
    and the next run would find those chunks locked.
    """
    run_started()
    luigi.Task.event_handler(luigi.Event.START)(_end_with_parent)


def _end_with_parent(task: luigi.Task) -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    ended, own_end = Pipe(duplex=False)

    def watch() -> None:
        if ended not in wait([parent.sentinel, ended]):
            os.kill(os.getpid(), signal.SIGKILL)  # unfinished files have temporary names

    thread = threading.Thread(target=watch, name="parent", daemon=True)
    thread.start()

    def stop() -> None:
        own_end.close()
        thread.join()

    Finalize(None, stop, exitpriority=0)  # a thread that outlives the interpreter makes DuckDB report leaks
