"""The rows of a data file of an archive, as Arrow batches: no line is lost without an entry in `unreadable`.

GBIF writes one record a line and encloses nothing, whatever quotes a field holds, so a block of lines can be
parsed as it stands; only a block with something odd in it is looked at line by line.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tasks.core.dwca import DataFile
from tasks.core.errors import ArchiveError

BLOCK = 8 << 20
LONGEST_LINE = 16 << 20
RECORDS = 20_000


@dataclass(frozen=True)
class Unreadable:
    """A line that yields no row. `line` counts from 1, the header included."""

    file: str
    line: int
    reason: str
    raw: str


class RowReader:
    """Reads one file of a layout once, in batches of `line` (int64), `raw` (text) and the wanted columns (text).

    After the last batch `lines` is how many data lines there were, `unreadable` which of them gave no row, and
    `wrapped` whether the file is in GBIF's dialect that wraps each field with a quote in it, undeclared.
    """

    def __init__(self, name: str, layout: DataFile, wanted: Mapping[str, int], with_raw: bool) -> None:
        self.name, self.layout, self.wanted, self.with_raw = name, layout, wanted, with_raw
        self.lines = 0
        self.unreadable: list[Unreadable] = []
        self._fields = 0
        self._quoted = self._unbalanced = False
        separator = re.escape(layout.separator.encode())
        self._quote_bearing = re.compile(rb'[^%b\n]*"[^%b\n]*' % (separator, separator))
        self.schema = pa.schema(
            [("line", pa.int64()), *([("raw", pa.string())] if with_raw else []), *((n, pa.string()) for n in wanted)]
        )

    @property
    def wrapped(self) -> bool:
        """Whether quotes occur, and only around whole fields with inner quotes doubled."""
        return self._quoted and not self._unbalanced

    def read(self, file: IO[bytes], progress: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `file`. `progress` is told the bytes of each block read."""
        source = _utf8(file, self.layout.encoding)
        if self.layout.quote:
            yield from self._enclosed(source, progress)
            return
        for block in self._blocks(source, progress):
            yield from self._plain(block)

    def _blocks(self, source: IO[bytes], progress: Callable[[int], None]) -> Iterator[bytes]:
        """Whole lines, each ended by LF, the header lines left out."""
        header, tail = self.layout.header_lines, b""
        while data := source.read(BLOCK):
            progress(len(data))
            block, tail = _cut(tail + data)
            if len(tail) > LONGEST_LINE:
                raise ArchiveError(f"{self.name}: a line is longer than {LONGEST_LINE >> 20} MiB; it is not trusted")
            while header and block:
                first, block = block.split(b"\n", 1)
                self._fields, header = first.count(self.layout.separator.encode()) + 1, header - 1
            if block:
                yield block
        if tail:
            if header:
                self._fields = tail.count(self.layout.separator.encode()) + 1
            else:
                yield tail + b"\n"

    def _plain(self, block: bytes) -> Iterator[pa.RecordBatch]:
        first = self.layout.header_lines + self.lines + 1
        count = block.count(b"\n")
        self.lines += count
        self._fields = self._fields or block.split(b"\n", 1)[0].count(self.layout.separator.encode()) + 1
        if not self._unbalanced and b'"' in block:
            self._quoted = True
            fields = self._quote_bearing.findall(block)
            self._unbalanced = not all(re.fullmatch(rb'"(?:[^"]|"")*"\r?', field) for field in fields)
        if b"\r\n" in block:
            block = block.replace(b"\r\n", b"\n")
        if not self._odd(block):
            table = self._parsed(block)
            if table is not None and table.num_rows == count:
                yield from self._batches(table, np.arange(first, first + count), block)
                return
        numbers, good = self._readable(block, first)
        if good:
            block = b"".join(line + b"\n" for line in good)
            table = self._parsed(block.replace(b"\r", b" ").replace(b"\0", b" "))
            if table is None or table.num_rows != len(good):
                raise ArchiveError(f"{self.name}: lines {first} to {first + count} can't be parsed")
            yield from self._batches(table, np.array(numbers), block)

    def _odd(self, block: bytes) -> bool:
        """Whether a block may hold a line that pyarrow would cut, drop or let pass though it is no text."""
        if b"\r" in block or b"\0" in block or block.startswith(b"\n") or b"\n\n" in block:
            return True
        if self.with_raw:
            try:
                block.decode()
            except UnicodeDecodeError:
                return True
        return False

    def _readable(self, block: bytes, first: int) -> tuple[list[int], list[bytes]]:
        """The lines of a block that have the right number of fields, with their line numbers."""
        separator = self.layout.separator.encode()
        numbers, good = [], []
        for number, line in enumerate(block.split(b"\n")[:-1], first):
            reason = self._fault(line, separator)
            if reason:
                self.unreadable.append(Unreadable(self.name, number, reason, line.decode(errors="replace")))
            else:
                numbers.append(number)
                good.append(line)
        return numbers, good

    def _fault(self, line: bytes, separator: bytes) -> str:
        if not line.strip():
            return "blank-line"
        if line.count(separator) + 1 != self._fields:
            return "ragged-line"
        try:
            line.decode()
        except UnicodeDecodeError:
            return "invalid-text"
        return ""

    def _parsed(self, block: bytes) -> pa.Table | None:
        """The wanted columns of a block; None where pyarrow finds fault with a line of it."""
        names = [f"f{index}" for index in range(self._fields)]
        included = [f"f{index}" for index in self.wanted.values()]
        if missing := [name for name, index in self.wanted.items() if index >= self._fields]:
            raise ArchiveError(
                f"{self.name}: has {self._fields} columns, but meta.xml says that {missing[0]} is column "
                f"{self.wanted[missing[0]] + 1}; download it again"
            )
        try:
            table = pyarrow.csv.read_csv(
                pa.py_buffer(block),
                read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=max(len(block) + 1, 1 << 20)),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self.layout.separator,
                    quote_char=False,
                    newlines_in_values=False,
                    ignore_empty_lines=False,
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=list(dict.fromkeys(included)),
                    column_types=dict.fromkeys(included, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
        except pa.ArrowInvalid:
            return None
        return pa.table([table.column(name) for name in included], names=list(self.wanted))

    def _batches(self, table: pa.Table, numbers: "np.ndarray", block: bytes) -> Iterator[pa.RecordBatch]:
        columns = [pa.array(numbers, pa.int64())]
        if self.with_raw:
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + 1
            offsets = np.concatenate(([0], ends)).astype(np.int32)
            columns.append(pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(block)))
        yield from pa.table([*columns, *table.columns], schema=self.schema).combine_chunks().to_batches()

    def _enclosed(self, source: IO[bytes], progress: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Rows whose fields may be enclosed by quotes and hold line ends, through the standard csv module."""
        held: list[str] = []
        csv.field_size_limit(LONGEST_LINE)
        records = csv.reader(
            _remembered(io.TextIOWrapper(source, "utf-8", errors="replace", newline=""), held, progress),
            delimiter=self.layout.separator,
            quotechar=self.layout.quote,
            doublequote=True,
        )
        rows: list[list[object]] = []
        number = 1
        for fields in records:
            raw = "".join(held).rstrip("\r\n")
            held.clear()
            begin, number = number, records.line_num + 1
            if self.layout.header_lines >= begin:
                self._fields = len(fields)
                continue
            self.lines += 1
            self._fields = self._fields or len(fields)
            reason = "blank-line" if not raw.strip() else "ragged-line" if len(fields) != self._fields else ""
            if reason:
                self.unreadable.append(Unreadable(self.name, begin, reason, raw))
                continue
            values = [fields[index] or None for index in self.wanted.values()]
            rows.append([begin, *([raw] if self.with_raw else []), *values])
            if len(rows) == RECORDS:
                yield self._batch(rows)
                rows = []
        if rows:
            yield self._batch(rows)

    def _batch(self, rows: list[list[object]]) -> pa.RecordBatch:
        columns = zip(*rows, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _utf8(file: IO[bytes], encoding: str) -> io.BufferedReader:
    """The same text in UTF-8, without a byte order mark."""
    raw: Any = file
    if codecs.lookup(encoding).name not in ("utf-8", "ascii"):
        raw = codecs.EncodedFile(file, "utf-8", encoding, errors="replace")
    buffered = io.BufferedReader(raw)
    if buffered.peek(3)[:3] == codecs.BOM_UTF8:
        buffered.read(3)
    return buffered


def _cut(data: bytes) -> tuple[bytes, bytes]:
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def _remembered(lines: io.TextIOWrapper, held: list[str], progress: Callable[[int], None]) -> Iterator[str]:
    for line in lines:
        held.append(line)
        progress(len(line))
        yield line
