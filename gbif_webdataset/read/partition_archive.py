"""The two data files of an archive, read once, in partitions by a hash of the record's id."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import FILE, HASH, LINE, RECORD_ID
from gbif_webdataset.read.dwca import MEDIA, RECORDS, Archive
from gbif_webdataset.read.hash_partitions import Hashes, HashPartitions
from gbif_webdataset.read.manifest_columns import ManifestColumns
from gbif_webdataset.read.read_ahead import read_ahead
from gbif_webdataset.read.rejected_lines import RejectedLines
from gbif_webdataset.read.row_batch import RowBatch
from gbif_webdataset.read.row_reader import RowReader
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.terms.reasons import LineFault

PARTITION_BYTES = 128 << 20
MAX_PARTITIONS = 512
MIN_SLOTS, MAX_SLOTS = 1 << 16, 1 << 27
BATCHES_AHEAD = 4
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

    Attributes:
        lines: data lines of MEDIA and RECORDS.
    """

    def __init__(
        self, archive: Archive, columns: ManifestColumns, connection: duckdb.DuckDBPyConnection, memory: int
    ) -> None:
        self._archive, self._selections, self._connection = archive, columns.selections, connection
        connection.execute(UNWRAP_ID)
        partition_bytes = max(1, min(PARTITION_BYTES, memory // 8))  # its rows take several times as much
        self.count = min(MAX_PARTITIONS, 2 + archive.total_bytes // partition_bytes)
        folder = tables.spill_folder(connection)
        budgets = {MEDIA: memory // 16, RECORDS: memory // 8}
        self._partitions = {
            kind: HashPartitions(folder / kind, _make_schema(columns, kind), self.count, budget)
            for kind, budget in budgets.items()
        }
        slots = MIN_SLOTS
        while slots < min(MAX_SLOTS, archive.count_bytes(archive.media) // 64):
            slots *= 2
        self._has_media = np.zeros(slots, dtype=bool)  # by the last bits of the record's hash
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

    def read(self, rejected: RejectedLines, progress: Callable[[int, int], None]) -> None:
        """Read both files; unreadable lines and records without an id become rejected lines.

        `progress` is called with the bytes read so far and the bytes in total.
        """
        total, done = self._archive.total_bytes, 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress(done, total)

        for kind in (MEDIA, RECORDS):  # media first: records without media are then left out
            self._read_files(kind, rejected, advance)
            self._partitions[kind].close()
        if not any(partitions.is_spilled for partitions in self._partitions.values()):
            self.count = 1

    def _read_partition(self, number: int) -> Partition:
        """The rows of a partition. Each table is in one piece, because taking rows from several is far slower."""
        completed = {}
        for kind, partitions in self._partitions.items():
            rows = partitions.read_all() if self.count == 1 else partitions.read_partition(number)
            completed[kind] = self._selections[kind].complete_rows(rows, self._is_wrapped[kind]).combine_chunks()
        return Partition(completed[RECORDS], completed[MEDIA])

    def read_partitions(self) -> Iterator[Partition]:
        """All partitions, in the order of their hashes."""
        return map(self._read_partition, range(self.count))

    def _read_files(self, kind: str, rejected: RejectedLines, advance: Callable[[int], None]) -> None:
        layout = self._archive.layouts[kind]
        lines, has_quotes, has_raw_quotes = 0, False, False
        for file_number, location in enumerate(layout.locations):
            reader = RowReader(location, layout, self._selections[kind])
            with (
                self._archive.open(location) as file,
                dwca.report_decoding(location, layout),
                closing(read_ahead(reader.read(file, advance), BATCHES_AHEAD)) as batches,
            ):
                for rows in _merge_tables(_reject_unreadable(batches, kind, file_number, rejected)):
                    self._add_rows(kind, file_number, rows, rejected)
            lines += reader.lines
            has_quotes, has_raw_quotes = has_quotes or reader.has_quotes, has_raw_quotes or reader.has_raw_quotes
        self.lines[kind], self._is_wrapped[kind] = lines, has_quotes and not has_raw_quotes

    def _add_rows(self, kind: str, file_number: int, rows: pa.Table, rejected: RejectedLines) -> None:
        hashes = self._hash_ids(rows.column(RECORD_ID))
        rows = rows.add_column(0, FILE, arrow.to_array(np.full(rows.num_rows, file_number, np.int32)))
        rows = rows.add_column(0, HASH, arrow.to_array(hashes))
        slots = hashes & np.uint64(len(self._has_media) - 1)
        if kind == MEDIA:
            self._has_media[slots] = True
        else:
            self._collect_checklists(rows)
            kept = self._has_media[slots]
            if rows.column(RECORD_ID).null_count:
                rejected.add_records(rows.filter(rows.column(RECORD_ID).is_null()), LineFault.NO_ID)
                kept &= rows.column(RECORD_ID).is_valid().to_numpy()
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
        return np.asarray(self._connection.execute(query).fetchnumpy()["hash"], np.uint64)


def _make_schema(columns: ManifestColumns, kind: str) -> pa.Schema:
    own = [(HASH, pa.uint64()), (FILE, pa.int32()), (LINE, pa.int64())]
    return pa.schema([*own, *columns.selections[kind].schema])


def _reject_unreadable(
    batches: Iterator[RowBatch], kind: str, file_number: int, rejected: RejectedLines
) -> Iterator[pa.Table]:
    """The rows of the batches. Their unreadable lines become rejected lines."""
    for batch in batches:
        if batch.unreadable:
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
