"""The file of an index: it is read when it is needed, locked while a process writes, and only grows."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from gbif_webdataset.errors import BusyError
from gbif_webdataset.storage.pack_index import ADDED, REMOVED, TAIL_BYTES, PackedImage, PackIndex, format_line


class IndexFile:
    """The index at `path`. `list_sizes` returns the size of each pack. Lines are added within `writing`."""

    def __init__(self, path: Path, list_sizes: Callable[[], Mapping[int, int]]) -> None:
        self.path = path
        self._list_sizes = list_sizes
        self._content: PackIndex | None = None
        self._handle = self._size = self._read_bytes = -1

    @property
    def content(self) -> PackIndex:
        """What the index lists."""
        if self._content is None:
            self._read_bytes = self.path.stat().st_size if self.path.exists() else 0
            self._content = PackIndex.load(self.path, self._list_sizes())
        return self._content

    def forget(self) -> None:
        """Free the memory of what the index lists; it is read again when it is needed."""
        self._content = None

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the file, which is created if it is missing, and cut off an incomplete line that a killed run left.

        Raises:
            BusyError: another process has it locked.
        """
        self._handle = self._open_locked()
        try:
            self._size = self._measure_complete_lines()
            if self._size != self._read_bytes:
                self.forget()  # another process has written since
            os.ftruncate(self._handle, self._size)
            yield
        finally:
            self._read_bytes = self._size
            os.close(self._handle)
            self._handle = -1

    def add(self, image: PackedImage) -> None:
        """Add the line of an image."""
        self._append(format_line(image, ADDED))
        if self._content is not None:
            self._content.add(image)

    def remove(self, images: Sequence[PackedImage]) -> None:
        """Add a line for each of the images, which says that it was removed."""
        self._append(b"".join(format_line(image, REMOVED) for image in images))
        if self._content is not None:
            for image in images:
                self._content.remove(image)

    def reserve(self, images: Sequence[PackedImage]) -> None:
        """Take the space of the lines that `remove` will write, so that the disk cannot be full by then."""
        length = sum(len(format_line(image, REMOVED)) for image in images)
        self._append(bytes(length))
        self._size -= length

    def sync(self) -> None:
        """Write the lines to the disk."""
        os.fsync(self._handle)

    def _append(self, lines: bytes) -> None:
        """Write lines. After an error, such as a full disk, the file is as before."""
        try:
            written = 0
            while written < len(lines):
                written += os.pwrite(self._handle, lines[written:], self._size + written)
        except OSError:
            os.ftruncate(self._handle, self._size)
            raise
        self._size += len(lines)

    def _measure_complete_lines(self) -> int:
        size = os.fstat(self._handle).st_size
        tail = os.pread(self._handle, TAIL_BYTES, max(0, size - TAIL_BYTES))
        return size - len(tail) + tail.rfind(b"\n") + 1

    def _open_locked(self) -> int:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise BusyError(
                f"{self.path}: another process is writing images of this chunk; wait until it ends, or stop it"
            ) from error
        return handle
