"""What a row reader gives: rows, and lines that are not rows."""

from dataclasses import dataclass

import pyarrow as pa

from gbif_webdataset.terms.reasons import LineFault


@dataclass(frozen=True)
class UnreadableLine:
    """A line that gives no row. `line` is its number in the file, counted from 1; `raw` is its text."""

    line: int
    fault: LineFault
    raw: str


@dataclass(frozen=True)
class RowBatch:
    """Rows of a data file, and the unreadable lines between and after them."""

    rows: pa.Table
    unreadable: list[UnreadableLine]
