"""The rows of a data file. Every line gives a row or an unreadable line; none is lost."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import pyarrow as pa

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.columns import LINE, ColumnSelection
from gbif_webdataset.read.enclosed_records import EnclosedFile, EnclosedRecord
from gbif_webdataset.read.line_blocks import LineBlock, read_line_blocks
from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.read.plain_block import BlockParser, count_fields, is_wrapped
from gbif_webdataset.read.row_batch import RowBatch, make_unreadable
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.reasons import LineFault

MAX_COLUMNS = 10_000
SAMPLED_LINES, SAMPLED_CHARACTERS = 1_000, 1 << 20  # from which the number of columns is taken
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
        self._header = b""
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
            yield from self._parse_blocks(self._skip_header(blocks))

    def _skip_header(self, blocks: Iterator[LineBlock]) -> Iterator[LineBlock]:
        header = self._layout.header_lines
        for block in blocks:
            if header:
                count = min(header, block.lines)
                self._header, block = block.skip_lines(count)
                header -= count
            if block.lines:
                yield block

    def _parse_blocks(self, blocks: Iterator[LineBlock]) -> Iterator[RowBatch]:
        for block in blocks:
            first_line = self._layout.header_lines + self.lines + 1
            self.lines += block.lines
            if block.has_quotes and not self.has_raw_quotes:
                self.has_quotes = True
                self.has_raw_quotes = not is_wrapped(block.data, self._layout.separator.encode())
            if not self._fields:
                separator = self._layout.separator.encode()
                lines = (line.split(separator) for line in block.data.split(b"\n", SAMPLED_LINES) if line.strip())
                self._fields = self._count_columns(count_fields(self._header, self._layout.separator), list(lines))
                if self._parser:
                    yield self._parser.take_batch()
                self._parser = None
            if self._parser is None:
                self._check_columns()
                self._parser = BlockParser(self._name, self._layout.separator, self._fields, self._indexes, self.schema)
            self._parser.add(block, first_line)
            if self._parser.is_full:
                yield self._parser.take_batch()
        if self._parser:
            yield self._parser.take_batch()

    def _count_columns(self, in_header: int, lines: Sequence[Sequence[str | bytes]]) -> int:
        """The number of columns: that of the header, or of the first line if there is none, unless no line has it.

        Some headers end in a separator, or lack a column. Then it is the most frequent number of fields with which
        lines have every column of meta.xml; fields beyond the header and meta.xml have to be empty.
        """
        if not lines:
            return in_header
        in_header = in_header or len(lines[0])
        counts = Counter(map(len, lines))
        named = max(in_header, self._layout.width)
        if in_header not in counts:
            for count, _ in counts.most_common():
                is_named = not any(any(fields[named:]) for fields in lines if len(fields) == count)
                if self._layout.width <= count and is_named:
                    return count
        return in_header

    def _check_columns(self) -> None:
        """Raise ArchiveError if the file has too many columns, or lacks one that meta.xml promises."""
        if self._fields > MAX_COLUMNS:
            raise ArchiveError(
                f"{self._name}: has {self._fields:,} columns, but this tool reads at most {MAX_COLUMNS:,}; inform the "
                "publisher, or convert the file"
            )
        for name, index in self._indexes.items():
            if 0 < self._fields <= index:
                raise ArchiveError(
                    f"{self._name}: has {self._fields} columns, but in meta.xml {name} is column {index + 1}; "
                    "correct meta.xml, or inform the publisher"
                )

    def _read_enclosed(self, source: EnclosedFile) -> Iterator[RowBatch]:
        rows: list[tuple[int | str | None, ...]] = []
        unreadable: list[tuple[int, str, str]] = []
        characters = 0
        records = source.read_records()
        sample = _take_records(records)
        lines = [record.fields for record in sample if record.raw.strip()]
        self._fields = self._count_columns(source.count_header_fields(), lines)
        self._check_columns()
        for record in itertools.chain(sample, records):
            self.lines += 1
            if fault := self._find_fault(record):
                raw = record.raw.encode(errors="replace").decode()
                unreadable.append((record.line, fault, raw))
            else:
                rows.append((record.line, *(record.fields[index] or None for index in self._indexes.values())))
            characters += len(record.raw)
            if len(rows) + len(unreadable) == BATCH_RECORDS or characters > BATCH_CHARACTERS:
                yield RowBatch(self._make_table(rows), make_unreadable(unreadable))
                rows, unreadable, characters = [], [], 0
        if rows or unreadable:
            yield RowBatch(self._make_table(rows), make_unreadable(unreadable))

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
            return arrow.make_empty_table(self.schema)
        columns = zip(*rows, strict=True)
        arrays = [arrow.to_typed_array(values, field.type) for values, field in zip(columns, self.schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def _take_records(records: Iterator[EnclosedRecord]) -> list[EnclosedRecord]:
    """The first records, from which the number of columns is taken."""
    taken: list[EnclosedRecord] = []
    characters = 0
    for record in records:
        taken.append(record)
        characters += len(record.raw)
        if len(taken) == SAMPLED_LINES or characters > SAMPLED_CHARACTERS:
            break
    return taken
