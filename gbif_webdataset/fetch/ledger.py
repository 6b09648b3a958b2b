"""The ledger: what became of each image, which bytes came from which URL, and how a crash loses none of it.

While a chunk is fetched each outcome is a line of its journal, `fetched/chunk-NNNNN.journal`, appended when the
image's file has its name. At the end the journal becomes `fetched/chunk-NNNNN.parquet`. When the manifest is made
again all that is known moves to `fetched/earlier`, dealt out as the new manifest's chunks want it.

An outcome is of the URL that was asked for, `requested_url`; `identifier` is the archive's, from which it was made.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.errors import BusyError
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.arrow import RECURRING
from gbif_webdataset.storage.atomic import atomic_folder
from gbif_webdataset.storage.chunks import chunk_name, journal_name
from gbif_webdataset.terms.outcomes import Status

COLUMNS = pa.schema(
    [("status", pa.string()), ("error", pa.string()), ("http_status", pa.int32()), ("attempts", pa.int32()),
     ("bytes", pa.int64()), ("sha256", pa.string()), ("content_type", pa.string()), ("final_url", pa.string()),
     ("fetched_at", pa.string()), ("requested_url", pa.string())]
)  # fmt: skip
RECUR = ("status", "error", "content_type", "fetched_at")  # what many outcomes have in common
READ_AT_ONCE = 2_048  # rows, which take ten times as much memory as Python objects
WRITTEN_AT_ONCE = 4_096  # rows, with all columns of the manifest, beside what became of each image
OUTCOME = pa.schema([("image_path", pa.string()), ("identifier", pa.string()), *COLUMNS])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image. `error` is empty where all went well; `fetched_at` is UTC, ISO 8601.

    Where no `requested_url` is given, as in ledgers before 0.3, `identifier` was asked for.
    """

    image_path: str
    identifier: str
    status: str
    error: str = ""
    http_status: int | None = None
    attempts: int = 0
    bytes: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    final_url: str | None = None
    fetched_at: str | None = None
    requested_url: str = ""

    def __post_init__(self) -> None:
        share = object.__setattr__  # one text in memory for all that are the same: a chunk may have 100,000 outcomes
        if not self.requested_url or self.requested_url == self.identifier:
            share(self, "requested_url", self.identifier)
        if self.final_url == self.requested_url:
            share(self, "final_url", self.requested_url)
        for name in RECUR:
            if text := getattr(self, name):
                share(self, name, sys.intern(str(text)))

    @property
    def has_bytes(self) -> bool:
        """Whether the image's bytes are, or were, in its file."""
        return self.status != Status.FAILED


VALUES = attrgetter(
    *(field.name for field in fields(Outcome))
)  # dataclasses.astuple copies each, which takes ten times as long


Packed = tuple[Any, ...]
SAME = object()


def packed(outcome: Outcome) -> Packed:
    """An outcome's values of COLUMNS, `SAME` for a URL that the manifest has already: 100,000 are kept to the end."""
    return tuple(SAME if value is outcome.identifier else value for value in VALUES(outcome)[-len(COLUMNS) :])


def write(manifest: Path, target: Path, ended: Mapping[str, Packed]) -> None:
    """Write the manifest's rows to `target`, each with what became of its image path, in the manifest's order."""
    pa.default_memory_pool().release_unused()  # of the manifest's first reading
    source = arrow.open_parquet(manifest)
    columns = [field.with_type(RECURRING) if field.name in RECUR else field for field in COLUMNS]
    schema = pa.schema([*source.schema_arrow.remove_metadata(), *columns])

    def joined() -> Iterator[pa.RecordBatch]:
        for batch in source.iter_batches(READ_AT_ONCE, use_threads=False):
            urls = batch.column("identifier").to_pylist()
            rows = [ended[path] for path in batch.column("image_path").to_pylist()]
            for at, field in enumerate(columns):
                values = [url if row[at] is SAME else row[at] for row, url in zip(rows, urls, strict=True)]
                batch = batch.append_column(field, arrow.to_typed_array(values, field.type))
            yield batch.cast(schema)
            pa.default_memory_pool().release_unused()

    arrow.write_parquet(joined(), target, schema, WRITTEN_AT_ONCE)


class Journal:
    """The outcomes of a chunk under way, one JSON line each, held by one process at a time, for many threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._path = path
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise BusyError(f"{self._path}: another process is fetching this chunk; wait for it or stop it") from error
        self._file.truncate(self._whole())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def _whole(self) -> int:
        """Bytes up to the end of the last complete line: a killed writer may have left half a line."""
        self._file.seek(0)
        return self._file.read().rfind(b"\n") + 1

    def append(self, outcome: Outcome) -> None:
        """Write one outcome; it outlives this process as soon as this returns."""
        line = json.dumps(VALUES(outcome)).encode() + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()


def read_journal(path: Path) -> Iterator[Outcome]:
    """The outcomes in a journal; a last line that was cut off by a crash is no outcome."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield Outcome(*json.loads(line))


def table(outcomes: Iterable[Outcome]) -> pa.Table:
    """Outcomes as an Arrow table of the schema OUTCOME."""
    listed = list(outcomes)
    columns = [arrow.to_typed_array([getattr(one, field.name) for one in listed], field.type) for field in OUTCOME]
    return pa.table(columns, OUTCOME)


class Known:
    """What is known of a chunk's images from earlier runs, by the URL that was asked for and by path."""

    def __init__(self) -> None:
        self._of: dict[str, Outcome | dict[str, Outcome]] = {}  # most URLs have one path, which needs no dict
        self._came_last: dict[str, str] = {}  # the URL whose bytes a path's file holds

    @classmethod
    def load(cls, folder: Path, chunk: int) -> Self:
        """Read all that `folder` (fetched/) says of chunk `chunk`, later sources after earlier ones."""
        known = cls()
        for path in (folder / "earlier" / chunk_name(chunk), folder / chunk_name(chunk)):
            if path.exists():
                for batch in pq.ParquetFile(path).iter_batches(READ_AT_ONCE, columns=OUTCOME.names, use_threads=False):
                    for row in batch.to_pylist():
                        known.add(Outcome(**row))
                    pa.default_memory_pool().release_unused()
        for outcome in read_journal(journal_path(folder, chunk)):
            known.add(outcome)
        return known

    def add(self, outcome: Outcome) -> None:
        """Take note of an outcome, in place of an older one of the same URL and path."""
        held = self._of.get(outcome.requested_url)
        if isinstance(held, dict):
            held[outcome.image_path] = outcome
        elif held is None or held.image_path == outcome.image_path:
            self._of[outcome.requested_url] = outcome
        else:
            self._of[outcome.requested_url] = {held.image_path: held, outcome.image_path: outcome}
        if outcome.has_bytes:
            self._came_last[outcome.image_path] = outcome.requested_url

    def at(self, url: str, image_path: str) -> Outcome | None:
        """The latest outcome of this URL at this path, unless another URL's bytes came there since."""
        outcome = self._all(url).get(image_path)
        return None if outcome and outcome.has_bytes and self._came_last[image_path] != url else outcome

    def with_bytes(self, url: str) -> list[Outcome]:
        """The outcomes with bytes of this URL, at whichever paths."""
        return [outcome for outcome in self._all(url).values() if outcome.has_bytes]

    def _all(self, url: str) -> dict[str, Outcome]:
        held = self._of.get(url)
        if isinstance(held, Outcome):
            return {held.image_path: held}
        return held or {}


def journal_path(folder: Path, chunk: int) -> Path:
    """Where chunk `chunk` keeps its journal."""
    return folder / journal_name(chunk)


def carry(folder: Path, manifest: Path, chunks: int, scratch: Path, memory_limit: str) -> None:
    """Deal all outcomes in `folder` (fetched/) to the chunks of a new manifest, by URL.

    A file holds the bytes of the URL that came to its path last: earlier URLs of the path are forgotten. What the new
    manifest does not ask for is kept in earlier/unused.parquet. Where it gives a path to another URL,
    the bytes there are about to be replaced: those outcomes go, unless their URL is wanted at another path.
    A crash at any point leaves every outcome in at least one place that the next call reads.
    """
    earlier = folder / "earlier"
    sources = [path for path in folder.glob("**/*.parquet") if ".tmp-" not in path.name]
    journals = sorted(folder.glob("chunk-*.journal"))
    if not sources and not journals:
        return
    with tables.open_database(scratch, memory_limit) as connection:
        _gather(connection, sorted(sources, key=lambda path: (path.parent == folder, path.parent == earlier)), journals)
        columns = ", ".join(OUTCOME.names)
        new = ", ".join(tables.quote_text(str(manifest / chunk_name(chunk))) for chunk in range(chunks))
        connection.execute(f"""CREATE TABLE wanted AS SELECT identifier, image_path,
            regexp_extract(filename, 'chunk-(\\d+)\\.parquet$', 1)::INT AS chunk
            FROM read_parquet([{new}], filename = true, hive_partitioning = false)""")
        connection.execute(f"""CREATE TABLE latest AS SELECT {columns} FROM (SELECT * FROM outcome
            QUALIFY row_number() OVER
                (PARTITION BY requested_url, identifier, image_path ORDER BY age DESC, line DESC) = 1)
            QUALIFY status = '{Status.FAILED}'
            OR row_number()
                OVER (PARTITION BY image_path, status = '{Status.FAILED}' ORDER BY age DESC, line DESC) = 1""")
        connection.execute(f"""CREATE TABLE dealt AS
            SELECT DISTINCT w.chunk, {columns.replace("image_path, identifier", "l.image_path, l.identifier")}
            FROM latest l LEFT JOIN wanted w ON w.identifier = l.identifier
            WHERE w.identifier IS NOT NULL OR l.image_path NOT IN (SELECT image_path FROM wanted)
            ORDER BY chunk, image_path, identifier""")
        with atomic_folder(earlier) as temporary:
            for chunk in range(chunks):
                query = f"SELECT {columns} FROM dealt WHERE chunk = {chunk} ORDER BY image_path, identifier"
                arrow.write_parquet(tables.select_batches(connection, query), temporary / chunk_name(chunk), OUTCOME)
            unused = f"SELECT {columns} FROM dealt WHERE chunk IS NULL ORDER BY image_path, identifier"
            arrow.write_parquet(tables.select_batches(connection, unused), temporary / "unused.parquet", OUTCOME)
    for path in (*folder.glob("chunk-*.parquet"), *journals):
        path.unlink()
    for leftover in folder.glob(".tmp-earlier-*"):
        shutil.rmtree(leftover)


def _gather(connection: duckdb.DuckDBPyConnection, sources: list[Path], journals: list[Path]) -> None:
    """Make the table `outcome` of the ledgers, then the journals: later `age`, or `line` of a journal, stand over."""
    connection.register("none", OUTCOME.empty_table())
    connection.execute("CREATE TABLE outcome AS SELECT 0 AS age, 0 AS line, * FROM none")
    for age, path in enumerate(sources):
        has_both_urls = "requested_url" in pq.read_schema(path).names
        columns = ", ".join(OUTCOME.names if has_both_urls else [*OUTCOME.names[:-1], "identifier"])
        connection.execute(f"INSERT INTO outcome SELECT {age}, 0, {columns} FROM {tables.parquet_source([path])}")
    for age, path in enumerate(journals, len(sources)):
        lines = table(read_journal(path))
        connection.register("lines", lines.append_column("line", pa.array(range(len(lines)), pa.int32())))
        connection.execute(f"INSERT INTO outcome SELECT {age}, line, {', '.join(OUTCOME.names)} FROM lines")


def forget_journal(folder: Path, chunk: int) -> None:
    """Take away a journal whose outcomes stand in the chunk's table."""
    with contextlib.suppress(FileNotFoundError):
        journal_path(folder, chunk).unlink()
