"""What a row reader gives: rows, and lines that are not rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gbif_webdataset.storage import arrow

UNREADABLE = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])
"""Lines that give no row: the number of a line in its file, counted from 1; a code of LineFault; the line's text."""


@dataclass(frozen=True)
class RowBatch:
    """Rows of a data file, and the unreadable lines between and after them, with the schema UNREADABLE."""

    rows: pa.Table
    unreadable: pa.Table


def make_unreadable(lines: Sequence[tuple[int, str, str]]) -> pa.Table:
    """Unreadable lines, each with its number, reason and text, as a table."""
    numbers = arrow.to_array(np.array([number for number, _, _ in lines], np.int64))
    reasons = arrow.to_text_array([reason for _, reason, _ in lines])
    return pa.table([numbers, reasons, arrow.to_text_array([text for _, _, text in lines])], schema=UNREADABLE)
