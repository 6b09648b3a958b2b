"""Compare a file with the size and SHA-256 that are recorded for it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gbif_webdataset.terms.differences import Difference

WHOLE_BYTES = 1 << 20
"""Files up to this size are read at once, which takes less time than reading them in pieces."""


class Finding(NamedTuple):
    """A difference of a file; the fields are the columns of audit.csv. `file` is its path below the output folder."""

    file: str
    kind: str
    record: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Expected:
    """A file as it was written: its path below the output folder, the record that names it, size and SHA-256.

    A size or SHA-256 that is None is not compared.
    """

    file: str
    record: str
    bytes: int | None
    sha256: str | None

    def differs(self, kind: Difference, detail: str = "") -> Finding:
        """The finding that the file differs."""
        return Finding(self.file, str(kind), self.record, detail)


def check_file(output: Path, expected: Expected) -> Finding | None:
    """The difference of a file from what was written; None if it has the same bytes."""
    try:
        size, sha256 = _measure(output / expected.file, expected.bytes)
    except (FileNotFoundError, NotADirectoryError):
        return expected.differs(Difference.MISSING)
    except IsADirectoryError:
        return expected.differs(Difference.UNREADABLE, "a folder is in its place")
    except OSError as error:
        return expected.differs(Difference.UNREADABLE, os.strerror(error.errno or 0))
    if expected.bytes is not None and size != expected.bytes:
        kind = Difference.TRUNCATED if size < expected.bytes else Difference.CHANGED
        return expected.differs(kind, f"{size} of {expected.bytes} bytes")
    if expected.sha256 is not None and sha256 != expected.sha256:
        return expected.differs(Difference.CHANGED, "another SHA-256")
    return None


def _measure(path: Path, expected_bytes: int | None) -> tuple[int, str]:
    """The size and SHA-256 of a file. The SHA-256 is empty if the size is not the expected one."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if expected_bytes is not None and size != expected_bytes:
            return size, ""
        if size <= WHOLE_BYTES:
            return size, hashlib.sha256(file.read()).hexdigest()
        return size, hashlib.file_digest(file, "sha256").hexdigest()
