"""The text of single lines of a data file, from a second reading."""

from collections.abc import Iterator
from typing import IO

import numpy as np

from gbif_webdataset.read.enclosed_records import EnclosedFile
from gbif_webdataset.read.line_blocks import read_line_blocks
from gbif_webdataset.read.meta_xml import FileLayout


def read_raw_lines(name: str, file: IO[bytes], layout: FileLayout, numbers: Iterator[int]) -> Iterator[str]:
    """The text of the lines with these numbers, counted from 1, in ascending order.

    If fields may be enclosed, the number is that of a record's first line, and the text is the whole record.
    """
    number = next(numbers, None)
    if layout.quote:
        for record in EnclosedFile(name, file, layout, ignore_progress).read_records():
            if record.line == number:
                yield record.raw.encode(errors="replace").decode()
                number = next(numbers, None)
        return
    first_line = 1
    for block in read_line_blocks(name, file, layout.encoding, ignore_progress):
        ends = np.flatnonzero(np.frombuffer(block.data, np.uint8) == ord("\n"))
        while number is not None and number - first_line < len(ends):
            index = number - first_line
            begin = ends[index - 1] + 1 if index else 0
            yield block.data[begin : ends[index]].removesuffix(b"\r").decode(errors="replace")
            number = next(numbers, None)
        first_line += len(ends)


def ignore_progress(count: int) -> None:
    """Reports nothing."""
