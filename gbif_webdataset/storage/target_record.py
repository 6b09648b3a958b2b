"""The record of a target: what it was made from, and which files it is. A target without its record is not there.

The record is taken away before its files are touched and written after the last of them, so that files whose
making was cut short never count.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from gbif_webdataset.storage.atomic import atomic_file, file_sha256


@dataclass(frozen=True)
class FileRecord:
    """A file of a target: its bytes and their SHA-256."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the file and describe it."""
        return cls(path.stat().st_size, file_sha256(path))


@dataclass(frozen=True)
class Record:
    """`files` by their path under the output folder; `facts` are what the stage counted, for the report."""

    task: str
    made_from: dict[str, Any]
    files: dict[str, FileRecord] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak_bytes: int = 0  # of the largest process at work, with what else it had done before

    @property
    def digest(self) -> str:
        """A digest of the files' contents, whatever they were made from."""
        return digest_of({name: file.sha256 for name, file in self.files.items()})

    def is_of(self, made_from: Mapping[str, Any], output: Path) -> bool:
        """Whether it was made from just this, and its files are there with their full size."""
        return self.made_from == made_from and all(_is_whole(output / n, file) for n, file in self.files.items())

    def save(self, path: Path) -> None:
        """Write the record to `path`, whole or not at all."""
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")

    @staticmethod
    def load(path: Path) -> "Record | None":
        """The record at `path`; None where there is none."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return _read(path, status.st_mtime_ns, status.st_size, status.st_ino)


def digest_of(values: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON-like mapping, in any order of its keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read once as long as it doesn't change."""
    status = path.stat()
    return _hash(path, status.st_mtime_ns, status.st_size)


def _is_whole(path: Path, file: FileRecord) -> bool:
    try:
        return path.stat().st_size == file.bytes
    except FileNotFoundError:
        return False


@functools.lru_cache(maxsize=8192)
def _read(path: Path, modified: int, size: int, inode: int) -> Record:
    values: dict[str, Any] = json.loads(path.read_text())
    files = {name: FileRecord(**file) for name, file in values["files"].items()}
    return Record(**{**values, "files": files})


@functools.lru_cache
def _hash(path: Path, modified: int, size: int) -> str:
    return file_sha256(path)
