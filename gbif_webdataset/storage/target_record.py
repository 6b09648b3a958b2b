"""The record of a target: which files it consists of and what decided their bytes.

A target without a record does not exist. A task deletes the record before it changes a file of the target and writes
it after the last file, so that an interrupted run leaves no target.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from gbif_webdataset.storage.atomic import atomic_file, file_sha256

RECORDS = ".made"
"""The folder of the records below the output folder."""
_KEYS = {"fingerprint": "made_from", "results": "facts"}  # names in the files, which every version reads


@dataclass(frozen=True)
class FileRecord:
    """A file of a target: its size in bytes and its SHA-256."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the file and describe it."""
        return cls(path.stat().st_size, file_sha256(path))


@dataclass(frozen=True)
class Fingerprint:
    """Everything that decides a target's bytes.

    `format` is the version of the stage's code. `parameters` are JSON values by name. `inputs` are digests by name.
    """

    format: int
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TargetRecord:
    """The record of a target.

    `files` are named by their path under the output folder. `results` are numbers for later stages. `seconds` is the
    time that the task ran. `peak_bytes` is the memory of its largest process, earlier tasks of the process included.
    """

    task: str
    fingerprint: Fingerprint
    files: dict[str, FileRecord] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def digest(self) -> str:
        """A digest of the names and contents of the files, whatever decided them."""
        return digest_of({name: file.sha256 for name, file in self.files.items()})

    def damaged_files(self, output: Path) -> Iterator[tuple[str, str]]:
        """Yield the name of each file that is missing or has another size, and what is wrong with it."""
        for name, file in self.files.items():
            try:
                size = (output / name).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                yield name, "is missing"
            else:
                if size != file.bytes:
                    yield name, "has the wrong size"

    def save(self, path: Path) -> None:
        """Write the record to `path`."""
        values = asdict(self)
        for name, key in _KEYS.items():
            values[key] = values.pop(name)
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")

    @staticmethod
    def load(path: Path) -> "TargetRecord | None":
        """Return the record at `path`, or None if there is no file."""
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _load(path, status.st_mtime_ns, status.st_size, status.st_ino)


@dataclass(frozen=True)
class Change:
    """A part of a fingerprint that differs: `kind` is `format`, `parameter` or `input`."""

    kind: str
    name: str
    before: Any
    after: Any


def find_changes(before: Fingerprint, after: Fingerprint, defaults: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the differences between a record's fingerprint and the current one.

    A parameter that the record lacks was added by a later version: it counts as its default. A parameter that exists
    no longer is ignored.
    """
    if before.format != after.format:
        yield Change("format", "", before.format, after.format)
    for name, value in after.parameters.items():
        recorded = before.parameters.get(name, defaults.get(name))
        if recorded != value:
            yield Change("parameter", name, recorded, value)
    for name in sorted({*before.inputs, *after.inputs}):
        if before.inputs.get(name) != after.inputs.get(name):
            yield Change("input", name, before.inputs.get(name), after.inputs.get(name))


def record_path(output: Path, label: str) -> Path:
    """Return the path of a target's record in a dataset."""
    return output / RECORDS / f"{label}.json"


def digest_of(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON-like mapping; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file. It is read again only if its size or time of modification changed."""
    status = path.stat()
    return _hash(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8192)
def _load(path: Path, modified: int, size: int, inode: int) -> TargetRecord:
    values: dict[str, Any] = json.loads(path.read_text())
    values["files"] = {name: FileRecord(**file) for name, file in values["files"].items()}
    for name, key in _KEYS.items():
        values[name] = values.pop(key)
    values["fingerprint"] = Fingerprint(**values["fingerprint"])
    return TargetRecord(**values)


@functools.lru_cache
def _hash(path: Path, modified: int, size: int) -> str:
    return file_sha256(path)
