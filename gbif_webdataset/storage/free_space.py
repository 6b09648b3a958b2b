"""The disk, and stopping while there is still room on it for what else is at work there."""

import shutil
import time
from pathlib import Path

from gbif_webdataset.errors import FetchError
from gbif_webdataset.formatting import format_size

EVERY = 1.0  # seconds from one look at a disk to the next


def free_bytes(folder: Path) -> int:
    """The bytes that may still be written where `folder` is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


class Room:
    """Room for further images in `folder`: no less than `least` bytes stay free there."""

    def __init__(self, folder: Path, least: int) -> None:
        self._folder, self._least = folder, least
        self._looked = float("-inf")

    def check(self) -> None:
        """Raise FetchError where there is none, for many threads; the disk is looked at about once a second."""
        now = time.monotonic()
        if now - self._looked < EVERY:
            return
        free = free_bytes(self._folder)
        if free < self._least:
            raise FetchError(
                f"{self._folder}: {format_size(free)} are free there, less than min_free_bytes {self._least:,}, "
                "so nothing more is fetched; free some space or lower min_free_bytes, and run the same command again: "
                "it goes on where it stopped"
            )
        self._looked = now
