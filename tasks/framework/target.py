"""The target of a task: its files, which exist only together with their record, and when they are up to date."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import luigi

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.obtain.sources import parse_sources
from gbif_webdataset.remote.recorded_objects import find_damaged_object
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import (
    Change,
    FileRecord,
    Fingerprint,
    TargetRecord,
    find_changes,
    load_checked_record,
)

NOT_MADE = "not made yet"
_CHUNK = re.compile(r"-\d{5}$")


class TargetTask(Protocol):
    """What a target has to know of its task."""

    dwca: str
    paths: DatasetPaths

    @property
    def label(self) -> str:
        """The name of the task within its dataset."""

    @classmethod
    def get_params(cls) -> list[tuple[str, luigi.Parameter[Any]]]:
        """Return the parameters."""

    def record(self) -> TargetRecord | None:
        """Return the record of the present target."""

    def fingerprint(self, with_inputs: bool = True) -> Fingerprint:
        """Return what decides the target's bytes."""


def list_defaults(task: TargetTask) -> dict[str, Any]:
    """Return the default of each parameter of a task."""
    return {name: parameter._default for name, parameter in task.get_params()}


class DatasetTarget(luigi.Target):
    """The files of a task."""

    def __init__(self, task: TargetTask) -> None:
        self._task = task

    @property
    def record(self) -> TargetRecord:
        """The record. Raises DatasetError if there is none."""
        record = self._task.record()
        if record is None:
            raise DatasetError(f"{self._task.label}: its record was deleted during the run; run the command again")
        return record

    def exists(self) -> bool:
        """Return whether the files exist and are up to date, as objects of a store that cannot be reached count."""
        try:
            return self.find_reason() is None
        except StoreError:
            return True

    def find_reason(self, with_inputs: bool = True) -> str | None:
        """Return why the files have to be made, or None if they are up to date.

        With `with_inputs` False the inputs are not compared: they are about to be made again.

        Raises StoreError if everything else is up to date, but the store with the objects cannot be listed.
        """
        task, record = self._task, self._task.record()
        if record is None:
            path = task.paths.record(task.label)
            damage = load_checked_record(path).damage
            return f"its record {path} {damage}" if damage else NOT_MADE
        now = task.fingerprint(with_inputs)
        changes = [
            change
            for change in find_changes(record.fingerprint, now, list_defaults(task))
            if with_inputs or change.kind != "input"
        ]
        described = "; ".join(_describe_change(task, change) for change in _without_consequences(changes))
        damaged = next((f"{name} {damage}" for name, damage in record.damaged_files(task.paths.output)), None)
        option_name = f"--{task.label}-to"
        return described or damaged or find_damaged_object(task.paths.record(task.label), option_name)

    def __str__(self) -> str:
        return str(self._task.paths.record(self._task.label))


@dataclass
class TargetBuilder:
    """A target that is being written: the finished files, and numbers for later stages.

    `objects` are finished files at the address `store`, by their name there.
    """

    output: Path
    files: dict[str, FileRecord] = field(default_factory=dict)
    objects: dict[str, FileRecord] = field(default_factory=dict)
    store: str = ""
    results: dict[str, Any] = field(default_factory=dict)

    def add(self, path: Path, sha256: str | None = None) -> None:
        """Add a finished file. Its bytes are read unless their `sha256` is given."""
        record = FileRecord(path.stat().st_size, sha256) if sha256 else FileRecord.of(path)
        self.files[path.relative_to(self.output).as_posix()] = record


def _without_consequences(changes: list[Change]) -> list[Change]:
    """Leave out what follows from a parameter: another file's content, and the format, which a parameter can decide."""
    names = {change.name for change in changes if change.kind == "parameter"}
    return [
        change
        for change in changes
        if change.name.removesuffix(" sha256") not in names - {change.name} and not (change.kind == "format" and names)
    ]


def _describe_change(task: TargetTask, change: Change) -> str:
    """Return a change of a task's fingerprint in words."""
    if change.kind == "format":
        return "made by an older version" if change.before < change.after else "made by a newer version"
    name, is_file, _ = change.name.partition(" sha256")
    if is_file:
        kind = "file" if Path(getattr(task, name)).is_file() else "folder"
        # A copy of a remote file has another path than its parameter, and parameters that decide no bytes are left out.
        named = task.fingerprint(with_inputs=False).parameters.get(name, getattr(task, name))
        return f"the {kind} {Path(named).name} that {name} names changed"
    if change.kind == "input" and name == "archive":
        sources = parse_sources(task.dwca)
        return f"{Path(task.dwca).name} changed" if len(sources) == 1 else "the archives changed"
    if change.kind == "input" and name not in ("chunks", "columns"):
        return f"{_CHUNK.sub('', name)} changed"
    return f"{name} changed from {_describe_value(change.before)} to {_describe_value(change.after)}"


def _describe_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in ("", None) else str(value)
