"""Which records of several archives are the same occurrence.

GBIF's downloads have one id for an occurrence, gbifID. In other archives the same occurrence is found by its
datasetKey together with its occurrenceID, because their ids are unique within an archive only.
"""

from collections.abc import Iterable, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import RECORD_ID, SPACE, ColumnSelection
from gbif_webdataset.read.dwca import Archive
from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.read.raw_lines import ignore_progress
from gbif_webdataset.read.row_reader import RowReader
from gbif_webdataset.read.text_encodings import get_codec
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.tables import quote_name, quote_text

GBIF_ID, KEYS = "gbifID", ("datasetKey", "occurrenceID")
MAX_HEADER_BYTES = 1 << 16
OF_GBIF = 0
"""The space of GBIF's ids. Every other archive has a space of its own, in which its ids are unique."""
CREATE = """CREATE TABLE occurrence_keys (space INT, archive INT, id VARCHAR, key VARCHAR);
    CREATE TABLE same_occurrences (space INT, id VARCHAR, first_space INT, first_id VARCHAR)"""
# An id that an archive has twice, and a key that one archive has for several ids, say nothing.
FIND_SAME = """INSERT INTO same_occurrences
    WITH occurrences AS (
        SELECT space, id, min(archive) AS archive, arg_min(key, archive) AS key FROM occurrence_keys
        GROUP BY space, id HAVING count(*) = count(DISTINCT archive)),
    distinct_keys AS (
        SELECT * FROM occurrences QUALIFY archive = min(archive) OVER (PARTITION BY space, key)
        AND count(*) OVER (PARTITION BY space, key, archive) = 1)
    SELECT space, id, first_value(space) OVER by_key AS first_space, first_value(id) OVER by_key AS first_id
    FROM distinct_keys WINDOW by_key AS (PARTITION BY key ORDER BY archive) QUALIFY space <> first_space"""
RESOLVE = """SELECT coalesce(first_id, ids.id) AS id, coalesce(first_space, {space}) AS space
    FROM ids LEFT JOIN same_occurrences same ON same.space = {space} AND same.id = unwrap_id(ids.id) ORDER BY row"""


class SameOccurrences:
    """Gives rows the id that the first archive has for their occurrence. `archives` are in the order of preference."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, archives: Sequence[Archive]) -> None:
        self._connection, self._archives = connection, archives
        self._spaces = [
            OF_GBIF if has_gbif_ids(archive) else number for number, archive in enumerate(archives, OF_GBIF + 1)
        ]
        self._changed: set[int] = set()

    def read(self) -> list[str]:
        """Read the keys of all records, unless all ids are GBIF's; notes on archives without keys."""
        others = [number for number, space in enumerate(self._spaces) if space != OF_GBIF]
        with_keys = [number for number in others if _has_keys(self._archives[number])]
        notes = [
            f"{self._archives[number].label}: has no columns datasetKey and occurrenceID, so its occurrences cannot be "
            "compared with those of other archives; an occurrence that another archive has, too, counts twice"
            for number in others
            if number not in with_keys
        ]
        of_gbif = [number for number, space in enumerate(self._spaces) if space == OF_GBIF]
        if len(with_keys) > 1 or (with_keys and of_gbif):
            self._connection.execute(CREATE)
            self._read_keys(with_keys, "key IS NOT NULL")
            is_elsewhere = f"key IN (SELECT key FROM occurrence_keys WHERE space <> {OF_GBIF})"
            self._read_keys([number for number in of_gbif if _has_keys(self._archives[number])], is_elsewhere)
            self._connection.execute(FIND_SAME)
            self._connection.execute("DROP TABLE occurrence_keys")
            changed = self._connection.execute("SELECT DISTINCT space FROM same_occurrences").fetchall()
            self._changed = {space for (space,) in changed}
        return notes

    def resolve(self, archive: int, rows: pa.Table) -> pa.Table:
        """Rows of an archive with the column SPACE, and the ids of occurrences that an earlier archive has, too."""
        space = self._spaces[archive]
        if space not in self._changed:
            return rows.append_column(SPACE, arrow.to_array(np.full(rows.num_rows, space, np.int32)))
        ids = rows.column(RECORD_ID)
        self._connection.register("ids", pa.table([ids, arrow.to_array(np.arange(len(ids)))], ["id", "row"]))
        resolved = self._connection.sql(RESOLVE.format(space=space)).to_arrow_table()
        rows = rows.set_column(rows.column_names.index(RECORD_ID), RECORD_ID, resolved.column("id"))
        return rows.append_column(SPACE, resolved.column("space"))

    def _read_keys(self, numbers: Iterable[int], condition: str) -> None:
        for number in numbers:
            archive = self._archives[number]
            selection = ColumnSelection.from_layout(archive.records, KEYS)
            values = [f"unwrap_id({quote_name(RECORD_ID)}) AS id", f"{_join_keys(selection)} AS key"]
            query = f"SELECT {self._spaces[number]}, {number}, * FROM (SELECT {', '.join(values)} FROM batch)"
            for location in archive.records.locations:
                with archive.open(location) as file, dwca.report_decoding(location, archive.records):
                    for batch in RowReader(location, archive.records, selection).read(file, ignore_progress):
                        self._connection.register("batch", batch.rows)
                        self._connection.execute(
                            f"INSERT INTO occurrence_keys {query} WHERE id IS NOT NULL AND {condition}"
                        )


def has_gbif_ids(archive: Archive) -> bool:
    """Whether the ids of an archive's records are GBIF's: their column has this term or, without a term, this name."""
    records = archive.records
    terms = [column.name for column in records.columns if column.index == records.id_index]
    return GBIF_ID in (terms or _read_header(archive, records)[records.id_index : records.id_index + 1])


def _read_header(archive: Archive, layout: FileLayout) -> list[str]:
    """The names of columns in the header line of a file; empty without one."""
    if not layout.header_lines:
        return []
    with archive.open(layout.locations[0]) as file:
        line = file.readline(MAX_HEADER_BYTES).decode(get_codec(layout.encoding), "replace")
    return [name.strip(' "') for name in line.strip("\ufeff\r\n").split(layout.separator)]


def _has_keys(archive: Archive) -> bool:
    return all(archive.records.find_column(name) for name in KEYS)


def _join_keys(selection: ColumnSelection) -> str:
    """SQL of both keys as one text; null if one of them is not known."""
    values = []
    for name in KEYS:
        stated = f"nullif(unwrap_id({quote_name(name)}), '')" if name in selection.indexes else "NULL"
        default = selection.defaults.get(name)
        values.append(f"coalesce({stated}, {quote_text(default)})" if default else stated)
    return " || chr(31) || ".join(values)
