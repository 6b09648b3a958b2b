"""Items made by a thread while earlier items are in use."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterator[Item], count: int = 2) -> Generator[Item, None, None]:
    """The same items. A thread makes up to `count` of them in advance; an error of theirs is raised here.

    Close the generator to end the thread early.
    """
    ready: queue.Queue[Item | BaseException | None] = queue.Queue(count)
    is_closed = threading.Event()

    def make_items() -> None:
        try:
            for item in items:
                ready.put(item)
                if is_closed.is_set():
                    return
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=make_items, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        is_closed.set()
        while thread.is_alive():  # it may wait for space in the queue
            try:
                ready.get(timeout=0.05)
            except queue.Empty:
                continue
