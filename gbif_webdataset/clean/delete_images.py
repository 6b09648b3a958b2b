"""Deletion of the images on a list, inside images/ and nowhere else, with a line for each in deleted.csv."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import duckdb
import pyarrow as pa

from gbif_webdataset import __version__
from gbif_webdataset.errors import DamagedFileError, ParameterError, option_text
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.image_deletion import delete_from_stores, tidy_stores
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.list_match import describe_match
from gbif_webdataset.storage.pack_store import restore_indexes
from gbif_webdataset.terms import columns as described

COLUMNS = tuple(column.name for column in described.DELETED)
OPTION = "--DeleteImages-image-list"
LISTED = "listed"  # the reason if the list states none
BATCH_ROWS = 10_000
SCHEMA = pa.schema([("image_path", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class DeletionFiles:
    """The files that DeleteImages reads and writes.

    `image_list` is a CSV with the column image_path, or a text with one path per line. `verified` is the table of all
    images, `images` their folder. `deleted` lists what was deleted, `would_delete` what a dry run would delete, and
    `unmatched` the paths of the list that are no images of the dataset.
    """

    image_list: Path
    verified: Path
    images: Path
    deleted: Path
    would_delete: Path
    unmatched: Path


@dataclass(frozen=True)
class Deletion:
    """What was deleted.

    Attributes:
        reasons: the number of images for each reason.
        unmatched: the number of paths of the list that are no images of the dataset.
        match: how many paths of the list are images of the dataset, as a sentence.
    """

    reasons: dict[str, int]
    unmatched: int
    match: str


def delete_images(files: DeletionFiles, deleted_at: str | None, scratch: Path, pack_bytes: int) -> Deletion:
    """Delete the listed images.

    Each image gets a line in `files.deleted` with the time `deleted_at` (UTC, ISO 8601) and the version. Older
    lines are kept unless their images exist again. With `deleted_at` None nothing is deleted, and the lines are written
    to `files.would_delete`. Packs that are written again have at most `pack_bytes` bytes. Paths that are no images of
    the dataset are listed in `files.unmatched`, which does not exist if there are none.

    Raises:
        ParameterError: the list cannot be read, or a path leads out of `files.images`. Nothing is deleted.
        SelectionError: none of the paths is an image of the dataset. Nothing is deleted.
        DamagedFileError: `files.deleted` is damaged. Nothing is deleted.
    """
    restore_indexes(files.images)
    with tables.open_database(scratch) as connection:
        listed = "CREATE TABLE listed AS SELECT image_path, min(reason) AS reason FROM rows GROUP BY 1"
        tables.insert_batches(connection, listed, SCHEMA, _read_list(files.image_list))
        _create_deleted_earlier(connection, files)
        verified = tables.parquet_source([files.verified])
        connection.execute(f"""CREATE TABLE to_delete AS
            SELECT listed.image_path, verified.identifier, verified.sha256, listed.reason
            FROM listed JOIN {verified} AS verified USING (image_path)
            WHERE listed.image_path NOT IN (SELECT image_path FROM deleted_earlier);
            CREATE TABLE unmatched AS SELECT image_path FROM listed ANTI JOIN {verified} AS verified USING (image_path)
            WHERE image_path NOT IN (SELECT image_path FROM deleted_earlier) ORDER BY image_path""")
        [(listed, unmatched)] = tables.fetch_rows(
            connection, "SELECT count(*), (SELECT count(*) FROM unmatched) FROM listed"
        )
        match = _describe_list(files.image_list, listed - unmatched, listed)
        _check_links(connection, files.images)
        time = tables.quote_text(deleted_at) if deleted_at else "NULL"
        with atomic_file(files.deleted if deleted_at else files.would_delete) as target:
            connection.execute(f"""COPY (
                SELECT {", ".join(COLUMNS)} FROM deleted_earlier
                UNION ALL SELECT *, {time}, '{__version__}' FROM to_delete
                ORDER BY image_path
                ) TO {tables.quote_text(str(target))} (FORMAT csv, HEADER)""")
        _write_unmatched(connection, files.unmatched, unmatched)
        if deleted_at:
            for batch in tables.select_batches(connection, "SELECT image_path FROM to_delete ORDER BY image_path"):
                delete_from_stores(files.images, batch.column(0).to_pylist(), pack_bytes)
            tidy_stores(files.images, pack_bytes)
        reasons = tables.fetch_rows(connection, "SELECT reason, count(*) FROM to_delete GROUP BY 1 ORDER BY 1")
        return Deletion(dict(reasons), unmatched, match)


def check_image_list(image_list: Path) -> None:
    """Return if a list of images can be read, whatever images it names.

    Raises:
        ParameterError: the list cannot be read, or a path leads out of images/.
    """
    for _ in _read_list(image_list):
        pass


def match_image_list(connection: duckdb.DuckDBPyConnection, image_list: Path, table: str) -> str:
    """How many paths of a list are in a table with the column image_path, as a sentence.

    Raises:
        SelectionError: none is.
        ParameterError: the list cannot be read, or a path leads out of images/.
    """
    listed = "CREATE TEMP TABLE listed AS SELECT DISTINCT image_path FROM rows"
    tables.insert_batches(connection, listed, SCHEMA, _read_list(image_list))
    query = f"SELECT (SELECT count(*) FROM listed SEMI JOIN {table} USING (image_path)), count(*) FROM listed"
    [(found, count)] = tables.fetch_rows(connection, query)
    connection.execute("DROP TABLE listed")
    return _describe_list(image_list, found, count)


def _describe_list(image_list: Path, found: int, listed: int) -> str:
    remedy = "write image_path as in the manifest, <datasetKey>/<coreid>.jpg. The others are not deleted"
    return describe_match(option_text(OPTION, image_list), "images", found, listed, remedy)


def _write_unmatched(connection: duckdb.DuckDBPyConnection, path: Path, count: int) -> None:
    if not count:
        path.unlink(missing_ok=True)
        return
    with atomic_file(path) as target:
        connection.execute(f"COPY unmatched TO {tables.quote_text(str(target))} (FORMAT csv, HEADER)")


def _read_list(image_list: Path) -> Iterator[pa.RecordBatch]:
    """The listed paths below images/, each with its reason: the CSV's column `error` or `reason`, or LISTED."""
    rows: list[tuple[str, str]] = []
    try:
        for number, entry, reason in _read_entries(image_list):
            if entry.strip():
                rows.append((_check_path(entry.strip(), image_list, number), reason))
            if len(rows) == BATCH_ROWS:
                yield _to_batch(rows)
                rows = []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ParameterError(
            f"{OPTION} {image_list}: not readable ({error}); give a CSV with the column image_path, "
            "or a text with one path per line"
        ) from error
    if rows:
        yield _to_batch(rows)


def _read_entries(image_list: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, path and reason of each entry, in either form of the list."""
    if "image_path" in tables.read_header(image_list):
        with tables.open_csv(image_list) as lines:
            for number, line in enumerate(lines, 2):
                yield number, line["image_path"] or "", line.get("error") or line.get("reason") or LISTED
    else:
        with image_list.open(encoding="utf-8-sig") as text:
            for number, entry in enumerate(text, 1):
                yield number, entry, LISTED


def _to_batch(rows: list[tuple[str, str]]) -> pa.RecordBatch:
    return pa.record_batch([arrow.to_text_array(values) for values in zip(*rows, strict=True)], schema=SCHEMA)


def _check_path(entry: str, image_list: Path, number: int) -> str:
    """The path below images/ of an entry."""
    path = PurePosixPath(entry.removeprefix("./").removeprefix("images/"))
    if path.is_absolute() or ".." in path.parts:
        raise ParameterError(
            f"{image_list}, line {number}: {entry} is outside images/; list paths below images/. Nothing was deleted"
        )
    return str(path)


def _create_deleted_earlier(connection: duckdb.DuckDBPyConnection, files: DeletionFiles) -> None:
    """Create the table `deleted_earlier` with the lines of `files.deleted` whose images do not exist."""
    connection.execute(f"CREATE TABLE deleted_earlier ({', '.join(f'{name} VARCHAR' for name in COLUMNS)})")
    if files.deleted.exists():
        with tables.open_made_csv(files.deleted, ("image_path", "deleted_at")) as rows:
            header = rows.fieldnames or ()
        columns = ", ".join(name for name in COLUMNS if name in header)
        source = tables.csv_source(files.deleted)
        try:
            connection.execute(
                f"INSERT INTO deleted_earlier BY NAME SELECT {columns} FROM {source} WHERE deleted_at IS NOT NULL"
            )
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            raise DamagedFileError.of_list(files.deleted) from error
    existing: list[str] = []
    for batch in tables.select_batches(connection, "SELECT image_path FROM deleted_earlier"):
        names, images = batch.column(0).to_pylist(), ImageReader(files.images)
        images.find_places(names)
        existing += filter(images.has_image, names)
    connection.register("existing", pa.table([arrow.to_text_array(existing)], ["image_path"]))
    connection.execute("DELETE FROM deleted_earlier WHERE image_path IN (SELECT image_path FROM existing)")


def _check_links(connection: duckdb.DuckDBPyConnection, images: Path) -> None:
    """Raise ParameterError if a folder of an image is a link to somewhere outside `images`."""
    root, checked = images.resolve(), None
    for name in _select_paths(connection):
        folder = (images / name).parent
        if folder != checked and not folder.resolve().is_relative_to(root):
            raise ParameterError(
                f"{images / name}: its folder is a link to a place outside {images}; replace the link by a folder. "
                "Nothing was deleted"
            )
        checked = folder


def _select_paths(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    for batch in tables.select_batches(connection, "SELECT image_path FROM to_delete ORDER BY image_path"):
        yield from batch.column(0).to_pylist()
