"""Deleting images on a list, inside images/ and nowhere else, with a line for each in deleted.csv."""

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file

COLUMNS = ("image_path", "identifier", "sha256", "reason", "deleted_at")
ROWS = 10_000


def delete(
    listing: Path, verified: Path, images: Path, before: Path, target: Path, now: str | None, scratch: Path
) -> dict[str, int]:
    """Delete the images on `listing`, a CSV with the column image_path or a text with a path a line.

    `target` gets a line for each, with `now` (UTC, ISO 8601) as its date, after those of `before`, an older target,
    whose images have not come back. Where `now` is None nothing is deleted: the lines say what would be.
    Returns how many images were listed, and the reasons. Raises ParameterError where the list can't be read or leads
    out of `images`, SelectionError where it names an image that the dataset does not have; then nothing is deleted.
    """
    with tables.open_database(scratch) as connection:
        listed = "CREATE TABLE listed AS SELECT image_path, min(reason) AS reason FROM rows GROUP BY 1"
        tables.insert_batches(connection, listed, _SCHEMA, _lines(listing))
        _remember(connection, before, images)
        connection.execute(f"""CREATE TABLE doomed AS SELECT l.image_path, v.identifier, v.sha256, l.reason
            FROM listed l LEFT JOIN {tables.parquet_source([verified])} v USING (image_path)
            WHERE l.image_path NOT IN (SELECT image_path FROM gone)""")
        _refuse_unknown(connection, listing)
        _refuse_links(connection, images)
        stamp = tables.quote_text(now) if now else "NULL"
        with atomic_file(target) as temporary:
            connection.execute(f"""COPY (
                SELECT {", ".join(COLUMNS)} FROM gone UNION ALL SELECT *, {stamp} FROM doomed ORDER BY image_path
                ) TO {tables.quote_text(str(temporary))} (FORMAT csv, HEADER)""")
        if now:
            for name in _doomed(connection):
                (images / name).unlink(missing_ok=True)
        return dict(tables.fetch_rows(connection, "SELECT reason, count(*) FROM doomed GROUP BY 1 ORDER BY 1"))


_SCHEMA = pa.schema([("image_path", pa.string()), ("reason", pa.string())])


def _lines(listing: Path) -> Iterator[pa.RecordBatch]:
    """The listed paths below images/, and the reason: the CSV's column `error` or `reason`, else `listed`."""
    held: list[tuple[str, str]] = []
    try:
        for number, entry, reason in _entries(listing):
            if entry.strip():
                held.append((_inside(entry.strip(), listing, number), reason))
            if len(held) == ROWS:
                yield _batch(held)
                held = []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ParameterError(f"image_list {listing} can't be read: {error}") from error
    if held:
        yield _batch(held)


def _entries(listing: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, path and reason of each entry, whichever of its two forms the list has."""
    if "image_path" in tables.read_header(listing):
        with tables.open_csv(listing) as lines:
            for number, line in enumerate(lines, 2):
                yield number, line["image_path"] or "", line.get("error") or line.get("reason") or "listed"
    else:
        with listing.open(encoding="utf-8-sig") as plain:
            for number, entry in enumerate(plain, 1):
                yield number, entry, "listed"


def _batch(held: list[tuple[str, str]]) -> pa.RecordBatch:
    paths, reasons = zip(*held, strict=True)
    return pa.RecordBatch.from_arrays([pa.array(paths), pa.array(reasons)], schema=_SCHEMA)


def _inside(entry: str, listing: Path, number: int) -> str:
    path = PurePosixPath(entry.removeprefix("./").removeprefix("images/"))
    if path.is_absolute() or ".." in path.parts:
        raise ParameterError(
            f"image_list {listing}, line {number}: {entry} leads out of images/; list paths below it. "
            "Nothing was deleted"
        )
    return str(path)


def _remember(connection: duckdb.DuckDBPyConnection, before: Path, images: Path) -> None:
    """Make the table `gone`: the lines of the older target whose images are still away."""
    connection.execute(f"CREATE TABLE gone ({', '.join(f'{name} VARCHAR' for name in COLUMNS)})")
    if before.exists():
        earlier = tables.csv_source(before, COLUMNS)
        connection.execute(f"INSERT INTO gone SELECT * FROM {earlier} WHERE deleted_at IS NOT NULL")
    back = [
        name
        for batch in tables.select_batches(connection, "SELECT image_path FROM gone")
        for name in batch.column(0).to_pylist()
        if (images / name).exists()
    ]
    connection.register("back", pa.table({"image_path": pa.array(back, pa.string())}))
    connection.execute("DELETE FROM gone WHERE image_path IN (SELECT image_path FROM back)")


def _refuse_unknown(connection: duckdb.DuckDBPyConnection, listing: Path) -> None:
    unknown = tables.fetch_rows(connection, "SELECT image_path FROM doomed WHERE identifier IS NULL ORDER BY 1")
    if unknown:
        raise SelectionError(
            f"image_list {listing}: {len(unknown):,} of its paths are no images of this dataset, the first is "
            f"{unknown[0][0]}; nothing was deleted"
        )


def _refuse_links(connection: duckdb.DuckDBPyConnection, images: Path) -> None:
    inside, sound = images.resolve(), None
    for name in _doomed(connection):
        folder = (images / name).parent
        if folder != sound and not folder.resolve().is_relative_to(inside):
            raise ParameterError(f"{images / name}: a link leads out of {images}; nothing was deleted")
        sound = folder


def _doomed(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    for batch in tables.select_batches(connection, "SELECT image_path FROM doomed ORDER BY image_path"):
        yield from batch.column(0).to_pylist()
