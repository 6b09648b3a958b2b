"""One run at a time changes a dataset: a second one ends with a sentence before it reads or writes anything there."""

import contextlib
import functools
import re
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from luigi import interface
from luigi.interface import core
from luigi.retcodes import retcode

from gbif_webdataset.errors import BusyError, DatasetError, explain
from gbif_webdataset.storage.checked_json import digest_of
from gbif_webdataset.storage.run_lock import RunLock
from gbif_webdataset.storage.runs import Run
from tasks.framework import validation
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.messages import print_note
from tasks.framework.progress import delete_board
from tasks.framework.worker_processes import RunTask

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def install() -> None:
    """Lock the datasets that the task of the command line changes, before anything else of the run."""
    luigis_own: Callable[..., Any] = interface._schedule_and_run
    if getattr(luigis_own, "locks_output", False):
        return

    @functools.wraps(luigis_own)
    def schedule_and_run(tasks: Iterable[Any], *arguments: Any, **options: Any) -> Any:
        scheduler = name_scheduler()
        with contextlib.ExitStack() as locks:
            for task in tasks:
                if isinstance(task, RunTask) and task.changed_output is not None:
                    parameters = describe_parameters(task) if scheduler else {}
                    run = Run.of_this_process(task.label, task.run_kind, scheduler, parameters)
                    _enter(locks, RunLock(task.changed_output, run))
                if isinstance(task, DatasetTask):
                    locks.callback(delete_board, task.paths.scratch)
            return luigis_own(tasks, *arguments, **options)

    schedule_and_run.locks_output = True  # type: ignore[attr-defined]
    interface._schedule_and_run = schedule_and_run


def name_scheduler() -> str:
    """Return host and port of the central scheduler, the same text on every machine; empty without one."""
    settings: Any = core()  # type: ignore[no-untyped-call]
    if settings.local_scheduler:
        return ""
    address = settings.scheduler_url or f"{settings.scheduler_host}:{settings.scheduler_port}"
    host, colon, port = re.sub("^https?://|/+$", "", address).rpartition(":")
    return f"{socket.gethostname() if host in LOOPBACK else host}{colon}{port}"


def describe_parameters(task: RunTask) -> dict[str, str]:
    """Return a digest of the parameters of each stage that a task runs; the chunks of a stage have the same."""
    if not isinstance(task, DatasetTask):
        return {}
    shared = {"dwca": str(Path(task.dwca).resolve()), "chunks": task.chunks, "chunk": None}
    stages = validation.list_stages(task)
    return {stage.task_family: digest_of(stage.fingerprint(with_inputs=False).parameters | shared) for stage in stages}


def _enter(locks: contextlib.ExitStack, lock: RunLock) -> None:
    """Enter a lock, or end the command with one sentence."""
    statuses: Any = retcode()  # type: ignore[no-untyped-call]
    try:
        locks.enter_context(lock)
    except (DatasetError, OSError) as error:
        print_note(f"ERROR: {explain(error)}")
        sys.exit(statuses.already_running if isinstance(error, BusyError) else statuses.task_failed)
