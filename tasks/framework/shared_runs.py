"""Runs with the same central scheduler share the work on a dataset, and each ends when all of it is done."""

import functools
import time
from collections.abc import Callable
from typing import Any

from luigi import execution_summary, interface
from luigi.execution_summary import LuigiRunResult, LuigiStatusCode

from tasks.framework.run_locking import name_scheduler

MIN_PAUSE, MAX_PAUSE = 1.0, 30.0
"""Seconds between two attempts to find work."""


def install() -> None:
    """Let a run continue when it has nothing to do but wait for tasks of other runs. Luigi itself ends it as failed."""
    luigis_own: Callable[..., Any] = interface._schedule_and_run
    if getattr(luigis_own, "waits_for_others", False):
        return

    @functools.wraps(luigis_own)
    def schedule_and_run(*arguments: Any, **options: Any) -> Any:
        if not name_scheduler():
            return luigis_own(*arguments, **options)
        pause = MIN_PAUSE
        while _waits_for_others(result := luigis_own(*arguments, **options)):
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)
        return result

    schedule_and_run.waits_for_others = True  # type: ignore[attr-defined]
    interface._schedule_and_run = schedule_and_run


def _waits_for_others(result: LuigiRunResult) -> bool:
    """Whether no task failed, and other runs work on what is missing."""
    if result.status not in (LuigiStatusCode.SUCCESS, LuigiStatusCode.NOT_RUN):
        return False
    by_others = execution_summary._summary_dict(result.worker)["run_by_other_worker"]  # type: ignore[no-untyped-call]
    return bool(by_others) or result.status == LuigiStatusCode.NOT_RUN
