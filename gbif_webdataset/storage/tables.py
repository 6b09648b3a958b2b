"""DuckDB within a memory limit, and the CSV files of the stages."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from csv import DictReader, reader
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import MissingPieceError, ParameterError
from gbif_webdataset.storage.arrow import ROW_GROUP
from gbif_webdataset.storage.atomic import temporary_folder

ORDER = "hash(coreid), image_path"  # of the images in every table: the chunks, one after another, are in it
MEMORY_LIMIT = "1GB"
LONGEST_LINE = 16 << 20  # bytes; by itself DuckDB would hold sixteen times as much for each thread


@contextlib.contextmanager
def open_database(scratch: Path, memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB database in a temporary folder under `scratch`, which it spills to and takes away with it.

    `memory_limit` is DuckDB's own notation (`800MB`, `4GB`).
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with temporary_folder(scratch, "duckdb") as folder, contextlib.closing(duckdb.connect()) as connection:
        connection.execute("SET memory_limit = $1", [memory_limit])
        connection.execute("SET temp_directory = $1", [str(folder)])
        connection.execute("SET enable_progress_bar = false")
        yield connection


def parse_memory_limit(memory_limit: str) -> int:
    """Bytes of a memory limit such as 800MB or 4GB. Raises ParameterError for what is none."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT])i?B\s*", memory_limit, re.IGNORECASE)
    if not found or found[1].count(".") > 1 or not float(found[1]):
        raise ParameterError(f"memory_limit is {memory_limit!r}: write it as 800MB or 4GB")
    return int(float(found[1]) * 1000 ** (" KMGT".index(found[2].upper())))


def order_clause(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """What an SQL query on this Parquet file ends in to give its rows in `ORDER`: nothing where they lie so.

    Sorting rows as wide as these takes more memory and disk than all the rest. MissingPieceError where an
    `image_path` stands in it twice.
    """
    source = parquet_source([path])
    here = "row(hash(coreid), image_path)"
    steps = f"SELECT image_path, {here} AS here, lag({here}) OVER () AS previous"
    unordered = fetch_rows(connection, f"SELECT 1 FROM ({steps} FROM {source}) WHERE here < previous LIMIT 1")
    order = f" ORDER BY {ORDER}" if unordered else ""
    ordered = f"{steps} FROM (SELECT coreid, image_path FROM {source}{order})"
    for (image,) in fetch_rows(connection, f"SELECT image_path FROM ({ordered}) WHERE here = previous LIMIT 1"):
        raise MissingPieceError(f"{path}: image_path {image!r} stands in it twice; make it again from the stage before")
    return order


def spill_folder(connection: duckdb.DuckDBPyConnection) -> Path:
    """The temporary folder of a database, which goes with it."""
    return Path(fetch_rows(connection, "SELECT current_setting('temp_directory')")[0][0])


def quote_name(name: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """A value as an SQL text literal."""
    return "'" + value.replace("'", "''") + "'"


def parquet_source(paths: Iterable[Path]) -> str:
    """The SQL table function that reads these Parquet files, in their order."""
    return f"read_parquet([{', '.join(quote_text(str(path)) for path in paths)}], hive_partitioning = false)"


def csv_source(path: Path, columns: Sequence[str] | None = None) -> str:
    """The SQL table function that reads a CSV of ours: every column text, an empty field NULL."""
    names = columns if columns is not None else read_header(path)
    types = ", ".join(f"{quote_text(name)}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({quote_text(str(path))}, header = true, auto_detect = false, "
        "delim = ',', quote = '\"', escape = '\"', "
        f"nullstr = '', new_line = '\\n', max_line_size = {LONGEST_LINE}, buffer_size = {2 * LONGEST_LINE}, "
        "hive_partitioning = false, "
        f"columns = {{{types}}})"
    )


def read_header(path: Path) -> list[str]:
    """The names in a CSV's first line."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return next(reader(file), [])


def insert_batches(
    connection: duckdb.DuckDBPyConnection, statement: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> None:
    """Run `statement`, which reads `batches` as the table `rows`. An error of theirs comes out as it was raised."""
    raised: list[BaseException] = []

    def watched() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except BaseException as error:
            raised.append(error)
            raise

    connection.register("rows", pa.RecordBatchReader.from_batches(schema, watched()))
    try:
        connection.execute(statement)
    except Exception:
        if raised:
            raise raised[0] from None
        raise
    finally:
        connection.unregister("rows")


def select_batches(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.RecordBatch]:
    """A query's rows as Arrow batches, never all in memory."""
    yield from connection.sql(query).to_arrow_reader(ROW_GROUP)


def fetch_rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    """A small query's rows."""
    return connection.execute(query).fetchall()


@contextlib.contextmanager
def open_csv(path: Path) -> Iterator["DictReader[str]"]:
    """A CSV's lines, one at a time, as dictionaries of text."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        yield DictReader(file)
