"""The rows of a data file. Every line gives a row or an unreadable line; none is lost."""

from collections.abc import Callable, Iterator
from typing import IO

import pyarrow as pa

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.columns import LINE, ColumnSelection
from gbif_webdataset.read.enclosed_records import EnclosedFile, EnclosedRecord
from gbif_webdataset.read.line_blocks import LineBlock, read_line_blocks
from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.read.plain_block import BlockParser, count_fields, is_wrapped
from gbif_webdataset.read.row_batch import RowBatch, UnreadableLine
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.reasons import LineFault

MAX_COLUMNS = 10_000
BATCH_RECORDS, BATCH_CHARACTERS = 20_000, 64 << 20  # of files with enclosed fields


class RowReader:
    """Reads a data file once, in batches with the columns LINE (int64) and those of `columns`.

    Attributes:
        lines: data lines read so far, unreadable ones included.
        has_quotes: whether a plain file has a double quote in a field.
        has_raw_quotes: whether one of these fields is not enclosed in quotes, so that the file is not in the dialect
            of GBIF's small downloads, which wraps every field that contains a quote.
    """

    def __init__(self, name: str, layout: FileLayout, columns: ColumnSelection) -> None:
        self.schema = pa.schema([(LINE, pa.int64()), *columns.schema])
        self.lines = 0
        self.has_quotes = self.has_raw_quotes = False
        self._name, self._layout, self._indexes = name, layout, columns.indexes
        self._fields = 0  # of each line; 0 until a line is found that is not blank
        self._parser: BlockParser | None = None

    def read(self, file: IO[bytes], progress: Callable[[int], None]) -> Iterator[RowBatch]:
        """The rows of `file`. `progress` is called with the number of bytes read since the last call.

        Raises:
            ArchiveError: a line is too long, or the file lacks a column that meta.xml promises.
        """
        if self._layout.quote:
            yield from self._read_enclosed(EnclosedFile(self._name, file, self._layout, progress))
        else:
            blocks = read_line_blocks(self._name, file, self._layout.encoding, progress)
            yield from map(self._parse_block, self._skip_header(blocks))

    def _skip_header(self, blocks: Iterator[LineBlock]) -> Iterator[LineBlock]:
        header = self._layout.header_lines
        for block in blocks:
            if header:
                count = min(header, block.lines)
                last_line, block = block.skip_lines(count)
                self._fields = count_fields(last_line, self._layout.separator)
                header -= count
            if block.lines:
                yield block

    def _parse_block(self, block: LineBlock) -> RowBatch:
        first_line = self._layout.header_lines + self.lines + 1
        self.lines += block.lines
        if not self._fields:
            first_row = next((line for line in block.data.split(b"\n") if line.strip()), b"")
            self._fields = count_fields(first_row, self._layout.separator)
            self._parser = None
        if self._parser is None:
            self._check_columns()
            self._parser = BlockParser(self._name, self._layout.separator, self._fields, self._indexes, self.schema)
        if block.has_quotes and not self.has_raw_quotes:
            self.has_quotes = True
            self.has_raw_quotes = not is_wrapped(block.data, self._layout.separator.encode())
        return self._parser.parse(block, first_line)

    def _check_columns(self) -> None:
        """Raise ArchiveError if the file has too many columns, or lacks one that meta.xml promises."""
        if self._fields > MAX_COLUMNS:
            raise ArchiveError(
                f"{self._name}: has {self._fields:,} columns, but this tool reads at most {MAX_COLUMNS:,}; download "
                "the archive again, or inform its publisher"
            )
        for name, index in self._indexes.items():
            if 0 < self._fields <= index:
                raise ArchiveError(
                    f"{self._name}: has {self._fields} columns, but in meta.xml {name} is column {index + 1}; "
                    "download the archive again, or inform its publisher"
                )

    def _read_enclosed(self, source: EnclosedFile) -> Iterator[RowBatch]:
        rows: list[tuple[int | str | None, ...]] = []
        unreadable: list[UnreadableLine] = []
        characters = 0
        for record in source.read_records():
            self.lines += 1
            if not self._fields and record.raw.strip():
                self._fields = source.count_header_fields() or len(record.fields)
                self._check_columns()
            if fault := self._find_fault(record):
                raw = record.raw.encode(errors="replace").decode()
                unreadable.append(UnreadableLine(record.line, fault, raw))
            else:
                rows.append((record.line, *(record.fields[index] or None for index in self._indexes.values())))
            characters += len(record.raw)
            if len(rows) + len(unreadable) == BATCH_RECORDS or characters > BATCH_CHARACTERS:
                yield RowBatch(self._make_table(rows), unreadable)
                rows, unreadable, characters = [], [], 0
        if rows or unreadable:
            yield RowBatch(self._make_table(rows), unreadable)

    def _find_fault(self, record: EnclosedRecord) -> LineFault | None:
        if not record.raw.strip():
            return LineFault.BLANK_LINE
        if len(record.fields) != self._fields:
            return LineFault.RAGGED_LINE
        try:
            for index in self._indexes.values():
                record.fields[index].encode()
        except UnicodeEncodeError:
            return LineFault.INVALID_TEXT
        return None

    def _make_table(self, rows: list[tuple[int | str | None, ...]]) -> pa.Table:
        if not rows:
            return self.schema.empty_table()
        columns = zip(*rows, strict=True)
        arrays = [arrow.to_typed_array(values, field.type) for values, field in zip(columns, self.schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self.schema)
