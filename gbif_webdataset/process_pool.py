"""Work in several processes, each a new interpreter.

A fork of a process with threads (DuckDB, Arrow) may hang. The other start methods of multiprocessing import the
caller's `__main__` again and leave workers behind if the caller is killed. These workers are plain subprocesses: each
holds one end of a socket and ends when the other end is closed.
"""

import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, cast

from gbif_webdataset.errors import DatasetError

Work = Callable[[Any, Callable[[int], None]], Any]
_STOP_SECONDS = 10.0  # for a worker to delete its temporary files


def run_apart(work: Work, task: Any) -> Any:
    """Return the result of `work(task, progress)` from a process of its own; see `run_in_processes`.

    This is for libraries whose threads make later forks of this process hang.
    """
    return next(_run_in_pool(work, [task], 1, lambda count: None))


def run_in_processes(work: Work, tasks: Iterable[Any], workers: int, progress: Callable[[int], None]) -> Iterator[Any]:
    """Yield the result of `work(task, progress)` for each task, in the order in which they finish.

    `workers` tasks run at a time; with one worker or one task they run in this process. `work`, tasks and results are
    pickled; `work` is a function of a module, or a partial of one. `progress` is called in this process with the counts
    that `work` passes to its own. An error in a worker ends the others and is raised here.

    Raises:
        DatasetError: a worker was killed.
    """
    pending = list(tasks)
    if workers == 1 or len(pending) == 1:
        yield from (work(task, progress) for task in pending)
        return
    yield from _run_in_pool(work, pending, workers, progress)


def _run_in_pool(work: Work, pending: list[Any], workers: int, progress: Callable[[int], None]) -> Iterator[Any]:
    pending.reverse()
    running: dict[Connection[Any, Any], subprocess.Popen[bytes]] = {}
    try:
        for _ in range(min(workers, len(pending))):
            connection, process = _start_worker()
            running[connection] = process
            connection.send(work)
            connection.send(pending.pop())
        while running:
            for connection in cast("list[Connection[Any, Any]]", wait(list(running))):
                kind, value = _receive(connection, running[connection])
                if kind == "error":
                    raise value
                if kind == "progress":
                    progress(value)
                    continue
                if pending:
                    connection.send(pending.pop())
                else:
                    connection.close()
                    running.pop(connection).wait()
                yield value
    finally:
        _stop(running)


def _start_worker() -> tuple["Connection[Any, Any]", "subprocess.Popen[bytes]"]:
    ours, theirs = Pipe()
    serving = "from gbif_webdataset.process_pool import serve; serve(int(sys.argv[1]))"
    code = f"import sys; sys.path[:] = {sys.path!r}; {serving}"
    handle = theirs.fileno()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code, str(handle)], pass_fds=[handle], stdin=subprocess.DEVNULL
    )
    theirs.close()
    return ours, process


def _receive(connection: "Connection[Any, Any]", process: "subprocess.Popen[bytes]") -> tuple[str, Any]:
    try:
        kind, value = connection.recv()
    except (EOFError, ConnectionResetError):
        status = process.wait()
        if status == -signal.SIGKILL:
            raise DatasetError(
                f"worker process {process.pid}: it was killed, probably because memory ran out; run the command again "
                "with a smaller --CreateWebDataset-num-workers"
            ) from None
        raise DatasetError(
            f"worker process {process.pid}: it ended with status {status}; run the command again to continue"
        ) from None
    return kind, value


def _stop(running: dict["Connection[Any, Any]", "subprocess.Popen[bytes]"]) -> None:
    for connection, process in running.items():
        connection.close()
        process.terminate()
    for process in running.values():
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve(handle: int) -> None:
    """Run tasks in a worker until the other end of the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and the caller ends its workers
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    connection: Connection[Any, Any] = Connection(handle)
    try:
        work: Work = connection.recv()
        while True:
            connection.send(_run(work, connection.recv(), connection))
    except (EOFError, ConnectionError):
        sys.exit(0)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # an exit in the middle of Python's clean-up would be printed


def _run(work: Work, task: Any, connection: "Connection[Any, Any]") -> tuple[str, Any]:
    try:
        return "done", work(task, lambda count: connection.send(("progress", count)))
    except Exception as error:
        if not isinstance(error, DatasetError):
            error.add_note("In the worker:\n" + traceback.format_exc())
        return "error", error
