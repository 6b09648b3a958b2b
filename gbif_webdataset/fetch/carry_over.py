"""Carry the outcomes of earlier runs over to a new manifest, so that nothing is downloaded twice."""

import contextlib
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.fetch.journal import read_journal
from gbif_webdataset.fetch.ledger import OUTCOME_COLUMNS, make_outcome_table
from gbif_webdataset.fetch.repack_images import repack_images
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.atomic import TEMPORARY, atomic_folder
from gbif_webdataset.storage.chunks import chunk_name
from gbif_webdataset.storage.device_names import DEVICE_PATH
from gbif_webdataset.terms.outcomes import Status

_COLUMNS = ", ".join(OUTCOME_COLUMNS.names)


def carry_over(folder: Path, manifest: Path, scratch: Path, memory_limit: str, pack_bytes: int) -> None:
    """Move all outcomes in `folder` (fetched/) to fetched/earlier, in the chunks of a new manifest, by URL.

    A file has the bytes of the URL that was downloaded to its path last, so outcomes of older URLs of the path are
    dropped. Outcomes whose URL is not in the new manifest are kept in earlier/unused.parquet. If the new manifest gives
    their path to another URL, their bytes are about to be replaced: such outcomes are dropped, too, unless the manifest
    has their URL at another path. Images in packs move to the chunks of their outcomes. After a crash at any point
    every outcome is in at least one place that the next call reads.
    """
    chunks = len(list(manifest.glob("chunk-*.parquet")))
    earlier = folder / "earlier"
    sources = [path for path in folder.glob("**/*.parquet") if TEMPORARY not in path.name]
    journals = sorted(folder.glob("chunk-*.journal"))
    if not sources and not journals:
        return
    sources.sort(key=lambda path: (path.parent == folder, path.parent == earlier))
    with tables.open_database(scratch, memory_limit) as connection:
        _load_outcomes(connection, sources, journals)
        _assign_chunks(connection, [manifest / chunk_name(chunk) for chunk in range(chunks)])
        _move_device_paths(connection, folder.parent / "images")
        repack_images(connection, folder.parent / "images", chunks, pack_bytes)
        with atomic_folder(earlier) as temporary:
            for chunk in range(chunks):
                _write_outcomes(connection, f"chunk = {chunk}", temporary / chunk_name(chunk))
            _write_outcomes(connection, "chunk IS NULL", temporary / "unused.parquet")
    for path in (*folder.glob("chunk-*.parquet"), *journals):
        path.unlink()
    for left in folder.glob(f"{TEMPORARY}earlier-*"):
        shutil.rmtree(left)


def _load_outcomes(connection: duckdb.DuckDBPyConnection, sources: list[Path], journals: list[Path]) -> None:
    """Fill the table `outcome` from ledgers, then journals. A higher `age`, or `line` in a journal, is more recent."""
    connection.register("empty", OUTCOME_COLUMNS.empty_table())
    connection.execute("CREATE TABLE outcome AS SELECT 0 AS age, 0 AS line, * FROM empty")
    for age, path in enumerate(sources):
        has_both_urls = "requested_url" in arrow.read_parquet_schema(path).names
        columns = _COLUMNS if has_both_urls else ", ".join([*OUTCOME_COLUMNS.names[:-1], "identifier"])
        try:
            connection.execute(f"INSERT INTO outcome SELECT {age}, 0, {columns} FROM {tables.parquet_source([path])}")
        except (duckdb.InvalidInputException, duckdb.BinderException, duckdb.SerializationException) as error:
            raise DamagedFileError.of_table(path) from error
    for age, path in enumerate(journals, len(sources)):
        lines = make_outcome_table(read_journal(path))
        numbers = arrow.to_typed_array(range(len(lines)), pa.int32())
        connection.register("lines", lines.append_column("line", numbers))
        connection.execute(f"INSERT INTO outcome SELECT {age}, line, {_COLUMNS} FROM lines")


def _assign_chunks(connection: duckdb.DuckDBPyConnection, manifests: list[Path]) -> None:
    """Fill the table `assigned`: the outcomes to keep, each with its chunk; NULL if no chunk has its URL."""
    files = ", ".join(tables.quote_text(str(path)) for path in manifests)
    connection.execute(f"""CREATE TABLE requested AS SELECT identifier, image_path,
        regexp_extract(filename, 'chunk-(\\d+)\\.parquet$', 1)::INT AS chunk
        FROM read_parquet([{files}], filename = true, hive_partitioning = false)""")
    connection.execute(f"""CREATE TABLE latest AS SELECT {_COLUMNS} FROM (SELECT * FROM outcome
        QUALIFY row_number() OVER
            (PARTITION BY requested_url, identifier, image_path ORDER BY age DESC, line DESC) = 1)
        QUALIFY status = '{Status.FAILED}'
        OR row_number()
            OVER (PARTITION BY image_path, status = '{Status.FAILED}' ORDER BY age DESC, line DESC) = 1""")
    columns = _COLUMNS.replace("image_path, identifier", "l.image_path, l.identifier")
    connection.execute(f"""CREATE TABLE assigned AS
        SELECT DISTINCT r.chunk, {columns}
        FROM latest l LEFT JOIN requested r ON r.identifier = l.identifier
        WHERE r.identifier IS NOT NULL OR l.image_path NOT IN (SELECT image_path FROM requested)
        ORDER BY chunk, image_path, identifier""")


def _move_device_paths(connection: duckdb.DuckDBPyConnection, images: Path) -> None:
    """Give images with a path that Windows cannot have, which versions before 0.5 wrote, the path of the manifest."""
    moves = tables.fetch_rows(
        connection,
        f"""SELECT a.image_path, min(r.image_path) FROM assigned a JOIN requested r USING (identifier)
        WHERE a.status <> '{Status.FAILED}' AND regexp_matches(a.image_path, '{DEVICE_PATH}')
        AND NOT regexp_matches(r.image_path, '{DEVICE_PATH}') GROUP BY a.image_path ORDER BY a.image_path""",
    )
    for old, new in moves:
        source, target = images / old, images / new
        if source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            with contextlib.suppress(OSError):  # other images are in the folder
                source.parent.rmdir()
        if target.exists() and not source.exists():
            connection.execute("UPDATE assigned SET image_path = $1 WHERE image_path = $2", [new, old])


def _write_outcomes(connection: duckdb.DuckDBPyConnection, condition: str, target: Path) -> None:
    query = f"SELECT {_COLUMNS} FROM assigned WHERE {condition} ORDER BY image_path, identifier"
    arrow.write_parquet(tables.select_batches(connection, query), target, OUTCOME_COLUMNS)
