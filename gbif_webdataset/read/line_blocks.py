"""The lines of a data file, in blocks, read and inflated while earlier ones are worked on."""

import codecs
import csv
import io
import itertools
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import IO, Self, TypeVar

import numpy as np

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.dwca import DataFile

BLOCK = 4 << 20
LONGEST_LINE = 16 << 20
SAID_AT_ONCE = 1 << 20
Item = TypeVar("Item")


def records(
    name: str, file: IO[bytes], layout: DataFile, header: list[str], progress: Callable[[int], None]
) -> Iterator[tuple[int, str, list[str]]]:
    """The records of a file that encloses fields: the line that each begins at, its text, and its fields.

    The last header line is put into `header` as it is: its quotes need not be balanced.
    """
    held: list[str] = []
    length, unsaid, begun = 0, 0, False
    codec = _codec(layout.encoding)
    errors = "surrogateescape" if codec.startswith("utf-8") else "replace"  # what is no UTF-8 is told as such
    text = io.TextIOWrapper(file, codec, errors=errors, newline="")

    def lines() -> Iterator[str]:
        nonlocal begun, length, unsaid
        while line := text.readline(LONGEST_LINE + 1):
            unsaid += len(line)
            if unsaid > SAID_AT_ONCE:
                progress(unsaid)
                unsaid = 0
            length += len(line)
            if length > LONGEST_LINE:
                raise ArchiveError(f"{name}: a record is longer than {LONGEST_LINE >> 20} MiB; it is not trusted")
            line, begun = line if begun else line.removeprefix("\ufeff"), True
            held.append(line)
            yield line

    found_lines = lines()
    for line in itertools.islice(found_lines, layout.header_lines):
        header[:], length = [line], 0
        held.clear()
    csv.field_size_limit(LONGEST_LINE)
    found = csv.reader(found_lines, delimiter=layout.separator, quotechar=layout.quote, doublequote=True)
    number = layout.header_lines + 1
    for fields in found:
        yield number, "".join(held).rstrip("\r\n"), fields
        held.clear()
        length = 0
        number = layout.header_lines + found.line_num + 1
    progress(unsaid)


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, each ended by LF; `odd` where a carriage return or a NUL is among them."""

    data: bytes
    lines: int
    quoted: bool
    odd: bool

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Look at what the lines hold."""
        lines = np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        return cls(data, int(lines), b'"' in data, b"\r" in data or b"\0" in data)

    def without_first(self) -> Self:
        """The lines after the first."""
        return type(self)(self.data[self.data.index(b"\n") + 1 :], self.lines - 1, self.quoted, self.odd)


def whole_lines(name: str, file: IO[bytes], encoding: str, progress: Callable[[int], None]) -> Iterator[Block]:
    """A file in blocks of whole lines in UTF-8, without a byte order mark, prepared while earlier ones are parsed."""
    return ahead(_cut(name, _ended_by_lf(_in_utf8(_read(file, progress), encoding))))


def _read(file: IO[bytes], progress: Callable[[int], None]) -> Iterator[bytes]:
    while data := file.read(BLOCK):
        progress(len(data))
        yield data


def _ended_by_lf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, with an LF for each CR in an old Mac's file: one that has CRs and no LF as far as a line goes."""
    first: list[bytes] = []
    for data in pieces:
        first.append(data)
        if b"\n" in data or sum(map(len, first)) > LONGEST_LINE:
            break
    start = b"".join(first)
    by_cr = b"\r" in start and b"\n" not in start
    for data in itertools.chain([start], pieces):
        yield data.replace(b"\r", b"\n") if by_cr else data


def _cut(name: str, pieces: Iterator[bytes]) -> Iterator[Block]:
    tail, begun = b"", False
    for data in pieces:
        if not begun:
            data, begun = data.removeprefix(codecs.BOM_UTF8), True
        end = data.rfind(b"\n") + 1
        if end:
            yield Block.of(b"".join((tail, memoryview(data)[:end])))
            tail = data[end:]
        else:
            tail += data
        if len(tail) > LONGEST_LINE:
            raise ArchiveError(f"{name}: a line is longer than {LONGEST_LINE >> 20} MiB; it is not trusted")
    if tail:
        yield Block.of(tail + b"\n")


def ahead(items: Iterator[Item], most: int = 2) -> Generator[Item, None, None]:
    """The same items, made by a thread while earlier ones are worked on; `most` of them wait."""
    made: queue.Queue[Item | BaseException | None] = queue.Queue(most)
    ended = threading.Event()

    def make() -> None:
        try:
            for item in items:
                made.put(item)
                if ended.is_set():
                    return
            made.put(None)
        except BaseException as error:  # handed to the reader
            made.put(error)

    thread = threading.Thread(target=make, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        ended.set()
        while thread.is_alive():
            try:
                made.get(timeout=0.05)
            except queue.Empty:
                continue


def _in_utf8(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    if _codec(encoding) == "utf-8":
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(_codec(encoding))("replace")
    for data in blocks:
        yield decoder.decode(data).encode(errors="replace")
    yield decoder.decode(b"", final=True).encode(errors="replace")


def _codec(encoding: str) -> str:
    name = codecs.lookup(encoding).name
    return "utf-8" if name in ("ascii", "utf-8") else "utf-8-sig" if name == "utf-8-sig" else name
