"""Media that name their record by another key than its id: by its event, or by its occurrenceID."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import RECORD_ID, SEVERAL, ColumnSelection, cast_texts
from gbif_webdataset.read.dwca import Archive
from gbif_webdataset.read.event_keys import KEY
from gbif_webdataset.read.meta_xml import FileLayout
from gbif_webdataset.read.raw_lines import ignore_progress
from gbif_webdataset.read.record_slots import Truths
from gbif_webdataset.read.row_reader import RowReader
from gbif_webdataset.storage import arrow

CREATE = """CREATE TABLE occurrences (key VARCHAR, id VARCHAR); CREATE TABLE events (key VARCHAR, id VARCHAR);
    CREATE TABLE links (key VARCHAR, id VARCHAR, records BIGINT)"""
BY_KEY = "INSERT INTO links SELECT key, min(id), count(*) FROM occurrences GROUP BY key"
BY_EVENT = """INSERT INTO links SELECT events.id, min(occurrences.id), count(*)
    FROM events JOIN occurrences USING (key) GROUP BY events.id"""
BY_OCCURRENCE_ID = """INSERT INTO links SELECT key, min(id), count(*) FROM occurrences
    WHERE key NOT IN (SELECT id FROM occurrences WHERE id IS NOT NULL) GROUP BY key HAVING count(*) = 1"""
RESOLVE = """SELECT CASE WHEN records = 1 THEN links.id ELSE coalesce(media.id, media.key) END AS id,
        coalesce(records > 1, false) AS several
    FROM media LEFT JOIN links ON links.key = unwrap_id(media.key) ORDER BY media.row"""


class MediaLinker:
    """Gives media the id of their record. The records' keys are read in a pass of their own, if media need them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, archive: Archive) -> None:
        self._connection, self._archive = connection, archive
        self._has_links = False

    def link(self, media: pa.Table) -> pa.Table:
        """The media with the ids of their records, and the column SEVERAL if the archive is one of events.

        SEVERAL is true for a medium that names an event of several occurrences.
        """
        if self._archive.event_keys is None:
            return self._resolve(media, media.column(RECORD_ID)) if self._has_links else media
        ids = media.column(RECORD_ID)
        if KEY not in media.column_names:
            self._read_events()
            return self._resolve(media, ids)
        if not ids.null_count:
            return media.append_column(SEVERAL, pa.chunked_array([arrow.to_array(np.zeros(len(ids), bool))]))
        self._read_events()
        return self._resolve(media, pc.if_else(ids.is_null(), cast_texts(media.column(KEY), pa.string()), None))

    def find_occurrence_ids(
        self, is_named: Callable[[pa.ChunkedArray], Truths], ids: Iterable[pa.ChunkedArray]
    ) -> bool:
        """Link media by occurrenceID where that is not the id of a record. Whether one of the media's `ids` is one.

        `is_named` says for each text whether media may have it as their id.
        """
        records = self._archive.records
        column = records.find_column("occurrenceID")
        if self._archive.is_of_events or column is None or column.index in (None, records.id_index):
            return False
        self._connection.execute(CREATE)
        for rows in self._read_columns(records, [column.index]):
            named = is_named(rows.column(RECORD_ID)) | is_named(rows.column(f"{KEY}0"))
            self._add("occurrences", rows.filter(arrow.to_array(named)))
        self._connection.execute(BY_OCCURRENCE_ID)
        self._has_links = any(self._count_links(texts) for texts in ids)
        return self._has_links

    def _read_events(self) -> None:
        """Read once which occurrences an event has."""
        keys = self._archive.event_keys
        if self._has_links or keys is None:
            return
        self._connection.execute(CREATE)
        for rows in self._read_columns(self._archive.records, keys.occurrence):
            self._add("occurrences", rows)
        for rows in self._read_columns(self._archive.events, keys.event) if keys.event else ():
            self._add("events", rows)
        self._connection.execute(BY_EVENT if keys.event else BY_KEY)
        self._has_links = True

    def _resolve(self, media: pa.Table, keys: pa.ChunkedArray) -> pa.Table:
        ids = media.column(RECORD_ID)
        self._connection.register(
            "media", pa.table([ids, keys, arrow.to_array(np.arange(len(ids)))], ["id", "key", "row"])
        )
        resolved = self._connection.sql(RESOLVE).to_arrow_table()
        media = media.set_column(media.column_names.index(RECORD_ID), RECORD_ID, resolved.column("id"))
        return media.append_column(SEVERAL, resolved.column("several")) if self._archive.event_keys else media

    def _count_links(self, ids: pa.ChunkedArray) -> int:
        self._connection.register("ids", pa.table({"id": ids}))
        query = "SELECT count(*) FROM (SELECT DISTINCT unwrap_id(id) AS key FROM ids) JOIN links USING (key)"
        [(count,)] = self._connection.execute(query).fetchall()
        return int(count)

    def _read_columns(self, layout: FileLayout, indexes: Sequence[int | None]) -> Iterator[pa.Table]:
        """The rows of a data file with RECORD_ID, and the columns at `indexes` as KEY0, KEY1, ..."""
        keys = {f"{KEY}{number}": index for number, index in enumerate(indexes) if index is not None}
        selection = ColumnSelection({RECORD_ID: layout.id_index, **keys}, {})
        for location in layout.locations:
            with self._archive.open(location) as file, dwca.report_decoding(location, layout):
                for batch in RowReader(location, layout, selection).read(file, ignore_progress):
                    yield batch.rows

    def _add(self, table: str, rows: pa.Table) -> None:
        keys = [f'unwrap_id("{name}")' for name in rows.column_names if name.startswith(KEY)]
        self._connection.register("batch", rows)
        query = f"""SELECT concat_ws(chr(31), {", ".join(keys)}) AS key, unwrap_id("{RECORD_ID}") AS id
            FROM batch WHERE {keys[0]} <> ''"""
        self._connection.execute(f"INSERT INTO {table} {query}")
