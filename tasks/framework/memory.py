"""The allocators of a process, chosen so that freed memory is used again.

By default each thread has a heap of its own, and Arrow another: memory that one of them frees is of no use to the
others. With one heap for all, reading 200,000 occurrences takes 345 MiB instead of 470, in less processor time, because
the system has to clear fewer pages.
"""

import ctypes
import os

M_ARENA_MAX = -8  # of glibc's malloc.h


def choose_arrow_pool() -> None:
    """Have Arrow take memory from the C library. It reads this variable when it is imported."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def share_heap() -> None:
    """Have threads that start from now on take memory from the heaps that exist. Only glibc has one for each thread."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_ARENA_MAX, 1)
