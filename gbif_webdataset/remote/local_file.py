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
class LocalFile:
    """A file: its `path`, or its `content` if it is made for the target; its size in bytes and its SHA-256.

    `pace`, for files that are sent at a limited speed, is called with the number of bytes before they are handed out,
    and may wait or raise an error.
    """

    path: Path
    size: int
    sha256: str
    content: bytes | None = None
    pace: Callable[[int], None] | None = field(default=None, compare=False)

    @classmethod
    def of_content(cls, path: Path, content: bytes) -> "LocalFile":
        """The file with another content than that at `path`."""
        return cls(path, len(content), hashlib.sha256(content).hexdigest(), content)

    @property
    def media_type(self) -> str:
        """The type that the target sends with it."""
        guessed = mimetypes.guess_type(self.path.name)[0]
        return MEDIA_TYPES.get(self.path.suffix) or guessed or "application/octet-stream"

    def read(self) -> bytes:
        """The bytes.

        Raises:
            DamagedFileError: they are not those of the record.
            LocalFileError: the system does not let read them.
        """
        return b"".join(self.iterate(max(1, self.size)))

    def iterate(self, block_bytes: int) -> Iterator[bytes]:
        """The bytes in blocks. The last block comes after all bytes have been compared with the record.

        Raises:
            DamagedFileError: they are not those of the record.
            LocalFileError: the system does not let read them.
        """
        digest, count, held = hashlib.sha256(), 0, b""
        with explain_local_faults(self.path):
            try:
                with io.BytesIO(self.content) if self.content is not None else self.path.open("rb") as file:
                    while block := file.read(min(block_bytes, self.size + 1 - count)):
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

    def _wait(self, block: bytes) -> bytes:
        if self.pace:
            self.pace(len(block))
        return block

    def make_error(self) -> DamagedFileError:
        """The error of a file that differs from its record."""
        return DamagedFileError(
            f"{self.path}: changed since it was recorded, so it is not published; run `make audit "
            "ARGS=--AuditDataset-repair` and then the same command again"
        )
