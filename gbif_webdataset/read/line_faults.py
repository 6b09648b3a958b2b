"""The lines of a block that give no row. NumPy finds them, because a small archive may have millions of them."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from gbif_webdataset.read.field_spans import LF
from gbif_webdataset.read.media_decisions import Numbers
from gbif_webdataset.read.row_batch import UNREADABLE
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.reasons import LineFault

CODES = ("", LineFault.BLANK_LINE, LineFault.RAGGED_LINE, LineFault.INVALID_TEXT)
NO_FAULT, BLANK, RAGGED, INVALID = range(4)
IS_VISIBLE = np.array([not bytes([value]).isspace() for value in range(256)])
"""For each byte whether it is not white space."""


class CheckedLines:
    """Lines, each ended by LF, that should have `fields` fields.

    A line is blank if it has only separators, or another number of fields and only white space.
    """

    def __init__(self, data: bytes, separator: bytes, fields: int) -> None:
        self._text, self._separator = np.frombuffer(data, np.uint8), separator
        ends = np.flatnonzero(self._text == LF)
        self._sizes = np.diff(ends, prepend=-1)
        starts = ends + 1 - self._sizes
        separators = np.add.reduceat(self._text == separator[0], starts, dtype=np.int64)
        has_fields = separators + 1 == fields
        is_visible = np.logical_or.reduceat(IS_VISIBLE[self._text], starts)
        is_blank = (self._sizes - 1 == separators) | ~(has_fields | is_visible)
        self._faults = np.where(is_blank, BLANK, np.where(has_fields, NO_FAULT, RAGGED))

    @property
    def good(self) -> Numbers:
        """The positions of the lines without a fault."""
        return np.flatnonzero(self._faults == NO_FAULT)

    def take_good(self) -> bytes:
        """The lines without a fault."""
        return self._select(self._faults == NO_FAULT)

    def reject_invalid_texts(self, columns: Collection[int]) -> None:
        """From now on, a line of which one of these columns is not UTF-8 has a fault."""
        for position, line in zip(self.good, self.take_good().split(b"\n"), strict=False):  # the last piece is empty
            fields = line.split(self._separator)
            try:
                self._separator.join(fields[column] for column in columns).decode()
            except UnicodeDecodeError:
                self._faults[position] = INVALID

    def take_faulty(self, first_line: int) -> pa.Table:
        """The lines with a fault, with the schema UNREADABLE. `first_line` is the number of the first line."""
        is_faulty = self._faults != NO_FAULT
        codes = arrow.to_text_array(CODES).take(arrow.to_array(self._faults[is_faulty]))
        numbers = arrow.to_array(np.flatnonzero(is_faulty) + first_line)
        texts = _split_lines(self._select(is_faulty).decode(errors="replace").encode())
        return pa.table([numbers, codes, texts], schema=UNREADABLE)

    def _select(self, is_selected: Numbers) -> bytes:
        return bytes(self._text[np.repeat(is_selected, self._sizes)])


def _split_lines(data: bytes) -> pa.Array:
    """The texts of lines without their LF."""
    text = np.frombuffer(data, np.uint8)
    sizes = np.diff(np.flatnonzero(text == LF), prepend=-1) - 1
    offsets = pa.py_buffer(np.append(0, np.cumsum(sizes)).astype(np.int32))
    return pa.StringArray.from_buffers(len(sizes), offsets, pa.py_buffer(text[text != LF]))
