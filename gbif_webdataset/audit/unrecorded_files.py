"""Files in the folder of a dataset that no record and no ledger names."""

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import filterfalse, islice
from pathlib import Path

import duckdb
import pyarrow as pa

from gbif_webdataset.audit.check_file import Finding
from gbif_webdataset.errors import DatasetError
from gbif_webdataset.remote.address_claim import CLAIM
from gbif_webdataset.slurm.jobs import LOGS
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.atomic import TEMPORARY
from gbif_webdataset.storage.chunks import index_name, list_packed_chunks
from gbif_webdataset.storage.pack_store import PackStore
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.differences import Difference

BATCH_FILES = 10_000
UNRECORDED = {
    *("audit.csv", "deleted.csv", "would-delete.csv", "report/comparison.html", "report/comparison.csv"),
    CLAIM,
}
"""Files that belong to a dataset although no record names them."""
UNRECORDED_FOLDERS = (".made", ".scratch", LOGS, "fetched/earlier", "inputs", "publish", "shards/.parts")
PACK = re.compile(r"images/chunk-\d{5}(\.idx|/\d+\.tar)")
SCHEMA = pa.schema([("file", pa.string())])


def find_unrecorded_files(
    paths: DatasetPaths, recorded: Collection[str], ledgers: Iterable[Path], started_ns: int
) -> Iterator[Finding]:
    """The files that are neither `recorded` nor images of the `ledgers`, and temporary files, folder by folder.

    Files that were written after `started_ns`, in nanoseconds since 1970, are left out: a run may be writing them.
    Memory does not grow with the number of images.
    """
    images: list[str] = []
    with tables.open_database(paths.scratch) as connection:
        connection.execute("CREATE TABLE present (file VARCHAR)")
        connection.execute("CREATE TABLE named (file VARCHAR)")
        for file in filterfalse(PACK.fullmatch, _list_files(paths.output, "", started_ns)):
            if TEMPORARY in file and any(part.startswith(TEMPORARY) for part in file.split("/")):
                yield Finding(to_text(file), str(Difference.TEMPORARY))
            elif file.startswith("images/"):
                images.append(file)
                if len(images) == BATCH_FILES:
                    _insert(connection, "present", images)
                    images.clear()
            elif file not in recorded and not _is_unrecorded(file):
                yield Finding(to_text(file), str(Difference.NOT_RECORDED))
        _insert(connection, "present", images)
        for packed in _list_packed(paths, started_ns):
            _insert(connection, "present", packed)
        for named in _list_named(paths, ledgers):
            _insert(connection, "named", (f"images/{name}" for name in named))
        query = "SELECT DISTINCT file FROM present ANTI JOIN named USING (file) ORDER BY file"
        for batch in tables.select_batches(connection, query):
            for file in batch.column(0).to_pylist():
                yield Finding(file, str(Difference.NOT_RECORDED))


def _list_files(output: Path, folder: str, started_ns: int) -> Iterator[str]:
    """The files below a folder, by path below `output`, in the order of their names."""
    if folder in UNRECORDED_FOLDERS:
        return
    with os.scandir(output / folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _list_files(output, name, started_ns)
            elif entry.stat(follow_symlinks=False).st_mtime_ns <= started_ns:
                yield name


def _list_packed(paths: DatasetPaths, started_ns: int) -> Iterator[list[str]]:
    """The images in the packs of each chunk that no run is writing."""
    for chunk in list_packed_chunks(paths.images):
        index = paths.images / index_name(chunk)
        if index.exists() and index.stat().st_mtime_ns <= started_ns:
            yield [f"images/{path}" for path in PackStore(paths.images, chunk).list_paths()]


def _is_unrecorded(file: str) -> bool:
    is_of_chunk = file.startswith("fetched/chunk-") and file.endswith((".journal", ".attempts"))
    is_of_archive = file.startswith("archive/") and not file.endswith(".zip")  # parts of transfers, and requests
    return is_of_chunk or is_of_archive or file in UNRECORDED


def _insert(connection: duckdb.DuckDBPyConnection, table: str, files: Iterable[str]) -> None:
    batch = pa.record_batch([arrow.to_text_array([to_text(file) for file in files])], schema=SCHEMA)
    tables.insert_batches(connection, f"INSERT INTO {table} SELECT file FROM rows", SCHEMA, [batch])


def to_text(file: str) -> str:
    """A path as text: bytes that are not UTF-8 are escapes, so that no ledger names it."""
    return file.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _list_named(paths: DatasetPaths, ledgers: Iterable[Path]) -> Iterator[list[str]]:
    """The images in ledgers, ledgers of earlier manifests and journals, in batches."""
    for table in (*ledgers, *sorted((paths.fetched / "earlier").glob("*.parquet"))):
        with contextlib.suppress(DatasetError, OSError):  # a damaged table is reported itself
            for batch in arrow.iterate_parquet(table, BATCH_FILES, ["image_path"]):
                yield batch.column(0).to_pylist()
    for journal in sorted(paths.fetched.glob("chunk-*.journal")):
        with contextlib.suppress(OSError), journal.open("rb") as file:
            while lines := list(islice(file, BATCH_FILES)):
                yield list(filter(None, map(_read_journal_line, lines)))


def _read_journal_line(line: bytes) -> str:
    """The image of a line of a journal; empty if the line is damaged."""
    try:
        return str(json.loads(line)[0])
    except (ValueError, TypeError, LookupError):
        return ""
