"""The rows of a block of lines whose fields are not enclosed in quotes.

GBIF writes one record per line and encloses no field, even if it contains quotes. So a block is parsed as a whole;
only if something in it is irregular are its lines checked.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.columns import RECORD_ID
from gbif_webdataset.read.field_spans import SpanReader
from gbif_webdataset.read.line_blocks import LineBlock
from gbif_webdataset.read.line_faults import CheckedLines
from gbif_webdataset.read.row_batch import UNREADABLE, RowBatch
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.arrow import ROW_GROUP

WRAPPED_FIELD = re.compile(rb'"(?:[^"]|"")*"\r?')
BATCH_BYTES = 96 << 20
MAX_UNREADABLE = 10_000  # lines of a batch, whose text is kept


class BlockParser:
    """Collects the rows of blocks of a file whose lines have `fields` fields; 0 if all lines so far are blank.

    `indexes` are the positions of the columns to read, by name; `schema` has LINE and these columns.
    """

    def __init__(self, name: str, separator: str, fields: int, indexes: Mapping[str, int], schema: pa.Schema) -> None:
        self._name, self._fields, self._indexes, self._schema = name, fields, indexes, schema
        self._separator = separator.encode()
        types = {index: schema.field(name).type for name, index in indexes.items()}
        self._spans = SpanReader(self._separator, fields, types)
        self._start_batch()

    @property
    def is_full(self) -> bool:
        """Whether the rows are enough for a batch."""
        is_large = self._rows >= ROW_GROUP or self._bytes >= BATCH_BYTES
        return is_large or sum(lines.num_rows for lines in self._unreadable) >= MAX_UNREADABLE

    def add(self, block: LineBlock, first_line: int) -> None:
        """Add a block. `first_line` is the number of its first line in the file."""
        data, is_irregular = block.data, block.is_irregular
        if is_irregular and b"\r\n" in data:
            data = data.replace(b"\r\n", b"\n")
            is_irregular = b"\r" in data or b"\0" in data
        self._bytes += len(data)
        if self._fields and not is_irregular and self._spans.add(data, block.lines, self._indexes[RECORD_ID]):
            self._add_numbers(np.arange(first_line, first_line + block.lines))
            return
        lines = CheckedLines(data, self._separator, self._fields)
        if not self._add_good(lines, first_line):
            lines.reject_invalid_texts(self._indexes.values())
            if not self._add_good(lines, first_line):
                last_line = first_line + block.lines - 1
                raise ArchiveError(
                    f"{self._name}, lines {first_line} to {last_line}: cannot be parsed; report this as a bug"
                )
        self._unreadable.append(lines.take_faulty(first_line))

    def take_batch(self) -> RowBatch:
        """The rows and unreadable lines of the blocks added since the last call."""
        rows = arrow.make_empty_table(self._schema)
        if self._rows:
            columns = self._spans.take_columns()
            numbers = arrow.to_array(np.concatenate(self._numbers))
            rows = pa.table([numbers, *(columns[index] for index in self._indexes.values())], schema=self._schema)
        batch = RowBatch(rows, pa.concat_tables([arrow.make_empty_table(UNREADABLE), *self._unreadable]))
        self._start_batch()
        return batch

    def _start_batch(self) -> None:
        self._numbers: list[np.ndarray[Any, Any]] = []
        self._unreadable: list[pa.Table] = []
        self._rows = self._bytes = 0

    def _add_numbers(self, numbers: "np.ndarray[Any, Any]") -> None:
        self._numbers.append(numbers)
        self._rows += len(numbers)

    def _add_good(self, lines: CheckedLines, first_line: int) -> bool:
        """Add the lines without a fault. False, and nothing is added, if one of them is not UTF-8."""
        good = lines.good
        data = lines.take_good().replace(b"\r", b" ").replace(b"\0", b" ")
        is_added = not len(good) or self._spans.add(data, len(good))
        if is_added:
            self._add_numbers(good + first_line)
        return is_added


def is_wrapped(data: bytes, separator: bytes) -> bool:
    """Whether every field that contains a quote is enclosed in quotes, with the inner quotes doubled."""
    at = data.find(b'"')
    while at >= 0:
        begin = max(data.rfind(separator, 0, at), data.rfind(b"\n", 0, at)) + 1
        line_end = data.find(b"\n", at)
        end = data.find(separator, at, line_end)
        end = line_end if end < 0 else end
        if not WRAPPED_FIELD.fullmatch(data, begin, end):
            return False
        at = data.find(b'"', end)
    return True


def count_fields(line: bytes, separator: str) -> int:
    """The number of fields of a line; 0 if it is blank."""
    return line.count(separator.encode()) + 1 if line.strip() else 0
