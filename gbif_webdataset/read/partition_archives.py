"""The records and media of all archives of a dataset, joined in partitions by a hash of the record's id."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import ARCHIVE, OWNER, RECORD_ID, SPACE, trim_texts
from gbif_webdataset.read.distinct_taxa import DistinctTaxa
from gbif_webdataset.read.dwca import MEDIA, RECORDS, Archive
from gbif_webdataset.read.manifest_columns import ManifestColumns
from gbif_webdataset.read.media_decisions import Numbers, find_first_rows, number_values
from gbif_webdataset.read.partition_archive import Partition, PartitionedArchive, PartitionPlan, SeenRecords
from gbif_webdataset.read.raw_lines import ignore_progress
from gbif_webdataset.read.record_slots import RecordSlots
from gbif_webdataset.read.rejected_lines import RejectedLines
from gbif_webdataset.read.same_occurrences import SameOccurrences
from gbif_webdataset.storage import arrow

PARTITION_BYTES = 80 << 20
MAX_PARTITIONS = 512
# Ids are unwrapped before it is known whether the file wraps its fields. That is harmless: only their hash is used.
UNWRAP_ID = """CREATE MACRO unwrap_id(id) AS trim(CASE
    WHEN starts_with(id, '"') AND ends_with(id, '"') AND length(id) > 1 THEN replace(id[2:-2], '""', '"')
    ELSE id END)"""


@dataclass(frozen=True)
class Resources:
    """What reading archives may use.

    Attributes:
        memory: bytes of memory.
        scratch: folder for temporary files.
        max_expansion: how many times a file of an archive may expand when it is decompressed.
    """

    memory: int
    scratch: Path
    max_expansion: float = dwca.MAX_EXPANSION


class PartitionedArchives:
    """The records and media of archives, the preferred one first, in `count` partitions.

    Records without media are left out. Of these, the first of each taxon stays if `read` gets the columns of taxa.

    Attributes:
        parts: the archives, each by itself.
    """

    def __init__(
        self,
        archives: Sequence[Archive],
        columns: ManifestColumns,
        connection: duckdb.DuckDBPyConnection,
        memory: int,
    ) -> None:
        self._connection = connection
        connection.execute(UNWRAP_ID)
        self._total = sum(archive.total_bytes for archive in archives)
        partition_bytes = max(1, min(PARTITION_BYTES, memory // 12))  # its rows take several times as much
        self.count = min(MAX_PARTITIONS, 2 + self._total // partition_bytes)
        self._same = SameOccurrences(connection, archives) if len(archives) > 1 else None
        self._cursors = [_open_schema(connection, number) for number in range(1, len(archives))]
        files, databases = dwca.number_files(archives), [connection, *self._cursors]
        plans = [
            PartitionPlan(self.count, memory // len(archives), number, first_file, self._same)
            for number, first_file in enumerate(files)
        ]
        self.parts = list(map(PartitionedArchive, archives, columns.of_archives, databases, plans))
        self._slots = RecordSlots(sum(archive.count_bytes(archive.media) for archive in archives))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for part in self.parts:
            part.close()
        for cursor in self._cursors:
            cursor.close()

    def count_lines(self, kind: str) -> int:
        """The number of data lines of MEDIA or RECORDS."""
        return sum(part.lines[kind] for part in self.parts)

    def read(
        self, rejected: RejectedLines, progress: Callable[[int, int], None], taxon_columns: Sequence[str] = ()
    ) -> list[str]:
        """Read the files of all archives; unreadable lines and records without an id become rejected lines.

        `progress` is called with the bytes read so far and the bytes in total. Records without media are the same taxon
        if their values of `taxon_columns` are equal. Return notes on occurrences that cannot be compared.
        """
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress(done, self._total)

        notes = self._same.read() if self._same is not None else []
        self._read_all(rejected, advance, taxon_columns)
        if self._slots.has_orphans() and sum(part.link_by_occurrence_id(self._slots) for part in self.parts):
            rejected.clear()
            for part in self.parts:
                part.clear()
            self._slots.clear()
            self._read_all(rejected, ignore_progress, taxon_columns)
        del self._slots  # tens of megabytes for many media
        return notes

    def read_vernacular_names(self, languages: Sequence[str]) -> list[str]:
        """Read the archives' extensions of vernacular names; notes on those that cannot be read."""
        return [note for part in self.parts for note in part.read_vernacular_names(languages)]

    def read_partitions(self) -> Iterator[Partition]:
        """All partitions that have rows, in the order of their hashes."""
        for number in range(self.count):
            found = [part.read_partition(number) for part in self.parts]
            if any(partition.records.num_rows or partition.media.num_rows for partition in found):
                yield found[0] if len(found) == 1 else join_partitions(found)

    def _read_all(self, rejected: RejectedLines, advance: Callable[[int], None], taxon_columns: Sequence[str]) -> None:
        seen = SeenRecords(self._slots, DistinctTaxa(self._connection, taxon_columns))
        for kind in (MEDIA, RECORDS):  # media first: records without media are then left out
            for part in self.parts:
                part.read(kind, seen, rejected, advance)


def join_partitions(partitions: Sequence[Partition]) -> Partition:
    """The rows of several archives as one partition, with the columns ARCHIVE and OWNER.

    A record is left out if an earlier archive has the same occurrence; its media belong to the record of that archive.
    """
    records = _concatenate([partition.records for partition in partitions])
    media = _concatenate([partition.media for partition in partitions])
    ids = [*trim_texts(records.column(RECORD_ID)).chunks, *trim_texts(media.column(RECORD_ID)).chunks]
    numbers, _ = number_values(pa.chunked_array(ids, pa.string()))
    spaces = np.concatenate([_read_numbers(records, SPACE), _read_numbers(media, SPACE)])
    distinct, owners = np.unique(numbers * (int(spaces.max(initial=0)) + 1) + spaces, return_inverse=True)
    of_records, of_media = np.split(owners, [records.num_rows])
    archives = _read_numbers(records, ARCHIVE)
    is_superseded = archives[find_first_rows(of_records, len(distinct))[of_records]] != archives
    records = records.append_column(OWNER, arrow.to_array(of_records))
    return Partition(
        records.filter(arrow.to_array(~is_superseded)).combine_chunks(),
        media.append_column(OWNER, arrow.to_array(of_media)),
        sum(partition.further_urls for partition in partitions),
        records.filter(arrow.to_array(is_superseded)),
    )


def _concatenate(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of tables with other columns in each. A column that a table lacks is null."""
    types = {field.name: field.type for table in tables for field in table.schema}
    complete = []
    for number, table in enumerate(tables):
        columns = {
            name: table.column(name) if name in table.column_names else pa.nulls(table.num_rows, kind)
            for name, kind in types.items()
        }
        archive = arrow.to_array(np.full(table.num_rows, number, np.int32))
        complete.append(pa.table({**columns, ARCHIVE: archive}))
    return pa.concat_tables(complete).unify_dictionaries().combine_chunks()


def _read_numbers(table: pa.Table, name: str) -> Numbers:
    return arrow.to_numpy(table.column(name).combine_chunks()).astype(np.int64)


def _open_schema(connection: duckdb.DuckDBPyConnection, number: int) -> duckdb.DuckDBPyConnection:
    """The same database with tables of its own, because every archive needs tables with the same names."""
    connection.execute(f"CREATE SCHEMA archive_{number}")
    cursor = connection.cursor()
    cursor.execute(f"SET search_path = 'archive_{number},main'")
    return cursor
