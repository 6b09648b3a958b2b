"""Luigi's workers beyond the first, which are forked: none of them outlives the run that it works for.

Whoever ends a run by its process id, as `kill` and supervisors do, reaches the parent alone. Its children would go on
with their chunks, and the run that is started next would find these busy.
"""

import multiprocessing
import os
import signal
import threading

import luigi


def install() -> None:
    """Have each forked worker end as soon as its parent is gone, whatever that died of."""
    luigi.Task.event_handler(luigi.Event.START)(_watch_parent)  # type: ignore[no-untyped-call]


def _watch_parent(task: luigi.Task) -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)  # what is half done has a temporary name

    threading.Thread(target=wait, name="parent", daemon=True).start()
