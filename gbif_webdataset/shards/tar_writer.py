"""Tar files whose bytes depend on their members alone, with their SHA-256 and their index.

The bytes are those of webdataset's TarWriter. The index is that of NVIDIA DALI's wds2idx (v1.2): a line with the
version and the number of samples, then a line for each sample with extension, offset, length and name of each member.
"""

import hashlib
import tarfile
from typing import BinaryIO, NamedTuple

from gbif_webdataset.storage.tar_headers import make_header

INDEX_VERSION = "v1.2"
_END_BYTES = 2 * tarfile.BLOCKSIZE


class Member(NamedTuple):
    """A member of a tar: its name, its header (see make_header) and its data."""

    name: str
    header: bytes
    data: bytes


def make_member(name: str, data: bytes) -> Member:
    """A member with its header."""
    return Member(name, make_header(name, len(data)), data)


def count_member_bytes(member: Member) -> int:
    """The bytes that a member takes in a tar: its header, and its data in whole blocks."""
    return len(member.header) + -(-len(member.data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def count_tar_bytes(members: int) -> int:
    """The size of a tar whose members take `members` bytes: two empty blocks follow, and padding to a whole record."""
    return -(-(members + _END_BYTES) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


class TarWriter:
    """Writes samples to an open file. After `close`, `bytes`, `sha256` and `index` describe the whole tar."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._index_lines: list[str] = []
        self.bytes = 0

    def add(self, members: list[Member]) -> None:
        """Write the members of a sample."""
        pieces, entries = [], []
        for member in members:
            start = self.bytes + len(member.header)
            pieces += [member.header, member.data, b"\0" * (-len(member.data) % tarfile.BLOCKSIZE)]
            self.bytes += count_member_bytes(member)
            # DALI splits the line at spaces, and uses the name only in its messages
            extension, name = member.name.rpartition(".")[2], "_".join(member.name.split())
            entries.append(f"{extension} {start} {len(member.data)} {name}")
        self._write(b"".join(pieces))
        self._index_lines.append(" ".join(entries) + "\n")

    def close(self) -> None:
        """Write the end of the tar."""
        size = count_tar_bytes(self.bytes)
        self._write(b"\0" * (size - self.bytes))
        self.bytes = size

    def _write(self, data: bytes) -> None:
        self._sha256.update(data)
        self._file.write(data)

    @property
    def samples(self) -> int:
        """Number of samples written."""
        return len(self._index_lines)

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes written, in hexadecimal."""
        return self._sha256.hexdigest()

    @property
    def index(self) -> bytes:
        """The index of the samples written."""
        return f"{INDEX_VERSION} {len(self._index_lines)}\n{''.join(self._index_lines)}".encode()
