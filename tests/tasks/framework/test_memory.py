"""Which allocators a process of the command line uses."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

POOL = "import tasks, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
HEAPS = """
import ctypes, sys, threading
from tasks.framework import command_line

def count_heaps():
    libc = ctypes.CDLL(None)
    libc.fopen.restype, libc.malloc_info.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    libc.fclose.argtypes = [ctypes.c_void_p]
    file = libc.fopen(sys.argv[1].encode(), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    return open(sys.argv[1]).read().count("<heap nr=")

command_line.begin_run()
before, barrier = count_heaps(), threading.Barrier(5)

def allocate():
    memory = bytearray(50_000)
    barrier.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
barrier.wait()
print(count_heaps() - before)
"""


def run(code: str, *arguments: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def test_arrow_takes_memory_from_the_c_library_unless_the_user_chose_another_pool() -> None:
    assert run(POOL) == "system"
    assert run(POOL, ARROW_DEFAULT_MEMORY_POOL="mimalloc") == "mimalloc"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has a heap for each thread")
def test_threads_of_a_command_make_no_heaps_of_their_own(tmp_path: Path) -> None:
    assert run(HEAPS, str(tmp_path / "heaps.xml")) == "0"
