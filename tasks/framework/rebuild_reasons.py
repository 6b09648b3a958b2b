"""Why stages are built again: one line per stage, printed before work starts."""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from luigi import interface
from luigi.retcodes import retcode

from gbif_webdataset.errors import DamagedFileError, DatasetError, explain
from gbif_webdataset.remote.input_copies import update_copy
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.storage.recorded_files import check_recorded_files, load_deletions
from tasks.framework import validation
from tasks.framework.dataset_task import ELEMENT, DatasetTask
from tasks.framework.messages import print_note

NOTHING = "Nothing to do: everything is up to date."
_CHUNK_FILE = re.compile(r"chunk-\d{5}")


def find_reasons(root: DatasetTask) -> list[tuple[DatasetTask, str]]:
    """Return the tasks that have to run for `root`, upstream ones first, each with the reason.

    Raises DatasetError or OSError if an input cannot be read.
    """
    reasons = []
    rebuilt: set[str] = set()
    for task in _upstream_first(root, set()):
        sources = [source for source in task.upstream if source.label in rebuilt]
        reason = task.output().find_reason(with_inputs=not sources) if task.IS_STAGE else None
        if reason is not None or sources:
            rebuilt.add(task.label)
        families = dict.fromkeys(source.task_family for source in sources if source.IS_STAGE)
        reason = reason or (f"{' and '.join(families)} will run again" if families else task.find_retry_reason())
        if reason is not None and task.IS_STAGE:
            reasons.append((task, reason))
    return reasons


def describe_reasons(reasons: list[tuple[DatasetTask, str]]) -> list[str]:
    """Return a line for each stage, with the chunks of a stage together."""
    stages: dict[str, list[tuple[DatasetTask, str]]] = {}
    for task, reason in reasons:
        stages.setdefault(task.task_family, []).append((task, reason))
    return [f"{family}: {_describe_stage(found)}" for family, found in stages.items()]


def print_reasons(root: DatasetTask) -> list[DatasetTask]:
    """Print why each stage has to run for `root`, unless no stage was made yet. Return the tasks that have to run."""
    reasons = find_reasons(root)
    if root.plan and not reasons:
        print_note(NOTHING)
    elif root.plan or any(task.record() for task in _upstream_first(root, set())):
        for line in describe_reasons(reasons):
            print_note(line)
    return [task for task, _ in reasons]


def update_remote_inputs(root: DatasetTask) -> None:
    """Copy inputs at addresses again that have changed there. If the target of `root` is up to date, none is asked for.

    With `--plan` the copies are left as they are. Raises DatasetError or OSError if an input cannot be read.
    """
    stages = [task for task in _upstream_first(root, set()) if task.remote_inputs]
    if not stages or root.plan or root.complete():
        return
    for task in stages:
        for source in task.remote_inputs.values():
            if names := update_copy(source, task.paths.inputs):
                print_note(f"{source.address.option}: {', '.join(names)} changed and was copied again")


def check_stages(root: DatasetTask, to_run: list[DatasetTask]) -> None:
    """Check the stages that will run. If ReadArchive runs, it checks them itself, except with `--plan`.

    Raises DatasetError if a stage cannot run.
    """
    last = root.last_stage
    to_run = to_run if last is root else [task for task, _ in find_reasons(last)]
    stages = {task.task_family: task for task in to_run}
    read = next((task for task in validation.list_stages(last) if task.task_family == "ReadArchive"), None)
    if read is not None and "ReadArchive" not in stages:
        validation.check_before_run(list(stages.values()), read, with_manifest=not root.plan)
    elif read is not None and root.plan:
        read.check_archive(print_note)


def check_access(to_run: list[DatasetTask], with_writing: bool) -> None:
    """Check that stages that will run have the images that they read and can write to their addresses.

    Of the chunks of a stage one is checked. With `with_writing` small objects are written to the addresses and deleted.

    Raises MissingPieceError if the images were removed after the report, and the user has not requested them again.
    Raises StoreError if an address cannot be used.
    """
    for task in {task.task_family: task for task in to_run}.values():
        task.check_images()
        task.check_store(with_writing)


def install() -> None:
    """Print the reasons and check the stages before Luigi schedules the task of the command line.

    With `--plan` the command ends there.
    """
    luigis_own: Callable[..., Any] = interface._schedule_and_run
    if getattr(luigis_own, "prints_reasons", False):
        return

    def schedule_and_run(tasks: Any, *arguments: Any, **options: Any) -> Any:
        for task in tasks:
            _print_before_run(task)
        return luigis_own(tasks, *arguments, **options)

    schedule_and_run.prints_reasons = True  # type: ignore[attr-defined]
    interface._schedule_and_run = schedule_and_run


def _print_before_run(task: Any) -> None:
    if not isinstance(task, DatasetTask) or task.runner == ELEMENT:  # the command that submitted the job printed them
        return
    try:
        update_remote_inputs(task)
    except (DatasetError, OSError) as error:
        _fail(error)
    try:
        to_run = print_reasons(task)
    except (DatasetError, OSError) as error:
        if isinstance(error, DamagedFileError | IsADirectoryError | StoreError):
            _fail(error)
        if task.plan:
            raise
        return  # the task that reads the input reports the error
    try:
        _check_deleted_images(task, to_run)
        check_access(to_run, with_writing=not task.plan)
        check_stages(task, to_run)
    except (DatasetError, IsADirectoryError) as error:
        _fail(error)
    if task.plan:
        sys.exit(0)


def _check_deleted_images(root: DatasetTask, to_run: list[DatasetTask]) -> None:
    """Compare deleted.csv with its record here, if chunks are fetched: otherwise each of them would report it."""
    if any(task.task_family == "FetchChunk" for task in to_run):
        check_recorded_files(root.paths.output, load_deletions(root.paths))


def _fail(error: Exception) -> NoReturn:
    print_note(f"ERROR: {explain(error)}")
    sys.exit(retcode().task_failed)  # type: ignore[no-untyped-call]


def _upstream_first(task: DatasetTask, seen: set[int]) -> Iterator[DatasetTask]:
    if id(task) not in seen:
        seen.add(id(task))
        for source in task.upstream:
            yield from _upstream_first(source, seen)
        yield task


def _describe_stage(found: list[tuple[DatasetTask, str]]) -> str:
    task = found[0][0]
    if not hasattr(task, "chunk"):
        return found[0][1]
    counts = Counter(_CHUNK_FILE.sub("chunk-*", reason) for _, reason in found)
    if len(found) == 1:
        return f"chunk {task.chunk}, {found[0][1]}"
    return "; ".join(f"{_count(number, task.chunks)}, {reason}" for reason, number in counts.items())


def _count(chunks: int, of: int) -> str:
    return f"{chunks:,} chunks" if chunks == of else f"{chunks:,} of {of:,} chunks"
