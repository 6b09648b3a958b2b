"""The members of a tar, one after another.

Python's tarfile reads an extended header or a long name as a whole, 3 GiB if the tar says so, and keeps each header.
"""

import tarfile
from dataclasses import dataclass
from typing import IO

BLOCK_BYTES = tarfile.BLOCKSIZE
MAX_HEADER_BYTES = 1 << 16  # of a long name or an extended header
MAX_HEADERS = 100  # before one member
SKIP_BYTES = 1 << 20
LONG_NAME, LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
SPARSE_FLAG, SPARSE_FLAG_OF_EXTENSION = 482, 504  # positions of a byte that says whether a further header follows


class UnknownFormatError(tarfile.TarError):
    """The first bytes are not a header of a tar."""


class HeaderTooLargeError(tarfile.TarError):
    """A long name or an extended header is larger than MAX_HEADER_BYTES, or there are too many of them."""


@dataclass(frozen=True)
class TarMember:
    """A member of a tar. `is_file` is false for folders, links, devices and sparse files; `size` is in bytes."""

    name: str
    size: int
    is_file: bool


class TarStream:
    """Reads a tar from its beginning to its end.

    Attributes:
        offset: bytes of the tar up to the end of the present member's data.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.offset = 0
        self._stream = stream
        self._left = self._padding = 0

    def next_member(self) -> TarMember | None:
        """The next member, whose data `read` gives; None at the end of the tar.

        Raises:
            UnknownFormatError: it is not a tar.
            HeaderTooLargeError: a header is larger than MAX_HEADER_BYTES.
            tarfile.TarError, EOFError, ValueError: the tar is damaged.
        """
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        records: dict[str, str] = {}
        for _ in range(MAX_HEADERS):
            header = self._read_header()
            if header is None:
                return None
            info, block = header
            if info.type == LONG_NAME:
                records["path"] = self._read_data(info.size).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            elif info.type in EXTENDED:
                found = _parse_records(self._read_data(info.size))
                records |= found if info.type != tarfile.XGLTYPE else {}
            elif info.type == LONG_LINK:
                self._read_data(info.size)
            else:
                return self._start_member(info, block, records)
        raise HeaderTooLargeError

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes of the present member, or all that are left; fewer at its end."""
        size = self._left if size < 0 else min(size, self._left)
        data = self._stream.read(size)
        if not data and size:
            raise EOFError
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    def _start_member(self, info: tarfile.TarInfo, block: bytes, records: dict[str, str]) -> TarMember:
        size = int(records.get("size", info.size))
        is_sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in records)
        has_more = info.type == tarfile.GNUTYPE_SPARSE and block[SPARSE_FLAG]
        while has_more:
            has_more = self._read_exactly(BLOCK_BYTES)[SPARSE_FLAG_OF_EXTENSION]
        if not info.isreg() and info.type in tarfile.SUPPORTED_TYPES:
            size = 0
        if size < 0:
            raise ValueError("negative size")
        self._left, self._padding = size, -size % BLOCK_BYTES
        self.offset += self._left + self._padding
        return TarMember(records.get("path", info.name), size, info.isreg() and not is_sparse)

    def _read_header(self) -> tuple[tarfile.TarInfo, bytes] | None:
        block = self._stream.read(BLOCK_BYTES)
        is_first, self.offset = not self.offset, self.offset + BLOCK_BYTES
        if not block and not is_first:
            return None  # some programs leave out the blocks that end a tar
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape"), block
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return None
        except tarfile.HeaderError as error:
            if is_first:
                raise UnknownFormatError from error
            raise

    def _read_data(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise HeaderTooLargeError
        self.offset += size + -size % BLOCK_BYTES
        return self._read_exactly(size + -size % BLOCK_BYTES)[:size]

    def _read_exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _skip(self, size: int) -> None:
        while size:
            data = self._stream.read(min(size, SKIP_BYTES))
            if not data:
                raise EOFError
            size -= len(data)


def _parse_records(data: bytes) -> dict[str, str]:
    """The records of an extended header, each `<length> <keyword>=<value>` and a line end."""
    records, at = {}, 0
    while at < len(data) and data[at]:
        digits = data[at : at + 10].partition(b" ")[0]
        length = int(digits)
        if not len(digits) < length <= len(data) - at:
            raise ValueError("not a record")
        keyword, _, value = data[at + len(digits) + 1 : at + length - 1].partition(b"=")
        records[keyword.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += length
    return records
