"""The rows of a block of lines whose fields are not enclosed in quotes.

GBIF writes one record per line and encloses no field, even if it contains quotes. So a block is parsed as a whole;
only if something in it is irregular are its lines checked one by one.
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
from gbif_webdataset.read.row_batch import RowBatch, UnreadableLine
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.arrow import ROW_GROUP
from gbif_webdataset.terms.reasons import LineFault

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
        return is_large or len(self._unreadable) >= MAX_UNREADABLE

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
        numbers, good, unreadable = self._check_lines(data, first_line)
        self._unreadable += unreadable
        if not good:
            return
        data = b"".join(line + b"\n" for line in good).replace(b"\r", b" ").replace(b"\0", b" ")
        if not self._spans.add(data, len(good)):
            last_line = first_line + block.lines - 1
            raise ArchiveError(
                f"{self._name}, lines {first_line} to {last_line}: cannot be parsed; report this as a bug"
            )
        self._add_numbers(np.array(numbers))

    def take_batch(self) -> RowBatch:
        """The rows and unreadable lines of the blocks added since the last call."""
        rows = arrow.make_empty_table(self._schema)
        if self._rows:
            columns = self._spans.take_columns()
            numbers = arrow.to_array(np.concatenate(self._numbers))
            rows = pa.table([numbers, *(columns[index] for index in self._indexes.values())], schema=self._schema)
        batch = RowBatch(rows, self._unreadable)
        self._start_batch()
        return batch

    def _start_batch(self) -> None:
        self._numbers: list[np.ndarray[Any, Any]] = []
        self._unreadable: list[UnreadableLine] = []
        self._rows = self._bytes = 0

    def _add_numbers(self, numbers: "np.ndarray[Any, Any]") -> None:
        self._numbers.append(numbers)
        self._rows += len(numbers)

    def _check_lines(self, data: bytes, first_line: int) -> tuple[list[int], list[bytes], list[UnreadableLine]]:
        """The lines without a fault, with their numbers; and the others."""
        numbers, good, unreadable = [], [], []
        for number, line in enumerate(data.split(b"\n")[:-1], first_line):
            if fault := self._find_fault(line):
                unreadable.append(UnreadableLine(number, fault, line.decode(errors="replace")))
            else:
                numbers.append(number)
                good.append(line)
        return numbers, good, unreadable

    def _find_fault(self, line: bytes) -> LineFault | None:
        """Why a line gives no row; the same faults for which SpanReader refuses a block."""
        separator = self._separator
        if not line.strip(separator):
            return LineFault.BLANK_LINE
        if line.count(separator) + 1 != self._fields:
            return LineFault.RAGGED_LINE if line.strip() else LineFault.BLANK_LINE
        fields = line.split(separator)
        try:
            for index in self._indexes.values():
                fields[index].decode()
        except UnicodeDecodeError:
            return LineFault.INVALID_TEXT
        return None


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
