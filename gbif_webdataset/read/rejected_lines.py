"""The lines of an archive that give no row of the manifest, each with its reason."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import FILE, LINE, RECORD_ID, trim_texts
from gbif_webdataset.read.dwca import MEDIA, RECORDS, Archive
from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.read.raw_lines import read_raw_lines
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.tables import quote_text
from gbif_webdataset.terms import columns

CREATE = """CREATE TABLE rejected
    (kind VARCHAR, file_number INT, line BIGINT, reason VARCHAR, coreid VARCHAR, identifier VARCHAR, raw VARCHAR)"""
ROW_COLUMNS = ["file_number", "line", "reason", "coreid", "identifier"]
SCHEMA = pa.schema([(name, pa.int64() if kind == columns.INT64 else pa.string()) for name, kind, _ in columns.REJECTED])

FEW_ROWS = 8_192
"""Rows whose lines are in memory at a time."""


class RejectedLines:
    """The rejected lines, in a table of a database. `kind` is MEDIA or RECORDS.

    Files are numbered through the archives, as `dwca.number_files` does.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        connection.execute(CREATE)

    def add_unreadable(self, kind: str, file_number: int, lines: pa.Table) -> None:
        """Add lines of one file that give no row, with the schema UNREADABLE."""
        self._connection.register("unreadable", lines)
        query = f"SELECT '{kind}', {file_number}, line, reason, NULL, NULL, raw FROM unreadable"
        self._connection.execute(f"INSERT INTO rejected {query}")

    def add_rows(self, kind: str, rows: pa.Table, reasons: pa.Array, urls: pa.Array) -> None:
        """Add rows with FILE, LINE and RECORD_ID, each with its reason and URL."""
        ids = trim_texts(rows.column(RECORD_ID))
        table = pa.table([rows.column(FILE), rows.column(LINE), reasons, ids, urls], ROW_COLUMNS)
        self._connection.register("rejected_rows", table)
        self._connection.execute(f"INSERT INTO rejected SELECT '{kind}', *, NULL FROM rejected_rows")

    def add_records(self, rows: pa.Table, reason: str) -> None:
        """Add records, all with the same reason."""
        reasons = arrow.to_text_array([reason] * rows.num_rows)
        self.add_rows(RECORDS, rows, reasons, pa.nulls(rows.num_rows, pa.string()))

    def clear(self) -> None:
        """Remove all lines."""
        self._connection.execute("DELETE FROM rejected")

    def count(self) -> dict[str, dict[str, int]]:
        """The number of lines by kind and reason, the most frequent reason first."""
        counts: dict[str, dict[str, int]] = {MEDIA: {}, RECORDS: {}}
        query = "SELECT kind, reason, count(*) FROM rejected GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
        for kind, reason, count in tables.fetch_rows(self._connection, query):
            counts[kind][reason] = count
        return counts

    def write(self, path: Path, archives: Sequence[Archive]) -> None:
        """Write rejected.parquet, by file and line. Files with rejected lines are read again for their text.

        Of several archives many lines may be rejected, and lines of records are long, so row groups are small.
        """
        first_files = zip(archives, dwca.number_files(archives), strict=True)
        batches = (batch for archive, first in first_files for batch in self._select_batches(archive, first))
        arrow.write_parquet(batches, path, SCHEMA, arrow.ROW_GROUP if len(archives) == 1 else FEW_ROWS)

    def _select_batches(self, archive: Archive, first_file: int) -> Iterator[pa.RecordBatch]:
        for kind, layout in archive.layouts.items():
            for file_number, location in enumerate(layout.locations, first_file):
                source = f"FROM rejected WHERE kind = '{kind}' AND file_number = {file_number}"
                query = f"SELECT line {source} AND raw IS NULL ORDER BY line"
                cursor = self._connection.cursor().execute(query)
                numbers = (number for (number,) in iter(cursor.fetchone, None))
                raw_lines = _read_raw_lines(archive, location, layout, numbers)
                file = f"{quote_text(archive.label_file(kind, location))} AS file"
                query = f"SELECT {file}, line, reason, coreid, identifier, raw {source} ORDER BY line, identifier"
                for batch in tables.select_batches(self._connection.cursor(), query):
                    for begin in range(0, batch.num_rows, FEW_ROWS):
                        yield _fill_raw(batch.slice(begin, FEW_ROWS), raw_lines)


def _fill_raw(batch: pa.RecordBatch, raw_lines: Iterator[str]) -> pa.RecordBatch:
    """The same rows with the next of the raw lines where they have none."""
    raw = batch.column("raw")
    if raw.null_count:
        raw = arrow.to_text_array([next(raw_lines) if text is None else text for text in raw.to_pylist()])
    return pa.RecordBatch.from_arrays([*batch.columns[:-1], raw], schema=SCHEMA)


def _read_raw_lines(archive: Archive, location: str, layout: FileLayout, numbers: Iterator[int]) -> Iterator[str]:
    """The text of lines of a file of the archive, which is opened for the first of them."""
    with archive.open(location) as file:
        yield from read_raw_lines(location, file, layout, numbers)
