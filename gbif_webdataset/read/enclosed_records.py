"""The records of a data file whose fields may be enclosed in quotes and contain line ends."""

import csv
import io
import itertools
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.line_blocks import MAX_LINE_BYTES
from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.read.text_encodings import get_codec

PROGRESS_CHARACTERS = 1 << 20


class EnclosedRecord(NamedTuple):
    """A record: the number of its first line, counted from 1; its text as in the file; and its fields."""

    line: int
    raw: str
    fields: list[str]


class EnclosedFile:
    """Reads the records of a file once.

    After the first record, `header` is the text of the last header line, whose quotes need not be balanced.
    """

    def __init__(self, name: str, file: IO[bytes], layout: FileLayout, progress: Callable[[int], None]) -> None:
        self.header = ""
        self._name, self._layout, self._progress = name, layout, progress
        codec = get_codec(layout.encoding)
        # Bytes that are not UTF-8 are kept as surrogates, so that the row reader can reject their records.
        errors = "surrogateescape" if codec.startswith("utf-8") else "replace"
        self._text = io.TextIOWrapper(file, codec, errors=errors, newline="")
        self._lines: list[str] = []
        self._record_characters = 0

    def read_records(self) -> Iterator[EnclosedRecord]:
        """The records after the header.

        Raises:
            ArchiveError: a record is longer than MAX_LINE_BYTES.
        """
        lines = self._read_lines()
        for line in itertools.islice(lines, self._layout.header_lines):
            self.header = line
            self._start_record()
        csv.field_size_limit(MAX_LINE_BYTES)
        records = csv.reader(lines, delimiter=self._layout.separator, quotechar=self._layout.quote, doublequote=True)
        first_line = self._layout.header_lines + 1
        for fields in records:
            yield EnclosedRecord(first_line, "".join(self._lines).rstrip("\r\n"), fields)
            self._start_record()
            first_line = self._layout.header_lines + records.line_num + 1

    def count_header_fields(self) -> int:
        """The number of fields in the last header line; 0 if it is blank."""
        line = self.header.strip("\r\n")
        separator, quote = self._layout.separator, self._layout.quote
        if line.count(quote) % 2:
            return line.count(separator) + 1
        return len(next(csv.reader([line], delimiter=separator, quotechar=quote), [])) if line.strip() else 0

    def _start_record(self) -> None:
        self._lines.clear()
        self._record_characters = 0

    def _read_lines(self) -> Iterator[str]:
        unreported, is_first = 0, True
        while line := self._text.readline(MAX_LINE_BYTES + 1):
            unreported += len(line)
            if unreported > PROGRESS_CHARACTERS:
                self._progress(unreported)
                unreported = 0
            self._record_characters += len(line)
            if self._record_characters > MAX_LINE_BYTES:
                raise ArchiveError(
                    f"{self._name}: a record is longer than {MAX_LINE_BYTES >> 20} MiB; correct the file, or inform "
                    "the publisher"
                )
            line, is_first = line.removeprefix("\ufeff") if is_first else line, False
            self._lines.append(line)
            yield line
        self._progress(unreported)
