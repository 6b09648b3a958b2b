"""Files of this machine: one that is published, with the SHA-256 that its bytes must have, and one that is written.

What the system refuses is a sentence about the file, so that it is not taken for a fault of the target.
"""

import contextlib
import errno
import hashlib
import io
import mimetypes
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gbif_webdataset.errors import DamagedFileError, DatasetError, explain

MEDIA_TYPES = {
    ".tar": "application/x-tar",
    ".parquet": "application/vnd.apache.parquet",
    ".md": "text/markdown; charset=utf-8",
    ".cff": "application/yaml",
    ".yaml": "application/yaml",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


class LocalFileError(DatasetError):
    """A file of this machine that cannot be read or written."""


@contextlib.contextmanager
def explain_local_faults(path: Path) -> Iterator[None]:
    """Raise what the system refuses as LocalFileError with the path."""
    try:
        yield
    except OSError as error:
        code = error.errno or errno.EIO
        raise LocalFileError(explain(OSError(code, os.strerror(code), str(path)))) from None


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """Write a file. Errors that `blocks` raises are raised as they are.

    Raises:
        LocalFileError: the system refuses to write it.
    """
    with explain_local_faults(path):
        path.write_bytes(b"")
    for block in blocks:
        with explain_local_faults(path), path.open("ab") as file:
            file.write(block)


@dataclass(frozen=True)
class RecordedFile:
    """A file, its size in bytes, and its SHA-256. `path` is its path, or its name at the address where it is.

    `pace`, for files that are sent at a limited speed, is called with the number of bytes before they are handed out,
    and may wait or raise an error.
    """

    path: Path
    size: int
    sha256: str
    pace: Callable[[int], None] | None = field(default=None, compare=False, kw_only=True)

    @property
    def media_type(self) -> str:
        """The type that the target sends with it."""
        guessed = mimetypes.guess_type(self.path.name)[0]
        return MEDIA_TYPES.get(self.path.suffix) or guessed or "application/octet-stream"

    @property
    def place(self) -> str:
        """Where the file is, for errors."""
        return str(self.path)

    def read(self) -> bytes:
        """The bytes; raises as `iterate` does."""
        return b"".join(self.iterate(max(1, self.size)))

    def iterate(self, block_bytes: int) -> Iterator[bytes]:
        """The bytes in blocks of `block_bytes`. The last one comes after all bytes have been compared with the record.

        Raises:
            DamagedFileError: they are not those of the record.
            LocalFileError: the system does not let read them.
        """
        digest, count, held = hashlib.sha256(), 0, b""
        try:
            for block in self.read_blocks(block_bytes):
                digest.update(block)
                count += len(block)
                if count > self.size:
                    break
                if held:
                    yield self._wait(held)
                held = block
        except (FileNotFoundError, IsADirectoryError):
            count = -1
        if count != self.size or digest.hexdigest() != self.sha256:
            raise self.make_error()
        if held:
            yield self._wait(held)

    def read_blocks(self, block_bytes: int) -> Iterator[bytes]:
        """The bytes that are there now, in blocks of `block_bytes`; more than `size` bytes need not be read.

        Raises:
            FileNotFoundError, IsADirectoryError: there is no such file.
        """
        raise NotImplementedError

    def _wait(self, block: bytes) -> bytes:
        if self.pace:
            self.pace(len(block))
        return block

    def make_error(self) -> DamagedFileError:
        """The error of a file that differs from its record."""
        return DamagedFileError(
            f"{self.place}: changed since it was recorded, so it is not published; run `make audit "
            "ARGS=--AuditDataset-repair` and then the same command again"
        )


@dataclass(frozen=True)
class LocalFile(RecordedFile):
    """A file on this machine, or its `content` if it is made for the target."""

    content: bytes | None = None

    @classmethod
    def of_content(cls, path: Path, content: bytes) -> "LocalFile":
        """The file with another content than that at `path`."""
        return cls(path, len(content), hashlib.sha256(content).hexdigest(), content)

    def iterate(self, block_bytes: int) -> Iterator[bytes]:
        """The bytes in blocks, as RecordedFile has them."""
        with explain_local_faults(self.path):
            yield from super().iterate(block_bytes)

    def read_blocks(self, block_bytes: int) -> Iterator[bytes]:
        """The bytes that are there now, and at most one byte more than `size`."""
        count = 0
        with io.BytesIO(self.content) if self.content is not None else self.path.open("rb") as file:
            while block := file.read(min(block_bytes, self.size + 1 - count)):
                count += len(block)
                yield block
