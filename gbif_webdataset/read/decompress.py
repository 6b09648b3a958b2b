"""Decompressed bytes of a file in pieces of the size that is asked for, however much the file expands."""

import bz2
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Protocol

PIECE_BYTES = 1 << 16
MAX_DICTIONARY_BYTES = 128 << 20  # of LZMA, with which memory grows; `xz -9` uses 64 MiB


class Decompressor(Protocol):
    """A decompressor of bz2 or lzma."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was found."""

    @property
    def needs_input(self) -> bool:
        """Whether it has no output left."""

    @property
    def unused_data(self) -> bytes:
        """The bytes after the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes."""


class DecompressedFile(io.RawIOBase):
    """Reads the streams of a compressed file, one after another. `make` gives a decompressor for each.

    Reading raises EOFError if the file ends within a stream.
    """

    def __init__(self, file: IO[bytes], make: Callable[[], Decompressor]) -> None:
        self._file, self._make = file, make
        self._decompressor = make()
        self._data = b""

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: "bytearray | memoryview[int]") -> int:  # type: ignore[override]
        """Fill the beginning of a buffer; the number of its bytes, 0 at the end of the file."""
        data = b""
        while buffer and not data:
            if self._decompressor.eof:
                self._data = (self._decompressor.unused_data or self._file.read(PIECE_BYTES)).lstrip(b"\0")
                if not self._data:
                    return 0
                self._decompressor = self._make()
            elif self._decompressor.needs_input and not self._data:
                self._data = self._file.read(PIECE_BYTES)
                if not self._data:
                    raise EOFError
            data = self._decompressor.decompress(self._data, len(buffer))
            self._data = b""
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the compressed file, too."""
        self._file.close()
        super().close()


def open_xz(file: IO[bytes]) -> io.BufferedReader:
    """The decompressed bytes of an xz file."""
    return _read_decompressed(file, lambda: lzma.LZMADecompressor(memlimit=MAX_DICTIONARY_BYTES))


def open_bzip2(file: IO[bytes]) -> io.BufferedReader:
    """The decompressed bytes of a bzip2 file."""
    return _read_decompressed(file, bz2.BZ2Decompressor)


def open_zip_lzma(file: IO[bytes]) -> io.BufferedReader:
    """The decompressed bytes of a file that a zip compresses by LZMA: a version, the length of the properties, them.

    Raises:
        lzma.LZMAError: the properties are not valid, or ask for a dictionary of more than MAX_DICTIONARY_BYTES.
    """
    start = file.read(9)
    dictionary = int.from_bytes(start[5:9], "little")
    if start[2:4] != b"\5\0" or dictionary > MAX_DICTIONARY_BYTES:
        raise lzma.LZMAError("properties")
    rest, lc = divmod(start[4], 9)
    pb, lp = divmod(rest, 5)
    properties = {"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb}
    return _read_decompressed(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[properties]))


class CheckedFile:
    """Reads `size` bytes of a file, whose CRC-32 is `crc`."""

    def __init__(self, file: IO[bytes], size: int, crc: int) -> None:
        self._file, self._left, self._expected_crc = file, size, crc
        self._crc = 0

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, or all that are left.

        Raises:
            zipfile.BadZipFile: the CRC-32 is wrong, or the file is too short.
        """
        size = self._left if size < 0 else min(size, self._left)
        pieces = []
        while size:
            data = self._file.read(size)
            if not data:
                raise zipfile.BadZipFile
            pieces.append(data)
            size -= len(data)
            self._left -= len(data)
            self._crc = zlib.crc32(data, self._crc)
        if not self._left and self._crc != self._expected_crc:
            raise zipfile.BadZipFile("CRC")
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read_decompressed(file: IO[bytes], make: Callable[[], Decompressor]) -> io.BufferedReader:
    return io.BufferedReader(DecompressedFile(file, make), PIECE_BYTES)
