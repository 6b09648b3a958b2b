"""A small file system that fills up."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gbif_webdataset.storage.free_space import free_bytes


@contextlib.contextmanager
def mount_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes at a new folder. Skips the test if none can be mounted."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill_disk(disk: Path) -> Path:
    """A file that takes all space that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while free_bytes(disk):
            file.write(bytes(free_bytes(disk)))
    return ballast
