"""Large images are decoded one at a time on a machine, so that the memory does not grow with the number of workers."""

import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGE_PIXELS = 16_000_000
"""Images of more pixels are large. Decoded, 16 million pixels take 64 MB, and up to five times as much in between."""


_turns: dict[int, int] = {}  # the locked file of the thread of this process whose turn it is
_turns_lock = threading.Lock()


@contextmanager
def decode_alone(is_large: bool) -> Iterator[None]:
    """Wait until no other process or thread of this user on this machine decodes a large image, if `is_large`."""
    if not is_large:
        yield
        return
    path = Path(tempfile.gettempdir()) / f"gbif-webdataset-{os.getuid()}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _turns[threading.get_ident()] = handle
        yield
    finally:
        with _turns_lock:
            _turns.pop(threading.get_ident(), None)
            os.close(handle)


def end_turn(thread: int) -> None:
    """Let other large images be decoded, although the decoder in this thread hangs and never ends its turn."""
    with _turns_lock:
        if (handle := _turns.get(thread)) is not None:
            fcntl.flock(handle, fcntl.LOCK_UN)
