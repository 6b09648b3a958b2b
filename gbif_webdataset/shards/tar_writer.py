"""Tar files of fixed bytes, as webdataset's TarWriter writes them, hashed while they are written, and their index.

The index is NVIDIA DALI's, as its wds2idx makes it (v1.2): a line with the version and the number of samples, then a
line a sample with the extension, the offset of the data, its length and the name of each member.
"""

import hashlib
import tarfile
from typing import BinaryIO

MTIME = 946_684_800  # 2000-01-01: GNU tar warns of older files
MODE = 0o644
INDEX_VERSION = "v1.2"
_END = 2 * tarfile.BLOCKSIZE
_NAME_BYTES = 100  # of the oldest header; a longer or foreign name takes an extended one
_SIZE_DIGITS = 11


def header(name: str, size: int) -> bytes:
    """The header of a member with `size` bytes of data; with the extended one before it where the name needs it."""
    if len(name) <= _NAME_BYTES and name.isascii() and size < 8**_SIZE_DIGITS:
        return _short_header(name.encode(), size)
    return _member(name, size).tobuf(tarfile.DEFAULT_FORMAT, tarfile.ENCODING, "surrogateescape")


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, MODE, MTIME
    return member


_BLANK = _member("", 0).tobuf()
_BLANK_SUM = sum(_BLANK[:148]) + sum(_BLANK[156:]) + 8 * ord(" ")


def _short_header(name: bytes, size: int) -> bytes:
    """What tarfile makes of it, in a twentieth of the time."""
    digits = b"%011o" % size
    checksum = _BLANK_SUM + sum(name) + sum(digits) - _SIZE_DIGITS * ord("0")
    return b"".join(
        (name.ljust(_NAME_BYTES, b"\0"), _BLANK[100:124], digits, _BLANK[135:148], b"%06o\0 " % checksum, _BLANK[156:])
    )


def member_bytes(header: bytes, data: bytes) -> int:
    """A member's bytes in a tar: its header and its data in whole blocks."""
    return len(header) + -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def tar_bytes(members: int) -> int:
    """The length of a tar file whose members take that many bytes: two empty blocks, then filled to whole records."""
    return -(-(members + _END) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


class Tar:
    """A tar file under way, to an open file; `close` it for its end, then `sha256` and `index` are those of all."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._lines: list[str] = []
        self.bytes = 0

    def add(self, members: list[tuple[str, bytes, bytes]]) -> None:
        """Write a sample: (name, header, data) of each member."""
        pieces, entries = [], []
        for name, head, data in members:
            start = self.bytes + len(head)
            pieces += [head, data, b"\0" * (-len(data) % tarfile.BLOCKSIZE)]
            self.bytes += member_bytes(head, data)
            # DALI splits the line at spaces, and uses the name in its messages alone
            entries.append(f"{name.rpartition('.')[2]} {start} {len(data)} {'_'.join(name.split())}")
        self._write(b"".join(pieces))
        self._lines.append(" ".join(entries) + "\n")

    def close(self) -> None:
        """Write the end of the tar."""
        whole = tar_bytes(self.bytes)
        self._write(b"\0" * (whole - self.bytes))
        self.bytes = whole

    def _write(self, data: bytes) -> None:
        self._sha256.update(data)
        self._file.write(data)

    @property
    def samples(self) -> int:
        """Samples written so far."""
        return len(self._lines)

    @property
    def sha256(self) -> str:
        """Of all bytes written so far."""
        return self._sha256.hexdigest()

    @property
    def index(self) -> bytes:
        """The index of the samples written so far."""
        return f"{INDEX_VERSION} {len(self._lines)}\n{''.join(self._lines)}".encode()
