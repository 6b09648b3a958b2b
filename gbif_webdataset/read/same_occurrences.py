"""Which records of several archives are the same occurrence.

GBIF's downloads have one id for an occurrence, gbifID. In other archives the same occurrence is found by its
datasetKey together with its occurrenceID, because their ids are unique within an archive only.
"""

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import RECORD_ID, SPACE, ColumnSelection
from gbif_webdataset.read.dwca import Archive
from gbif_webdataset.read.id_pairs import IdPairs
from gbif_webdataset.read.key_groups import cut_at_groups, find_single_rows, pair_rows
from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.read.raw_lines import ignore_progress
from gbif_webdataset.read.row_reader import RowReader
from gbif_webdataset.read.text_encodings import get_codec
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.tables import fetch_rows, quote_name, quote_text, select_batches, spill_folder

GBIF_ID, KEYS = "gbifID", ("datasetKey", "occurrenceID")
MAX_HEADER_BYTES = 1 << 16
OF_GBIF = 0
"""The space of GBIF's ids. Every other archive has a space of its own, in which its ids are unique."""
# md5 tells all keys apart, and takes less memory than they do. Sorting takes linear time and little memory; joins and
# aggregates of millions of texts do not.
CREATE = """CREATE TABLE occurrence_keys (space INT, archive INT, id VARCHAR, key UHUGEINT);
    CREATE TABLE same_occurrences (space INT, id VARCHAR, first_space INT, first_id VARCHAR)"""
BY_ID = """SELECT hash(id) AS high, space::UBIGINT AS low, space, archive, rowid AS row FROM occurrence_keys
    ORDER BY high, low, archive"""
BY_KEY = f"""SELECT (key >> 64)::UBIGINT AS high, (key & {2**64 - 1})::UBIGINT AS low, space, archive, rowid AS row, id
    FROM occurrence_keys ORDER BY key, archive"""
BY_HASH = "SELECT hash(id) AS hash, * FROM same_occurrences ORDER BY hash"
HASH_IDS = "SELECT hash(unwrap_id(id)) AS hash, unwrap_id(id) AS id FROM ids"


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
        comparable = [number for number, archive in enumerate(self._archives) if _has_keys(archive)]
        if with_keys and len(comparable) > 1:
            self._connection.execute(CREATE)
            for number in comparable:
                self._read_keys(number)
            self._find_same()
            changed = self._connection.execute("SELECT DISTINCT space FROM same_occurrences").fetchall()
            self._changed = {space for (space,) in changed}
            path = spill_folder(self._connection) / "same-occurrences"
            self._pairs = IdPairs.write(path, select_batches(self._connection, BY_HASH))
            self._connection.execute("DROP TABLE occurrence_keys; DROP TABLE same_occurrences")
        return notes

    def resolve(self, archive: int, rows: pa.Table) -> pa.Table:
        """Rows of an archive with the column SPACE, and the ids of occurrences that an earlier archive has, too."""
        space = self._spaces[archive]
        spaces = np.full(rows.num_rows, space, np.int32)
        if space not in self._changed:
            return rows.append_column(SPACE, arrow.to_array(spaces))
        ids = rows.column(RECORD_ID)
        self._connection.register("ids", pa.table({"id": ids}))
        hashed = self._connection.sql(HASH_IDS).to_arrow_table()
        hashes = arrow.to_numpy(hashed.column("hash").combine_chunks())
        places, pairs = self._pairs.find(space, hashes, hashed.column("id"))
        spaces[places] = arrow.to_numpy(pairs.column("first_space").combine_chunks())
        is_changed = np.zeros(rows.num_rows, bool)
        is_changed[places] = True
        ids = pc.replace_with_mask(ids, arrow.to_array(is_changed), pairs.column("first_id").combine_chunks())
        rows = rows.set_column(rows.column_names.index(RECORD_ID), RECORD_ID, ids)
        return rows.append_column(SPACE, arrow.to_array(spaces))

    def _read_keys(self, number: int) -> None:
        archive = self._archives[number]
        selection = ColumnSelection.from_layout(archive.records, KEYS)
        values = [f"unwrap_id({quote_name(RECORD_ID)}) AS id", f"md5_number({_join_keys(selection)}) AS key"]
        query = f"SELECT {self._spaces[number]}, {number}, * FROM (SELECT {', '.join(values)} FROM batch)"
        for location in archive.records.locations:
            with archive.open(location) as file, dwca.report_decoding(location, archive.records):
                for batch in RowReader(location, archive.records, selection).read(file, ignore_progress):
                    self._connection.register("batch", batch.rows)
                    self._connection.execute(
                        f"INSERT INTO occurrence_keys {query} WHERE id IS NOT NULL AND key IS NOT NULL"
                    )

    def _find_same(self) -> None:
        """Fill the table same_occurrences.

        An id that an archive has twice, and a key that one archive has for several ids, say nothing.
        """
        [(count,)] = fetch_rows(self._connection, "SELECT count(*) FROM occurrence_keys")
        is_first = np.zeros(count, bool)
        for rows in cut_at_groups(select_batches(self._connection, BY_ID)):
            is_first[find_single_rows(rows)] = True
        by_key = (
            batch.filter(arrow.to_array(is_first[arrow.to_numpy(batch.column("row"))]))
            for batch in select_batches(self._connection, BY_KEY)
        )
        with self._connection.cursor() as writer:
            for rows in cut_at_groups(by_key):
                writer.register("pairs", pair_rows(rows))
                writer.execute("INSERT INTO same_occurrences SELECT * FROM pairs")


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
