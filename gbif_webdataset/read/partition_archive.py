"""The two data files of an archive, read once, in partitions by a hash of the record's id."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import FILE, HASH, LINE, RECORD_ID, SEVERAL
from gbif_webdataset.read.distinct_taxa import DistinctTaxa
from gbif_webdataset.read.dwca import ASSOCIATED_MEDIA, MEDIA, RECORDS, Archive
from gbif_webdataset.read.hash_partitions import Hashes, HashPartitions
from gbif_webdataset.read.manifest_columns import ManifestColumns
from gbif_webdataset.read.media_linker import MediaLinker
from gbif_webdataset.read.raw_lines import ignore_progress
from gbif_webdataset.read.read_ahead import read_ahead
from gbif_webdataset.read.record_slots import RecordSlots
from gbif_webdataset.read.rejected_lines import RejectedLines
from gbif_webdataset.read.row_batch import RowBatch
from gbif_webdataset.read.row_reader import RowReader
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.terms.reasons import LineFault

PARTITION_BYTES = 80 << 20
MAX_PARTITIONS = 512
BATCHES_AHEAD = 1
CHECKLIST, MAX_CHECKLIST_CHARACTERS = "checklistKey", 64
# Ids are unwrapped before it is known whether the file wraps its fields. That is harmless: only their hash is used.
UNWRAP_ID = """CREATE MACRO unwrap_id(id) AS trim(CASE
    WHEN starts_with(id, '"') AND ends_with(id, '"') AND length(id) > 1 THEN replace(id[2:-2], '""', '"')
    ELSE id END)"""


@dataclass(frozen=True)
class Resources:
    """What reading an archive may use.

    Attributes:
        memory: bytes of memory.
        scratch: folder for temporary files.
        max_expansion: how many times a file of the archive may expand when it is decompressed.
    """

    memory: int
    scratch: Path
    max_expansion: float = dwca.MAX_EXPANSION


@dataclass(frozen=True)
class Partition:
    """Records, and all their media."""

    records: pa.Table
    media: pa.Table


class PartitionedArchive:
    """The records and media of an archive in `count` partitions. Records without media are left out.

    Of these, the first of each taxon stays if `read` gets the columns of taxa.

    Attributes:
        lines: data lines of MEDIA and RECORDS.
    """

    def __init__(
        self, archive: Archive, columns: ManifestColumns, connection: duckdb.DuckDBPyConnection, memory: int
    ) -> None:
        self._archive, self._connection = archive, connection
        self._selections, self._memory = columns.selections, memory
        connection.execute(UNWRAP_ID)
        partition_bytes = max(1, min(PARTITION_BYTES, memory // 12))  # its rows take several times as much
        self.count = min(MAX_PARTITIONS, 2 + archive.total_bytes // partition_bytes)
        self._partitions = self._make_partitions()
        self._linker = MediaLinker(connection, archive)
        self._slots = RecordSlots(archive.count_bytes(archive.media))
        self._checklists: set[str | None] = set()
        self._is_wrapped: dict[str, bool] = {}
        self.lines: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for partitions in self._partitions.values():
            partitions.close()

    @property
    def checklist(self) -> str | None:
        """The key of the checklist that the records name; None if they name none, or several."""
        default = self._selections[RECORDS].defaults.get(CHECKLIST)
        named = {key or default for key in self._checklists or {None}} - {None}
        key = named.pop() if len(named) == 1 else None
        return key if key and len(key) <= MAX_CHECKLIST_CHARACTERS else None

    def read(
        self, rejected: RejectedLines, progress: Callable[[int, int], None], taxon_columns: Sequence[str] = ()
    ) -> None:
        """Read both files; unreadable lines and records without an id become rejected lines.

        `progress` is called with the bytes read so far and the bytes in total. Records without media are the same taxon
        if their values of `taxon_columns` are equal.
        """
        self._taxa = DistinctTaxa(self._connection, taxon_columns)
        total, done = self._archive.total_bytes, 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress(done, total)

        self._read_all(rejected, advance)
        if self._link_by_occurrence_id():
            rejected.clear()
            self._partitions = self._make_partitions()
            self._slots.clear()
            self._taxa = DistinctTaxa(self._connection, taxon_columns)
            self._read_all(rejected, ignore_progress)
        del self._taxa, self._slots  # tens of megabytes for many media

    def read_partitions(self) -> Iterator[Partition]:
        """All partitions that have rows, in the order of their hashes."""
        return filter(None, map(self._read_partition, range(self.count)))

    def _read_partition(self, number: int) -> Partition | None:
        """The rows of a partition. Each table is in one piece, because taking rows from several is far slower."""
        records, media = (self._complete_rows(kind, number) for kind in (RECORDS, MEDIA))
        return Partition(records, media) if records.num_rows or media.num_rows else None

    def _complete_rows(self, kind: str, number: int) -> pa.Table:
        rows = self._partitions[kind].read_partition(number)
        return self._selections[kind].complete_rows(rows, self._is_wrapped[kind]).combine_chunks()

    def _make_partitions(self) -> dict[str, HashPartitions]:
        folder = tables.spill_folder(self._connection)
        budgets = {MEDIA: self._memory // 32, RECORDS: self._memory // 20}
        return {
            kind: HashPartitions(folder / kind, self._make_schema(kind), self.count, budget)
            for kind, budget in budgets.items()
        }

    def _make_schema(self, kind: str) -> pa.Schema:
        own = [(HASH, pa.uint64()), (FILE, pa.int32()), (LINE, pa.int64())]
        several = [(SEVERAL, pa.bool_())] if kind == MEDIA and self._archive.event_keys else []
        return pa.schema([*own, *self._selections[kind].schema, *several])

    def _read_all(self, rejected: RejectedLines, advance: Callable[[int], None]) -> None:
        for kind in (MEDIA, RECORDS):  # media first: records without media are then left out
            self._read_files(kind, rejected, advance)
            self._partitions[kind].close()

    def _link_by_occurrence_id(self) -> bool:
        """Link media without a record to the record that has their id as occurrenceID. Whether there are any."""
        if not self._slots.has_orphans():
            return False
        media = map(self._partitions[MEDIA].read_partition, range(self.count))
        ids = (table.column(RECORD_ID) for table in media)
        return self._linker.find_occurrence_ids(lambda ids: self._slots.may_be_medium(self._hash_ids(ids)), ids)

    def _read_files(self, kind: str, rejected: RejectedLines, advance: Callable[[int], None]) -> None:
        layout = self._archive.layouts[kind]
        lines, has_quotes, has_raw_quotes = 0, False, False
        is_column = layout.row_type == ASSOCIATED_MEDIA
        for file_number, location in enumerate(layout.locations):
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
                    self._add_rows(kind, file_number, rows, rejected)
            lines += 0 if is_column else reader.lines
            has_quotes, has_raw_quotes = has_quotes or reader.has_quotes, has_raw_quotes or reader.has_raw_quotes
        self.lines[kind], self._is_wrapped[kind] = lines, has_quotes and not has_raw_quotes

    def _add_rows(self, kind: str, file_number: int, rows: pa.Table, rejected: RejectedLines) -> None:
        rows = self._linker.link(rows) if kind == MEDIA else rows
        hashes = self._hash_ids(rows.column(RECORD_ID))
        rows = rows.add_column(0, FILE, arrow.to_array(np.full(rows.num_rows, file_number, np.int32)))
        rows = rows.add_column(0, HASH, arrow.to_array(hashes))
        if kind == MEDIA:
            self._slots.add_media(hashes)
        else:
            self._collect_checklists(rows)
            kept, has_id = self._slots.add_records(hashes), arrow.find_valid(rows.column(RECORD_ID))
            if not has_id.all():
                rejected.add_records(rows.filter(rows.column(RECORD_ID).is_null()), LineFault.NO_ID)
            kept = has_id & (kept | self._taxa.find_first(rows, has_id & ~kept))
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
