"""The journal of a chunk that is being fetched: one line for each outcome, so that a crash loses none of them.

A line is appended to `fetched/chunk-NNNNN.journal` once the file of the image has its final name. When all images of
the chunk have an outcome, the journal becomes the ledger `fetched/chunk-NNNNN.parquet`.
"""

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa

from gbif_webdataset.errors import BusyError
from gbif_webdataset.fetch.ledger import OUTCOME_COLUMNS, Outcome, outcome_values
from gbif_webdataset.storage.chunks import journal_name
from gbif_webdataset.terms.outcomes import Status, is_temporary

_TYPES = tuple(
    str if field.name in ("image_path", "identifier", "status", "error", "requested_url") else type_of_value | None
    for field in OUTCOME_COLUMNS
    for type_of_value in [int if pa.types.is_integer(field.type) else str]
)
"""The types of an outcome's values."""


class Journal:
    """The outcomes of a chunk, one JSON line each. One process at a time may write it, with many threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._path = path
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise BusyError(
                f"{self._path}: another process is fetching this chunk; wait until it ends, or stop it"
            ) from error
        self._file.truncate(self._measure_complete_lines())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def _measure_complete_lines(self) -> int:
        """Bytes up to the end of the last complete line: a killed process may have left an incomplete one."""
        self._file.seek(0)
        return self._file.read().rfind(b"\n") + 1

    def append(self, outcome: Outcome) -> None:
        """Write one outcome. It survives the end of this process once this method has returned."""
        line = json.dumps(outcome_values(outcome)).encode() + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()

    def drop_temporary_failures(self) -> bool:
        """Delete the temporary failures, so that the next run retries them at once; whether other outcomes are left."""
        with self._lock:
            self._file.seek(0)
            kept = [line for line in self._file if (outcome := _parse_line(line)) and not is_temporary(outcome.error)]
            self._file.truncate(0)
            self._file.writelines(kept)
            self._file.flush()
        return bool(kept)


def journal_path(folder: Path, chunk: int) -> Path:
    """The path of a chunk's journal in `folder` (fetched/)."""
    return folder / journal_name(chunk)


def read_journal(path: Path) -> Iterator[Outcome]:
    """The outcomes in a journal, without damaged lines and an incomplete last one. A missing journal has none.

    The images of damaged lines are downloaded again.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and (outcome := _parse_line(line)):
                yield outcome


def _parse_line(line: bytes) -> Outcome | None:
    """The outcome of a line; None if the line is damaged, or of a newer version."""
    with contextlib.suppress(ValueError, TypeError, IndexError, RecursionError):
        values = json.loads(line)
        if isinstance(values, list) and all(map(isinstance, values, _TYPES)) and values[2] in set(Status):
            return Outcome(*values)
    return None


def delete_journal(folder: Path, chunk: int) -> None:
    """Delete a chunk's journal, whose outcomes are in the ledger."""
    with contextlib.suppress(FileNotFoundError):
        journal_path(folder, chunk).unlink()
