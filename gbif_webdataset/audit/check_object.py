"""Compare an object of the shards with its record, with shards.csv and, if it is a tar, with its index on the disk."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gbif_webdataset.audit.check_file import Expected, Finding, check_file
from gbif_webdataset.audit.check_shard import Entry, list_samples, read_index
from gbif_webdataset.audit.stored_shards import StoredShards
from gbif_webdataset.remote.store_errors import UnansweredError
from gbif_webdataset.terms.differences import Difference

READINGS = 2
TAR_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class ExpectedObject:
    """An object of the shards: its name, and its file with the address in front of the name.

    `index` is the index of a tar, on the disk, and `samples` its number in shards.csv; None if it is no tar, or if that
    cannot be read.
    """

    name: str
    file: Expected
    index: Expected | None = None
    samples: int | None = None


@dataclass(frozen=True)
class _Content:
    """What was read of an object: its bytes, their SHA-256, the samples of a tar, or why these cannot be read."""

    bytes: int
    sha256: str
    samples: list[list[Entry]] | None = None
    problem: str = ""


def check_object(output: Path, store: StoredShards, expected: ExpectedObject) -> list[Finding]:
    """The differences of an object and of its index on the disk, at most one for each of them.

    Raises:
        StoreError: the address refuses a request, or does not answer.
    """
    of_object = _compare(store, expected)
    of_index = check_file(output, expected.index) if expected.index else None
    if isinstance(of_object, Finding) or of_index:
        return [one for one in (of_object, of_index) if isinstance(one, Finding)]
    if expected.index and read_index(output / expected.index.file) != of_object:
        return [expected.index.differs(Difference.CHANGED, "it does not agree with the tar")]
    return []


def _compare(store: StoredShards, expected: ExpectedObject) -> Finding | list[list[Entry]] | None:
    """The difference of an object; without one the samples of a tar."""
    file, content = expected.file, _read_repeatedly(store, expected)
    if isinstance(content, Finding):
        return content
    if file.bytes is not None and content.bytes != file.bytes:
        kind = Difference.TRUNCATED if content.bytes < file.bytes else Difference.CHANGED
        return file.differs(kind, f"{content.bytes} of {file.bytes} bytes")
    if file.sha256 is not None and content.sha256 != file.sha256:
        return file.differs(Difference.CHANGED, "another SHA-256")
    if content.problem:
        return file.differs(Difference.UNREADABLE, f"its members cannot be read: {content.problem}")
    if content.samples is not None and expected.samples not in (None, len(content.samples)):
        return file.differs(Difference.CHANGED, f"{len(content.samples)} samples instead of {expected.samples}")
    return content.samples


def _read_repeatedly(store: StoredShards, expected: ExpectedObject) -> _Content | Finding:
    """Read an object; the difference if that fails each time, although another object can be read after each failure.

    A disk or network that fails for a moment is no difference.
    """
    for _ in range(READINGS):
        try:
            return store.retries.run(lambda: _read(store, expected))
        except FileNotFoundError:
            difference = expected.file.differs(Difference.MISSING)
        except UnansweredError:
            detail = "all requests for it fail, and others succeed"
            difference = expected.file.differs(Difference.UNREADABLE, detail)
        store.check_owner()
    return difference


def _read(store: StoredShards, expected: ExpectedObject) -> _Content:
    """Read an object once, without keeping its bytes."""
    stream = _HashedStream(store.store.iterate(expected.name))
    samples, problem = None, ""
    if expected.index:
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=TAR_BUFFER_BYTES) as archive:
                samples = list(list_samples(archive))
        except (tarfile.TarError, ValueError, IndexError) as error:  # IndexError: a sparse member is cut off
            problem = str(error)
    while not stream.has_ended:
        stream.read(TAR_BUFFER_BYTES)
    return _Content(stream.bytes, stream.digest.hexdigest(), samples, problem)


class _HashedStream(io.RawIOBase):
    """A file of blocks that can be read once. `bytes` and `digest` are of what was read.

    tarfile would read on for days after the end if a header names a huge size, so only one reading finds the end.

    Raises:
        tarfile.ReadError: it is read again after that.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._block = blocks, memoryview(b"")
        self.bytes, self.digest, self.has_ended = 0, hashlib.sha256(), False

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or a part of it; the number of bytes, which is 0 if the file has ended."""
        if self.has_ended:
            raise tarfile.ReadError("unexpected end of data")
        if not self._block:
            self._block = memoryview(next(self._blocks, b""))
            self.bytes += len(self._block)
            self.digest.update(self._block)
        self.has_ended = not self._block
        count = min(len(buffer), len(self._block))
        buffer[:count], self._block = self._block[:count], self._block[count:]
        return count
