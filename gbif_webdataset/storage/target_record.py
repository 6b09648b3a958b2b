"""The record of a target: which files it consists of and what decided their bytes.

A target without a record does not exist. A task deletes the record before it changes a file of the target and writes
it after the last file, so that an interrupted run leaves no target. A record has a checksum, which the records of
versions before 0.5 lack. A damaged record counts as absent.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage.atomic import file_sha256
from gbif_webdataset.storage.checked_json import DamagedJsonError, digest_of, read_checked_json, write_checked_json

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


DIGEST_OF_IMAGES = "digest of the images"
"""The result of SplitDataset that shards depend on: a digest of the CSVs with images."""


class Results(dict[str, Any]):
    """The numbers that a record has for later stages. A record without a number that a stage needs is damaged."""

    def __missing__(self, name: str) -> Any:
        """Raise MissingPieceError."""
        raise MissingPieceError(
            f"a record in the folder .made lacks the number {name}: it is damaged; find it with `make audit "
            "ARGS=--AuditDataset-repair`, and run the same command again"
        )


@dataclass(frozen=True)
class TargetRecord:
    """The record of a target.

    `task` is the label of the task, such as FetchChunk-00003. `files` are named by their path under the output folder.
    `objects` are its files in a bucket or another folder, at the address `store`, by their name there.
    `results` are numbers for later stages. `seconds` is the time that the task ran. `peak_bytes` is the memory of its
    largest process, earlier tasks of the process included.
    """

    task: str
    fingerprint: Fingerprint
    files: dict[str, FileRecord] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak_bytes: int = 0
    objects: dict[str, FileRecord] = field(default_factory=dict)
    store: str = ""

    @property
    def digest_of_images(self) -> str:
        """A digest of the CSVs with images in the target of SplitDataset; of other targets and older ones `digest`."""
        return str(self.results.get(DIGEST_OF_IMAGES, self.digest))

    @property
    def digest(self) -> str:
        """A digest of the names and contents of the files and objects, whatever decided them."""
        stored = {f"{self.store}/{name}": file for name, file in self.objects.items()}
        return digest_of({name: file.sha256 for name, file in (self.files | stored).items()})

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

    def select_files(self, *names: str) -> "TargetRecord":
        """The record with only those of its files that have one of the names."""
        return replace(self, files={name: file for name, file in self.files.items() if name in names})

    def save(self, path: Path) -> None:
        """Write the record to `path`."""
        values = asdict(self)
        for name, key in _KEYS.items():
            values[key] = values.pop(name)
        if not self.objects:  # as in the records of versions without them
            del values["objects"], values["store"]
        write_checked_json(path, values)

    @staticmethod
    def load(path: Path) -> "TargetRecord | None":
        """Return the record at `path`, or None if there is no file or a damaged one."""
        return load_checked_record(path).record


@dataclass(frozen=True)
class CheckedRecord:
    """A record, or why it cannot be read: `damage` completes a sentence that begins with the file.

    Without a file both are empty. `has_checksum` is False for the records of versions before 0.5.
    """

    record: TargetRecord | None = None
    damage: str = ""
    has_checksum: bool = True


def load_checked_record(path: Path) -> CheckedRecord:
    """Return the record at `path`, or why it counts as absent."""
    try:
        status = path.stat()
        return _load(path, status.st_mtime_ns, status.st_size, status.st_ino)
    except (FileNotFoundError, NotADirectoryError):
        return CheckedRecord()


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


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file. It is read again only if its size or time of modification changed."""
    status = path.stat()
    return _hash(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8192)
def _load(path: Path, modified: int, size: int, inode: int) -> CheckedRecord:
    try:
        values, has_checksum = read_checked_json(path)
        record = _parse(values)
    except DamagedJsonError as error:
        return CheckedRecord(damage=str(error))
    except (KeyError, TypeError, ValueError, AttributeError):
        return CheckedRecord(damage="is not a record that this version can read")
    if record.task != path.stem:
        return CheckedRecord(damage=f"is the record of {record.task}")
    return CheckedRecord(record, has_checksum=has_checksum)


def _parse(values: dict[str, Any]) -> TargetRecord:
    """Return the record with these values. Raises KeyError, TypeError, ValueError or AttributeError if it is none."""
    files, objects = _parse_files(values.pop("files")), _parse_files(values.pop("objects", {}))
    fingerprint = Fingerprint(**values.pop(_KEYS["fingerprint"]))
    results = Results(values.pop(_KEYS["results"]))
    if not isinstance(fingerprint.parameters, dict) or not isinstance(fingerprint.inputs, dict):
        raise TypeError
    int(fingerprint.format)
    record = TargetRecord(fingerprint=fingerprint, files=files, objects=objects, results=results, **values)
    float(record.seconds + record.peak_bytes)
    return record


def _parse_files(values: dict[str, Any]) -> dict[str, FileRecord]:
    """Return the files with these values. Raises ValueError for a path that is not below the output folder."""
    files = {name: FileRecord(**file) for name, file in values.items()}
    for name, file in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not isinstance(file.sha256, str):
            raise ValueError(name)
        int(file.bytes)
    return files


@functools.lru_cache
def _hash(path: Path, modified: int, size: int) -> str:
    return file_sha256(path)
