"""A data file in blocks of whole lines, in UTF-8."""

import codecs
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Self

import numpy as np

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.text_encodings import get_codec
from gbif_webdataset.read_ahead import read_ahead

BLOCK_BYTES = 1 << 20  # of the sizes tried the fastest: a block is in the processor's cache while it is parsed
MAX_LINE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Whole lines, each ended by LF.

    Attributes:
        lines: how many lines.
        has_quotes: whether a line contains a double quote.
        is_irregular: whether a line contains a carriage return or a NUL.
    """

    data: bytes
    lines: int
    has_quotes: bool
    is_irregular: bool

    @classmethod
    def from_data(cls, data: bytes) -> Self:
        """The block of these lines."""
        lines = np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        return cls(data, int(lines), b'"' in data, b"\r" in data or b"\0" in data)

    def skip_lines(self, count: int) -> tuple[bytes, Self]:
        """The last of the first `count` lines, and the block of the lines after it."""
        *_, last, rest = self.data.split(b"\n", count)
        return last, type(self)(rest, self.lines - count, self.has_quotes, self.is_irregular)


def read_line_blocks(name: str, file: IO[bytes], encoding: str, progress: Callable[[int], None]) -> Iterator[LineBlock]:
    """The lines of a file without its byte order mark. The next block is read while the last one is in use.

    `progress` is called with the number of bytes read since the last call.

    Raises:
        ArchiveError: a line is longer than MAX_LINE_BYTES.
    """
    return read_ahead(_cut_into_lines(name, _replace_mac_line_ends(_convert_to_utf8(_read(file, progress), encoding))))


def _read(file: IO[bytes], progress: Callable[[int], None]) -> Iterator[bytes]:
    while data := file.read(BLOCK_BYTES):
        progress(len(data))
        yield data


def _convert_to_utf8(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    if get_codec(encoding) == "utf-8":
        yield from pieces
        return
    decoder = codecs.getincrementaldecoder(get_codec(encoding))("replace")
    for data in pieces:
        yield decoder.decode(data).encode(errors="replace")
    yield decoder.decode(b"", final=True).encode(errors="replace")


def _replace_mac_line_ends(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, with LF in place of CR if CR ends the lines: no LF is in the first MAX_LINE_BYTES."""
    first: list[bytes] = []
    for data in pieces:
        first.append(data)
        if b"\n" in data or sum(map(len, first)) > MAX_LINE_BYTES:
            break
    start = b"".join(first)
    is_mac = b"\r" in start and b"\n" not in start
    for data in itertools.chain([start], pieces):
        yield data.replace(b"\r", b"\n") if is_mac else data


def _cut_into_lines(name: str, pieces: Iterator[bytes]) -> Iterator[LineBlock]:
    tail, is_first = b"", True
    for data in pieces:
        if is_first:
            data, is_first = data.removeprefix(codecs.BOM_UTF8), False
        end = data.rfind(b"\n") + 1
        if end:
            yield LineBlock.from_data(b"".join((tail, memoryview(data)[:end])))
            tail = data[end:]
        else:
            tail += data
        if len(tail) > MAX_LINE_BYTES:
            raise ArchiveError(
                f"{name}: a line is longer than {MAX_LINE_BYTES >> 20} MiB; correct the file, or inform the publisher"
            )
    if tail:
        yield LineBlock.from_data(tail + b"\n")
