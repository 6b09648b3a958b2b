"""Free space on a disk, and a guard that stops downloads before the disk is full."""

import shutil
import time
from pathlib import Path

from gbif_webdataset.errors import FetchError
from gbif_webdataset.formatting import format_size

CHECK_INTERVAL_SECONDS = 1.0


def free_bytes(folder: Path) -> int:
    """The free bytes of the disk that holds `folder`, or will hold it once it is created."""
    return shutil.disk_usage(find_existing_folder(folder)).free


def find_existing_folder(folder: Path) -> Path:
    """`folder`, or the folder that exists in which it will be created."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


class FreeSpaceGuard:
    """Keeps at least `min_free_bytes` free on the disk of `folder`. Threads may share a guard."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._folder, self._min_free_bytes = folder, min_free_bytes
        self._checked_at = float("-inf")

    def check(self) -> None:
        """Return if the disk has enough free space; it is queried at most once per CHECK_INTERVAL_SECONDS.

        Raises:
            FetchError: the disk has less than `min_free_bytes` free.
        """
        now = time.monotonic()
        if now - self._checked_at < CHECK_INTERVAL_SECONDS:
            return
        free = free_bytes(self._folder)
        if free < self._min_free_bytes:
            raise FetchError(
                f"--FetchChunk-min-free-bytes {self._min_free_bytes}: only {format_size(free)} are free in "
                f"{self._folder}; free some space or lower the value, and run the same command again: it continues "
                "where it stopped"
            )
        self._checked_at = now
