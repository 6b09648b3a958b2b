"""The rows of a data file of an archive, as Arrow tables: no line is lost without an entry in `unreadable`.

GBIF writes one record a line and encloses nothing, whatever quotes a field holds, so a block of lines can be
parsed as it stands; only a block with something odd in it is looked at line by line.
"""

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.dwca import DataFile
from gbif_webdataset.read.line_blocks import Block, records, whole_lines
from gbif_webdataset.storage import arrow

PARSED_AT_ONCE = 1 << 20
MOST_COLUMNS = 10_000
RECORDS = 20_000
KEY, LINE = "#id", "#line"  # columns of ours beside the archive's, which may bear any name
WRAPPED = re.compile(rb'"(?:[^"]|"")*"\r?')


@dataclass(frozen=True)
class Unreadable:
    """A line that yields no row. `line` counts from 1, the header included."""

    line: int
    reason: str
    raw: str


class RowReader:
    """Reads one file of a layout once, in tables of `line` (int64) and the wanted columns, of the types in `schema`.

    After the last table `lines` is how many data lines there were, `unreadable` which of them gave no row.
    Where `quoted` and not `unbalanced`, the file is in GBIF's dialect that wraps each field with a quote in it.
    """

    def __init__(self, name: str, layout: DataFile, wanted: Mapping[str, int], schema: pa.Schema) -> None:
        self.name, self.layout, self.wanted = name, layout, wanted
        self.schema = pa.schema([(LINE, pa.int64()), *(schema.field(column) for column in wanted)])
        self._types = {f"f{index}": schema.field(column).type for column, index in wanted.items()}
        self.lines = 0
        self.unreadable: list[Unreadable] = []
        self._separator = layout.separator.encode()
        self._fields = 0
        self.quoted = self.unbalanced = False

    def read(self, file: IO[bytes], progress: Callable[[int], None]) -> Iterator[pa.Table]:
        """Yield the rows of `file`. `progress` is told the bytes of each block read.

        Raises ArchiveError for a line beyond LONGEST_LINE or a file without a column that the layout promises.
        """
        if self.layout.quote:
            for rows in self._enclosed(file, progress):
                yield pa.Table.from_arrays(
                    [
                        pa.array(values, field.type)
                        for values, field in zip(zip(*rows, strict=True), self.schema, strict=True)
                    ],
                    schema=self.schema,
                )
        else:
            for block in self._blocks(file, progress):
                yield from self._plain(block)

    def _blocks(self, file: IO[bytes], progress: Callable[[int], None]) -> Iterator[Block]:
        """The lines of a file, without its header lines."""
        header = self.layout.header_lines
        for block in whole_lines(self.name, file, self.layout.encoding, progress):
            while header and block.lines:
                self._fields = self._width_of(block.data[: block.data.index(b"\n")])
                block, header = block.without_first(), header - 1
            if block.lines:
                yield block

    def _plain(self, block: Block) -> Iterator[pa.Table]:
        first, data = self.layout.header_lines + self.lines + 1, block.data
        self.lines += block.lines
        if not self._fields:
            self._fields = self._width_of(next((line for line in data.split(b"\n") if line.strip()), b""))
        if self._fields:
            self._check_width()
        if block.quoted and not self.unbalanced:
            self.quoted = True
            self.unbalanced = not _all_wrapped(data, self._separator)
        odd = block.odd
        if odd and b"\r\n" in data:
            data = data.replace(b"\r\n", b"\n")
            odd = b"\r" in data or b"\0" in data
        table = None if odd or not self._fields else self._parsed(data)
        if table is not None and table.num_rows == block.lines and not table.column(KEY).null_count:
            yield self._numbered(table, np.arange(first, first + block.lines))
            return
        numbers, good = self._readable(data, first)
        if good:
            data = b"".join(line + b"\n" for line in good)
            table = self._parsed(data.replace(b"\r", b" ").replace(b"\0", b" "), len(data))
            if table is None or table.num_rows != len(good):
                last = first + block.lines - 1
                raise ArchiveError(f"{self.name}: lines {first} to {last} can't be parsed; download it again")
            yield self._numbered(table, np.array(numbers))
        else:
            yield self.schema.empty_table()

    def _readable(self, block: bytes, first: int) -> tuple[list[int], list[bytes]]:
        """The lines of a block that have the right number of fields, with their line numbers."""
        numbers, good = [], []
        for number, line in enumerate(block.split(b"\n")[:-1], first):
            reason = self._fault(line)
            if reason:
                self.unreadable.append(Unreadable(number, reason, line.decode(errors="replace")))
            else:
                numbers.append(number)
                good.append(line)
        return numbers, good

    def _fault(self, line: bytes) -> str:
        """Why a line gives no row: what pyarrow would find fault with, whatever the rest of its block is like."""
        if not line.strip(self._separator):
            return "blank-line"
        if line.count(self._separator) + 1 != self._fields:
            return "ragged-line" if line.strip() else "blank-line"
        fields = line.split(self._separator)
        try:
            for index in self.wanted.values():
                fields[index].decode()
        except UnicodeDecodeError:
            return "invalid-text"
        return ""

    def _parsed(self, block: bytes, longest: int = 0) -> pa.Table | None:
        """The wanted columns of a block of lines up to `longest`; None where pyarrow finds fault with one of them."""
        if block.startswith(codecs.BOM_UTF8):
            block = codecs.BOM_UTF8 + block  # pyarrow takes one away, and the file's own is gone already
        names = [f"f{index}" for index in range(self._fields)]
        included = [f"f{index}" for index in self.wanted.values()]
        try:
            table = pyarrow.csv.read_csv(
                pa.py_buffer(block),
                read_options=pyarrow.csv.ReadOptions(
                    column_names=names, block_size=max(PARSED_AT_ONCE, block.find(b"\n") * 4, longest)
                ),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self.layout.separator,
                    quote_char=False,
                    newlines_in_values=False,
                    ignore_empty_lines=False,
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=list(self._types),
                    column_types=self._types,
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
        except pa.ArrowInvalid:
            return None
        return pa.table([table.column(name) for name in included], names=list(self.wanted))

    def _width_of(self, line: bytes) -> int:
        return line.count(self._separator) + 1 if line.strip() else 0

    def _check_width(self) -> None:
        if self._fields > MOST_COLUMNS:
            raise ArchiveError(f"{self.name}: has {self._fields:,} columns, more than any; it is not trusted")
        for name, index in self.wanted.items():
            if index >= self._fields:
                raise ArchiveError(
                    f"{self.name}: has {self._fields} columns, but meta.xml says that {name} is column {index + 1}; "
                    "download it again, or tell its publisher"
                )

    def _numbered(self, table: pa.Table, numbers: "np.ndarray[Any, Any]") -> pa.Table:
        return table.add_column(0, LINE, arrow.to_array(numbers))

    def _enclosed(self, file: IO[bytes], progress: Callable[[int], None]) -> Iterator[list[list[object]]]:
        """Rows whose fields may be enclosed by quotes and hold line ends, through the standard csv module."""
        rows: list[list[object]] = []
        header: list[str] = []
        for number, raw, fields in records(self.name, file, self.layout, header, progress):
            self.lines += 1
            if not self._fields and raw.strip():
                self._fields = self._width_of_header(header) or len(fields)
                self._check_width()
            if reason := self._fault_of(raw, fields):
                self.unreadable.append(Unreadable(number, reason, raw.encode(errors="replace").decode()))
                continue
            rows.append([number, *(fields[index] or None for index in self.wanted.values())])
            if len(rows) == RECORDS:
                yield rows
                rows = []
        if rows:
            yield rows

    def _fault_of(self, raw: str, fields: list[str]) -> str:
        if not raw.strip():
            return "blank-line"
        if len(fields) != self._fields:
            return "ragged-line"
        try:
            for index in self.wanted.values():
                fields[index].encode()
        except UnicodeEncodeError:
            return "invalid-text"
        return ""

    def _width_of_header(self, header: list[str]) -> int:
        """The columns that the last header line names, 0 where it is blank; its quotes need not be balanced."""
        line = header[-1].strip("\r\n") if header else ""
        if line.count(self.layout.quote) % 2:
            return line.count(self.layout.separator) + 1
        named = next(csv.reader([line], delimiter=self.layout.separator, quotechar=self.layout.quote), [])
        return len(named) if line.strip() else 0


def raw_lines(name: str, file: IO[bytes], layout: DataFile, numbers: Iterator[int]) -> Iterator[str]:
    """The text of the records that begin at these lines, which ascend, from another reading of the file."""
    wanted = next(numbers, None)
    if layout.quote:
        for number, raw, _ in records(name, file, layout, [], lambda count: None):
            if number == wanted:
                yield raw.encode(errors="replace").decode()
                wanted = next(numbers, None)
        return
    first = 1
    for block in whole_lines(name, file, layout.encoding, lambda count: None):
        ends = np.flatnonzero(np.frombuffer(block.data, np.uint8) == 10)
        while wanted is not None and wanted - first < len(ends):
            at = wanted - first
            begin = ends[at - 1] + 1 if at else 0
            yield block.data[begin : ends[at]].removesuffix(b"\r").decode(errors="replace")
            wanted = next(numbers, None)
        first += len(ends)


def _all_wrapped(block: bytes, separator: bytes) -> bool:
    """Whether each field that holds a quote is enclosed by quotes and doubles those within."""
    at = block.find(b'"')
    while at >= 0:
        begin = max(block.rfind(separator, 0, at), block.rfind(b"\n", 0, at)) + 1
        line_end = block.find(b"\n", at)
        end = block.find(separator, at, line_end)
        end = line_end if end < 0 else end
        if not WRAPPED.fullmatch(block, begin, end):
            return False
        at = block.find(b'"', end)
    return True
