"""Compare the images of a chunk with its ledger."""

import csv
import fcntl
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

import pyarrow as pa

from gbif_webdataset.audit.check_file import Expected, Finding, check_file
from gbif_webdataset.audit.check_packs import check_packed_image, check_packs
from gbif_webdataset.audit.records import ledger_label, output_name
from gbif_webdataset.errors import DatasetError
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.chunks import journal_name
from gbif_webdataset.storage.image_store import is_packed
from gbif_webdataset.storage.pack_store import PackStore
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.removed_images import find_chunk_removal
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.differences import Difference
from gbif_webdataset.terms.outcomes import WITHOUT_FILE, Status

BATCH_ROWS = 4_096
IMAGES_PER_CALL = 32  # handing single images to the threads would take a large part of the time of a small image
COLUMNS = ("image_path", "identifier", "status", "error", "bytes", "sha256")


@dataclass(frozen=True)
class ImageRow:
    """An image that was downloaded: its URL, and its file as it was written."""

    identifier: str
    expected: Expected


@dataclass(frozen=True)
class ImageTable:
    """A table with the sizes and SHA-256 of the images of a chunk.

    It is the ledger, a verified table, or the verified table of all chunks, of which `manifest` names the images.
    """

    path: Path
    manifest: Path | None = None

    def read_names(self) -> set[str] | None:
        """The paths of the images of the chunk; None if the table has no others.

        Raises:
            DamagedFileError: `manifest` is damaged.
        """
        if self.manifest is None:
            return None
        batches = arrow.iterate_parquet(self.manifest, BATCH_ROWS, ["image_path"])
        return {name for batch in batches for name in batch.column(0).to_pylist()}


def find_image_table(paths: DatasetPaths, chunk: int, damaged: Collection[str]) -> ImageTable | None:
    """The table of the images of a chunk; None if there is none that can be read.

    It is the ledger or, if the ledger is among the `damaged` files, a table that was made from it.
    """
    manifest = paths.chunk("manifest", chunk)
    tables_of_chunk = [ImageTable(paths.chunk(stage, chunk)) for stage in ("fetched", "verified")]
    candidates = [*tables_of_chunk, ImageTable(paths.verified, manifest)]
    intact = [table for table in candidates if output_name(paths.output, table.path) not in damaged]
    return next(filter(_is_readable, (*intact, *candidates)), None)


def read_images(table: ImageTable, label: str) -> Iterator[list[ImageRow]]:
    """The images of a chunk that were downloaded, in batches. `label` is that of the ledger.

    Raises:
        DamagedFileError: the table is damaged.
    """
    names = table.read_names()
    for batch in arrow.iterate_parquet(table.path, BATCH_ROWS, COLUMNS):
        rows = _list_images(batch, label)
        yield [row for row in rows if names is None or row.expected.file.removeprefix("images/") in names]


def check_images(paths: DatasetPaths, chunk: int, table: ImageTable, pool: ThreadPoolExecutor) -> Iterator[Finding]:
    """The differences of the images of a chunk from `table`.

    Images that DeleteImages deleted, or that were removed after the report, are none.
    """
    missing: dict[Finding, str] = {}
    store = PackStore(paths.images, chunk) if is_packed(paths.images, chunk) else None
    check_one = partial(check_packed_image, store) if store else partial(check_file, paths.output)
    check = partial(_check_call, check_one)
    for rows in read_images(table, ledger_label(chunk)):
        calls = (rows[at : at + IMAGES_PER_CALL] for at in range(0, len(rows), IMAGES_PER_CALL))
        for row, finding in chain.from_iterable(pool.map(check, calls)):
            if finding.kind == Difference.MISSING:
                missing[finding] = row.identifier
            else:
                yield finding
    if store and store.is_index_damaged():
        missing.clear()  # the packs may have these images; the index is a finding itself
    if missing and not find_chunk_removal(TargetRecord.load(paths.record(ledger_label(chunk)))):
        deleted = _find_deleted(paths, {name: url for (name, *_), url in missing.items()})
        yield from (finding for finding in missing if finding.file not in deleted)
    if store:
        yield from check_packs(store, chunk, ledger_label(chunk))


def is_being_fetched(paths: DatasetPaths, chunk: int) -> bool:
    """Whether a process has the journal of a chunk locked."""
    try:
        with (paths.fetched / journal_name(chunk)).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _list_images(batch: pa.RecordBatch, label: str) -> Iterator[ImageRow]:
    for path, url, status, error, size, sha256 in zip(*(batch.column(n).to_pylist() for n in COLUMNS), strict=True):
        name = PurePosixPath("images", path)
        if status != Status.FAILED and error not in WITHOUT_FILE and ".." not in name.parts and name.parts[0] != "/":
            yield ImageRow(url, Expected(str(name), label, size, sha256))


def _check_call(
    check_one: Callable[[Expected], Finding | None], rows: list[ImageRow]
) -> list[tuple[ImageRow, Finding]]:
    found = ((row, check_one(row.expected)) for row in rows)
    return [(row, finding) for row, finding in found if finding]


def _find_deleted(paths: DatasetPaths, missing: dict[str, str]) -> set[str]:
    """Those of the missing images, by path with their URLs, that were deleted, or may be because they are damaged."""
    deleted: set[str] = set()
    for path in (paths.deleted, paths.errors):
        try:
            with tables.open_csv(path) as rows:
                names = ((f"images/{row.get('image_path')}", row.get("identifier")) for row in rows)
                deleted.update(name for name, url in names if name in missing and missing[name] == url)
        except (OSError, ValueError, csv.Error):
            continue  # the table is missing, or reported itself
    return deleted


def _is_readable(table: ImageTable) -> bool:
    try:
        is_named = table.manifest is None or "image_path" in arrow.read_parquet_schema(table.manifest).names
        return is_named and set(COLUMNS) <= set(arrow.read_parquet_schema(table.path).names)
    except (DatasetError, OSError):
        return False
