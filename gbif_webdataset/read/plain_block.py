"""The rows of a block of lines whose fields are not enclosed in quotes.

GBIF writes one record per line and encloses no field, even if it contains quotes. So a block is parsed as a whole;
only if something in it is irregular are its lines checked one by one.
"""

import codecs
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.columns import LINE, RECORD_ID
from gbif_webdataset.read.line_blocks import LineBlock
from gbif_webdataset.read.row_batch import RowBatch, UnreadableLine
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.reasons import LineFault

PARSE_BYTES = 1 << 20
WRAPPED_FIELD = re.compile(rb'"(?:[^"]|"")*"\r?')


class BlockParser:
    """Parses the blocks of a file whose lines have `fields` fields; 0 if all lines so far are blank.

    `indexes` are the positions of the columns to read, by name; `schema` has LINE and these columns.
    """

    def __init__(self, name: str, separator: str, fields: int, indexes: Mapping[str, int], schema: pa.Schema) -> None:
        self._name, self._fields, self._indexes, self._schema = name, fields, indexes, schema
        self._separator = separator
        self._names = [f"f{index}" for index in range(fields)]
        self._types = {f"f{index}": schema.field(name).type for name, index in indexes.items()}

    def parse(self, block: LineBlock, first_line: int) -> RowBatch:
        """The rows of a block, and its unreadable lines. `first_line` is the number of its first line in the file."""
        data, is_irregular = block.data, block.is_irregular
        if is_irregular and b"\r\n" in data:
            data = data.replace(b"\r\n", b"\n")
            is_irregular = b"\r" in data or b"\0" in data
        table = None if is_irregular or not self._fields else self._parse_csv(data)
        if table is not None and table.num_rows == block.lines and not table.column(RECORD_ID).null_count:
            return RowBatch(_add_numbers(table, np.arange(first_line, first_line + block.lines)), [])
        numbers, good, unreadable = self._check_lines(data, first_line)
        if not good:
            return RowBatch(self._schema.empty_table(), unreadable)
        data = b"".join(line + b"\n" for line in good)
        table = self._parse_csv(data.replace(b"\r", b" ").replace(b"\0", b" "), len(data))
        if table is None or table.num_rows != len(good):
            last_line = first_line + block.lines - 1
            raise ArchiveError(
                f"{self._name}, lines {first_line} to {last_line}: cannot be parsed; report this as a bug"
            )
        return RowBatch(_add_numbers(table, np.array(numbers)), unreadable)

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
        """Why a line gives no row; the same faults for which pyarrow refuses a block."""
        separator = self._separator.encode()
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

    def _parse_csv(self, data: bytes, max_line_bytes: int = 0) -> pa.Table | None:
        """The columns to read of lines of up to `max_line_bytes`; None if pyarrow finds a fault in a line."""
        if data.startswith(codecs.BOM_UTF8):
            data = codecs.BOM_UTF8 + data  # pyarrow removes one; the file's own has been removed before
        block_size = max(PARSE_BYTES, data.find(b"\n") * 4, max_line_bytes)
        try:
            table = pyarrow.csv.read_csv(
                pa.py_buffer(data),
                read_options=pyarrow.csv.ReadOptions(column_names=self._names, block_size=block_size),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self._separator,
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
        columns = [table.column(f"f{index}") for index in self._indexes.values()]
        return pa.table(columns, names=list(self._indexes))


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


def _add_numbers(table: pa.Table, numbers: "np.ndarray[Any, Any]") -> pa.Table:
    return table.add_column(0, LINE, arrow.to_array(numbers))
