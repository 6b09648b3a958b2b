"""What an audit has found so far: a file with a line for each part, so that a stopped audit continues.

A line is written when the part has been read. Findings are read back from the file: those of a damaged disk may not fit
into memory.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from gbif_webdataset.audit.check_file import Finding
from gbif_webdataset.errors import BusyError
from gbif_webdataset.storage.checked_json import CHECKSUM, digest_of


class FindingsFile:
    """The findings of the parts of an audit, each with the identity of what was read. One audit at a time has the file.

    Raises:
        BusyError: another audit has the file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+b")
        self._places: dict[tuple[str, str], int] = {}

    def __enter__(self) -> Self:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise BusyError(
                f"{self._path}: another audit is reading this dataset; wait until it ends, or stop it"
            ) from None
        self._load()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def has_part(self, name: str, identity: str) -> bool:
        """Whether the part was read, and what was read is the same now."""
        return (name, identity) in self._places

    def add_part(self, name: str, identity: str, findings: Iterable[Finding]) -> None:
        """Write the findings of a part. They survive the end of this process."""
        values = {"part": name, "identity": identity, "findings": [list(finding) for finding in findings]}
        self._places[name, identity] = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps({**values, CHECKSUM: digest_of(values)}).encode() + b"\n")
        self._file.flush()

    def read_part(self, name: str, identity: str) -> Iterator[Finding]:
        """The findings of a part."""
        self._file.seek(self._places[name, identity])
        yield from (Finding(*values) for values in json.loads(self._file.readline())["findings"])

    def delete(self) -> None:
        """Delete the file, because the audit has ended."""
        self._path.unlink(missing_ok=True)

    def _load(self) -> None:
        """Find the lines of an earlier audit. Lines from the first damaged one on are removed."""
        self._file.seek(0)
        place = 0
        for line in iter(self._file.readline, b""):
            try:
                values = json.loads(line)
                checksum = values.pop(CHECKSUM)
                key = (values["part"], values["identity"])
            except (ValueError, TypeError, KeyError, AttributeError):
                break
            if checksum != digest_of(values) or not line.endswith(b"\n"):
                break
            self._places[key] = place
            place += len(line)
        self._file.truncate(place)
