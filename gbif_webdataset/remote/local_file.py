"""A file of the dataset that is published, and the SHA-256 that its bytes must have."""

import hashlib
import io
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.errors import DamagedFileError

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


@dataclass(frozen=True)
class LocalFile:
    """A file: its `path`, or its `content` if it is made for the target; its size in bytes and its SHA-256."""

    path: Path
    size: int
    sha256: str
    content: bytes | None = None

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
        """
        return self.content if self.content is not None else b"".join(self.iterate(max(1, self.size)))

    def iterate(self, block_bytes: int) -> Iterator[bytes]:
        """The bytes in blocks. The last block comes after all bytes have been compared with the record.

        Raises:
            DamagedFileError: they are not those of the record.
        """
        digest, count, held = hashlib.sha256(), 0, b""
        try:
            with io.BytesIO(self.content) if self.content is not None else self.path.open("rb") as file:
                while block := file.read(min(block_bytes, self.size + 1 - count)):
                    digest.update(block)
                    count += len(block)
                    if count > self.size:
                        break
                    if held:
                        yield held
                    held = block
        except (FileNotFoundError, IsADirectoryError):
            count = -1
        if count != self.size or digest.hexdigest() != self.sha256:
            raise self.make_error()
        if held:
            yield held

    def make_error(self) -> DamagedFileError:
        """The error of a file that differs from its record."""
        return DamagedFileError(
            f"{self.path}: changed since it was recorded, so it is not published; run `make audit "
            "ARGS=--AuditDataset-repair` and then the same command again"
        )
