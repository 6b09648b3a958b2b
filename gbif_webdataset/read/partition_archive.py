"""The two data files of an archive, each read once and dealt to buckets by a hash of the record's id."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read import dwca
from gbif_webdataset.read.columns import HASH, PART, Wanted
from gbif_webdataset.read.dwca import Archive, DataFile
from gbif_webdataset.read.hash_partitions import Buckets
from gbif_webdataset.read.line_blocks import ahead
from gbif_webdataset.read.row_reader import KEY, LINE, RowReader, Unreadable, raw_lines
from gbif_webdataset.read.select_media import Judge
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.tables import quote_text

BUCKET_BYTES = 128 << 20
MOST_BUCKETS = 512
MOST_SLOTS = 1 << 27
AHEAD = 4
Parsed = tuple[pa.Table, list[Unreadable]]
CHECKLIST, LONGEST_KEY = "checklistKey", 64
REJECTED = pa.schema(
    [("file", pa.string()), ("line", pa.int64()), ("reason", pa.string()), ("coreid", pa.string()),
     ("identifier", pa.string()), ("raw", pa.string())]
)  # fmt: skip
UNWRAPPED_KEY = """CREATE MACRO unwrapped_key(key) AS trim(CASE
    WHEN starts_with(key, '"') AND ends_with(key, '"') AND length(key) > 1 THEN replace(key[2:-2], '""', '"')
    ELSE key END)"""


@dataclass(frozen=True)
class Resources:
    """What reading may use: bytes of memory, and a folder to spill to; how far an archive may expand."""

    memory: int
    scratch: Path
    max_expansion: float = dwca.MAX_EXPANSION


class Dealt:
    """Records and media in `buckets` buckets: all of a record in one. Records without media are left out."""

    def __init__(
        self,
        archive: Archive,
        connection: duckdb.DuckDBPyConnection,
        judge: Judge,
        resources: Resources,
        progress: Callable[[int, int], None],
    ) -> None:
        self._archive, self._connection, self._judge = archive, connection, judge
        self._done, self._progress = 0, progress
        bucket_bytes = max(1, min(BUCKET_BYTES, resources.memory // 8))  # so that what is made of it fits, too
        self.buckets = min(MOST_BUCKETS, 2 + archive.size_in_all // bucket_bytes)
        folder, memory = tables.spill_folder(connection), resources.memory // 8
        self._media = Buckets(folder / "media", _schema(judge.media), self.buckets, memory // 2)
        self._records = Buckets(folder / "records", _schema(judge.records), self.buckets, memory)
        slots = 1 << 16
        while slots < min(MOST_SLOTS, archive.bytes_of(archive.media) // 64):
            slots *= 2
        self._has_media = np.zeros(slots, dtype=bool)
        self._checklists: set[str | None] = set()

    def __enter__(self) -> Self:
        self._connection.execute(UNWRAPPED_KEY)
        self.media_lines, self._media_wrapped = self._read("media", self._archive.media, self._judge.media)
        self.record_lines, self._records_wrapped = self._read("records", self._archive.records, self._judge.records)
        if not (self._media.spilled or self._records.spilled):
            self.buckets = 1
        return self

    def __exit__(self, *_: object) -> None:
        self._media.close()
        self._records.close()

    @property
    def checklist(self) -> str | None:
        """The key of the checklist that the records name; None where they name none, or several."""
        default = self._judge.records.defaults.get(CHECKLIST)
        named = {key or default for key in self._checklists or {None}} - {None}
        key = named.pop() if len(named) == 1 else None
        return key if key and len(key) <= LONGEST_KEY else None

    def pair(self, bucket: int) -> tuple[pa.Table, pa.Table]:
        """The records of a bucket, and its media, each in one piece: taking rows out of many is far slower."""
        if self.buckets == 1:
            records, media = self._records.everything(), self._media.everything()
        else:
            records, media = self._records.take(bucket), self._media.take(bucket)
        records = self._judge.records.resolve(records, self._records_wrapped)
        return records.combine_chunks(), self._judge.media.resolve(media, self._media_wrapped).combine_chunks()

    def _read(self, kind: str, layout: DataFile, wanted: Wanted) -> tuple[int, bool]:
        """Deal a data file; its lines, and whether it is in the dialect that wraps."""
        lines, quoted, unbalanced = 0, False, False
        for part, location in enumerate(layout.locations):
            reader = RowReader(location, layout, wanted.indexes, wanted.schema)
            with (
                self._archive.open(location) as file,
                dwca.decoding(location, layout),
                closing(ahead(_parsed(reader, file, self._advance), AHEAD)) as read,
            ):
                for rows in _gathered(self._told(read, kind, part)):
                    self._put(kind, part, rows)
            lines += reader.lines
            quoted, unbalanced = quoted or reader.quoted, unbalanced or reader.unbalanced
        (self._media if kind == "media" else self._records).close()
        return lines, quoted and not unbalanced

    def _told(self, read: Iterator[Parsed], kind: str, part: int) -> Iterator[pa.Table]:
        """What is read, and to `rejected` what can't be."""
        for rows, unreadable in read:
            if unreadable:
                self._reject(unreadable, kind, part)
            yield rows

    def _reject(self, unreadable: list[Unreadable], kind: str, part: int) -> None:
        lines = [(kind, part, line.line, line.reason, None, None, line.raw) for line in unreadable]
        columns = [pa.array(values) for values in zip(*lines, strict=True)]
        self._connection.register("unreadable", pa.table(columns, names=list("abcdefg")))
        self._connection.execute("INSERT INTO rejected SELECT * FROM unreadable")

    def _put(self, kind: str, part: int, rows: pa.Table) -> None:
        hashes = self._hashes(rows.column(KEY))
        rows = rows.add_column(0, PART, arrow.to_array(np.full(rows.num_rows, part, np.int32)))
        rows = rows.add_column(0, HASH, arrow.to_array(hashes))
        slots = hashes & np.uint64(len(self._has_media) - 1)
        if kind == "media":
            self._has_media[slots] = True
            self._media.add(rows, hashes)
            return
        if CHECKLIST in rows.column_names and len(self._checklists) <= 2:
            self._checklists.update(pc.unique(rows.column(CHECKLIST)).to_pylist())
        if nameless := rows.column(KEY).null_count:
            self._connection.register(
                "nameless",
                rows.filter(rows.column(KEY).is_null()).select([PART, LINE]).rename_columns(["part", "line"]),
            )
            self._connection.execute(
                "INSERT INTO rejected SELECT 'records', part, line, 'no-id', NULL, NULL, NULL FROM nameless"
            )
        chosen = self._has_media[slots]
        if nameless:
            chosen &= rows.column(KEY).is_valid().to_numpy()
        if not chosen.all():
            rows, hashes = rows.filter(arrow.to_array(chosen)), hashes[chosen]
        self._records.add(rows, hashes)

    def _hashes(self, keys: pa.ChunkedArray) -> "np.ndarray[Any, np.dtype[np.uint64]]":
        self._connection.register("keys", pa.table({"key": keys}))
        query = "SELECT hash(coalesce(unwrapped_key(key), '')) AS hash FROM keys"
        return np.asarray(self._connection.execute(query).fetchnumpy()["hash"], np.uint64)

    def _advance(self, count: int) -> None:
        self._done += count
        self._progress(self._done, self._archive.size_in_all)


def write_rejected(path: Path, archive: Archive, connection: duckdb.DuckDBPyConnection) -> None:
    """Write the rejected lines, by file and line, each with its text, from one more reading of files that have any."""
    arrow.write_parquet(_rejected(archive, connection), path, REJECTED)


def _rejected(archive: Archive, connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    for kind, layout in (("media", archive.media), ("records", archive.records)):
        for part, location in enumerate(layout.locations):
            lines = f"FROM rejected WHERE kind = '{kind}' AND part = {part}"
            ahead_of_them = connection.cursor().execute(f"SELECT line {lines} AND raw IS NULL ORDER BY line")
            numbers = (number for (number,) in iter(ahead_of_them.fetchone, None))
            raw = _texts(archive, location, layout, numbers)
            named = f"{quote_text(location)} AS file"
            query = f"SELECT {named}, line, reason, coreid, identifier, raw {lines} ORDER BY line"
            for batch in tables.select_batches(connection.cursor(), query):
                told = [next(raw) if known is None else known for known in batch.column("raw").to_pylist()]
                yield pa.RecordBatch.from_arrays([*batch.columns[:-1], arrow.to_text_array(told)], schema=REJECTED)


def _texts(archive: Archive, location: str, layout: DataFile, numbers: Iterator[int]) -> Iterator[str]:
    with archive.open(location) as file:
        yield from raw_lines(location, file, layout, numbers)


def _parsed(reader: RowReader, file: IO[bytes], progress: Callable[[int], None]) -> Iterator[Parsed]:
    """The rows of a file, with the lines among and after them that can't be read."""
    for rows in reader.read(file, progress):
        found, reader.unreadable = reader.unreadable, []
        yield rows, found
    if reader.unreadable:
        yield reader.schema.empty_table(), reader.unreadable


def _gathered(read: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in fewer tables: what is done to each table costs more than its rows."""
    held: list[pa.Table] = []
    for rows in read:
        held.append(rows)
        if sum(table.num_rows for table in held) >= arrow.ROW_GROUP:
            yield pa.concat_tables(held).unify_dictionaries()
            held = []
    if held:
        yield pa.concat_tables(held).unify_dictionaries()


def _schema(wanted: Wanted) -> pa.Schema:
    return pa.schema([(HASH, pa.uint64()), (PART, pa.int32()), (LINE, pa.int64()), *wanted.schema])
