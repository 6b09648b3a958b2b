"""The two data files of an archive, read once, in partitions by a hash of the record's id."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import FILE, HASH, LINE, RECORD_ID, SEVERAL, SPACE
from gbif_webdataset.read.distinct_taxa import DistinctTaxa
from gbif_webdataset.read.dwca import ASSOCIATED_MEDIA, MEDIA, RECORDS, Archive
from gbif_webdataset.read.hash_partitions import Hashes, HashPartitions
from gbif_webdataset.read.manifest_columns import ArchiveColumns
from gbif_webdataset.read.media_linker import MediaLinker
from gbif_webdataset.read.record_slots import RecordSlots
from gbif_webdataset.read.rejected_lines import RejectedLines
from gbif_webdataset.read.row_batch import RowBatch
from gbif_webdataset.read.row_reader import RowReader
from gbif_webdataset.read.same_occurrences import SameOccurrences
from gbif_webdataset.read.urls import resolve_urls
from gbif_webdataset.read.vernacular_names import VernacularNames
from gbif_webdataset.read_ahead import read_ahead
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.terms.reasons import LineFault

BATCHES_AHEAD = 1
CHECKLIST, MAX_CHECKLIST_CHARACTERS = "checklistKey", 64


@dataclass(frozen=True)
class Partition:
    """Records, and all their media with their URLs.

    Attributes:
        further_urls: rows of the media that are not lines of their own, because a line has several URLs.
        superseded: records of occurrences that a preferred archive has, too; None if there is one archive.
    """

    records: pa.Table
    media: pa.Table
    further_urls: int = 0
    superseded: pa.Table | None = None


@dataclass(frozen=True)
class PartitionPlan:
    """How the rows of an archive are partitioned.

    Attributes:
        count: the number of partitions.
        memory: bytes of memory that the archive's rows may take before they go to files.
        number: the number of the archive, from 0 for the preferred one.
        first_file: the number of its first file.
        same: which occurrences other archives have, too; None if there is one archive.
    """

    count: int
    memory: int
    number: int = 0
    first_file: int = 0
    same: SameOccurrences | None = None


@dataclass
class SeenRecords:
    """What is remembered of rows: the ids of media and records, and the taxa of records without media."""

    slots: RecordSlots
    taxa: DistinctTaxa


class PartitionedArchive:
    """The records and media of an archive in partitions. Records without media are left out.

    Of these, the first of each taxon stays if `DistinctTaxa` has columns.

    Attributes:
        lines: data lines of MEDIA and RECORDS.
    """

    def __init__(
        self, archive: Archive, columns: ArchiveColumns, connection: duckdb.DuckDBPyConnection, plan: PartitionPlan
    ) -> None:
        self._archive, self._connection, self._plan = archive, connection, plan
        self._selections, self._url_columns = columns.selections, columns.url_columns
        self._linker = MediaLinker(connection, archive)
        self._checklists: set[str | None] = set()
        self._is_wrapped: dict[str, bool] = {}
        self._names: VernacularNames | None = None
        self.lines: dict[str, int] = {}
        self.clear()

    def clear(self) -> None:
        """Forget the rows."""
        folder = tables.spill_folder(self._connection) / f"{self._plan.number}"
        budgets = {MEDIA: self._plan.memory // 32, RECORDS: self._plan.memory // 20}
        self._partitions = {
            kind: HashPartitions(folder / kind, self._make_schema(kind), self._plan.count, budget)
            for kind, budget in budgets.items()
        }

    def close(self) -> None:
        """Close the files of the partitions."""
        for partitions in self._partitions.values():
            partitions.close()

    @property
    def checklist(self) -> str | None:
        """The key of the checklist that the records name; None if they name none, or several."""
        default = self._selections[RECORDS].defaults.get(CHECKLIST)
        named = {key or default for key in self._checklists or {None}} - {None}
        key = named.pop() if len(named) == 1 else None
        return key if key and len(key) <= MAX_CHECKLIST_CHARACTERS else None

    def read_vernacular_names(self, languages: Sequence[str]) -> list[str]:
        """Read the extension of vernacular names, if there is one; a note if the extension cannot be read."""
        if layout := self._archive.vernacular_names:
            try:
                self._names = VernacularNames(self._connection, self._archive, layout, languages)
            except ArchiveError as error:
                return self._archive.name_itself([f"the vernacular names are not used: {error}"])
        return []

    def read_partition(self, number: int) -> Partition:
        """The rows of a partition. Each table is in one piece, because taking rows from several is far slower."""
        records, media = (self._complete_rows(kind, number) for kind in (RECORDS, MEDIA))
        lines = media.num_rows
        media = resolve_urls(media, self._url_columns)
        records = self._names.add_names(records) if self._names is not None else records
        return Partition(records, media, media.num_rows - lines)

    def _complete_rows(self, kind: str, number: int) -> pa.Table:
        rows = self._partitions[kind].read_partition(number)
        return self._selections[kind].complete_rows(rows, self._is_wrapped[kind]).combine_chunks()

    def _make_schema(self, kind: str) -> pa.Schema:
        own = [(HASH, pa.uint64()), (FILE, pa.int32()), (LINE, pa.int64())]
        several = [(SEVERAL, pa.bool_())] if kind == MEDIA and self._archive.event_keys else []
        space = [(SPACE, pa.int32())] if self._plan.same is not None else []
        return pa.schema([*own, *self._selections[kind].schema, *several, *space])

    def link_by_occurrence_id(self, slots: RecordSlots) -> bool:
        """Link media without a record to the record that has their id as occurrenceID. Whether there are any."""
        media = map(self._partitions[MEDIA].read_partition, range(self._plan.count))
        ids = (table.column(RECORD_ID) for table in media)
        return self._linker.find_occurrence_ids(lambda ids: slots.may_be_medium(self._hash_ids(ids)), ids)

    def read(self, kind: str, seen: SeenRecords, rejected: RejectedLines, advance: Callable[[int], None]) -> None:
        """Read the files of MEDIA or RECORDS; unreadable lines and records without an id become rejected lines.

        Media are read before records, so that records without media can be left out. `advance` is called with the
        number of bytes read since the last call.
        """
        layout = self._archive.layouts[kind]
        lines, has_quotes, has_raw_quotes = 0, False, False
        is_column = layout.row_type == ASSOCIATED_MEDIA
        for file_number, location in enumerate(layout.locations, self._plan.first_file):
            reader = RowReader(location, layout, self._selections[kind])
            with (
                self._archive.open(location) as file,
                dwca.report_decoding(location, layout),
                closing(read_ahead(reader.read(file, advance), BATCHES_AHEAD)) as batches,
            ):
                readable = _reject_unreadable(batches, kind, file_number, None if is_column else rejected)
                for rows in _merge_tables(readable):
                    if is_column:  # lines without media are not media
                        rows = rows.filter(rows.column("associatedMedia").is_valid())
                        lines += rows.num_rows
                    numbers = arrow.to_array(np.full(rows.num_rows, file_number, np.int32))
                    self._add_rows(kind, rows.add_column(0, FILE, numbers), seen, rejected)
            lines += 0 if is_column else reader.lines
            has_quotes, has_raw_quotes = has_quotes or reader.has_quotes, has_raw_quotes or reader.has_raw_quotes
        self.lines[kind], self._is_wrapped[kind] = lines, has_quotes and not has_raw_quotes
        self._partitions[kind].close()

    def _add_rows(self, kind: str, rows: pa.Table, seen: SeenRecords, rejected: RejectedLines) -> None:
        rows = self._linker.link(rows) if kind == MEDIA else rows
        rows = self._plan.same.resolve(self._plan.number, rows) if self._plan.same is not None else rows
        hashes = self._hash_ids(rows.column(RECORD_ID))
        rows = rows.add_column(0, HASH, arrow.to_array(hashes))
        if kind == MEDIA:
            seen.slots.add_media(hashes)
        else:
            self._collect_checklists(rows)
            kept, has_id = seen.slots.add_records(hashes), arrow.find_valid(rows.column(RECORD_ID))
            if not has_id.all():
                rejected.add_records(rows.filter(rows.column(RECORD_ID).is_null()), LineFault.NO_ID)
            kept = has_id & (kept | seen.taxa.find_first(rows, has_id & ~kept))
            if not kept.all():
                rows, hashes = rows.filter(arrow.to_array(kept)), hashes[kept]
        self._partitions[kind].add(rows, hashes)

    def _collect_checklists(self, records: pa.Table) -> None:
        if CHECKLIST in records.column_names and len(self._checklists) <= 2:
            self._checklists.update(pc.unique(records.column(CHECKLIST)).to_pylist())

    def _hash_ids(self, ids: pa.ChunkedArray) -> Hashes:
        """DuckDB's hash of each id, which is also the order of the manifest's rows."""
        self._connection.register("ids", pa.table({"id": ids}))
        query = "SELECT hash(coalesce(unwrap_id(id), '')) AS hash FROM ids"
        return arrow.to_numpy(self._connection.sql(query).to_arrow_table().column("hash").combine_chunks())


def _reject_unreadable(
    batches: Iterator[RowBatch], kind: str, file_number: int, rejected: RejectedLines | None
) -> Iterator[pa.Table]:
    """The rows of the batches. Their unreadable lines become rejected lines, unless `rejected` is None."""
    for batch in batches:
        if batch.unreadable.num_rows and rejected is not None:
            rejected.add_unreadable(kind, file_number, batch.unreadable)
        yield batch.rows


def _merge_tables(small_tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in fewer tables: the cost of each table is higher than that of its rows."""
    pending: list[pa.Table] = []
    for rows in small_tables:
        pending.append(rows)
        if sum(table.num_rows for table in pending) >= arrow.ROW_GROUP:
            yield pa.concat_tables(pending).unify_dictionaries()
            pending = []
    if pending:
        yield pa.concat_tables(pending).unify_dictionaries()
