"""DuckDB within a memory limit, and the CSV files that the stages write."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from csv import DictReader, reader
from csv import Error as CsvError
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import DamagedFileError, MissingPieceError, ParameterError
from gbif_webdataset.storage.arrow import ROW_GROUP
from gbif_webdataset.storage.atomic import temporary_folder

ORDER = "hash(coreid), image_path"
"""The order of the images in every table. All chunks, read one after another, are in this order."""
MEMORY_LIMIT = "1GB"
MAX_LINE_BYTES = 16 << 20
"""Bytes of the longest line of a CSV. DuckDB's buffers depend on it; its own default is sixteen times larger."""


@contextlib.contextmanager
def open_database(scratch: Path, memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB database that spills to a temporary folder in `scratch`. The folder is removed when the block ends.

    `memory_limit` is in DuckDB's notation: `800MB`, `4GB`.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with temporary_folder(scratch, "duckdb") as folder, contextlib.closing(duckdb.connect()) as connection:
        connection.execute("SET memory_limit = $1", [memory_limit])
        connection.execute("SET temp_directory = $1", [str(folder)])
        connection.execute("SET enable_progress_bar = false")
        yield connection


def parse_memory_limit(memory_limit: str) -> int:
    """The bytes of a memory limit such as `800MB` or `4GB`.

    Raises:
        ParameterError: the text is not a memory limit.
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT])i?B\s*", memory_limit, re.IGNORECASE)
    if not found or found[1].count(".") > 1 or not float(found[1]):
        raise ParameterError(
            f"--ReadArchive-memory-limit {memory_limit}: not an amount of memory; write it like 800MB or 4GB"
        )
    return int(float(found[1]) * 1000 ** (" KMGT".index(found[2].upper())))


def order_clause(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """The ORDER BY clause with which a query on this Parquet file returns its rows in `ORDER`.

    It is empty if the file is sorted already: sorting rows with so many columns would take more memory and disk space
    than the query itself.

    Raises:
        MissingPieceError: two rows have the same `image_path`.
    """
    source = parquet_source([path])
    key = "row(hash(coreid), image_path)"
    keys = f"SELECT image_path, {key} AS sort_key, lag({key}) OVER () AS previous_key"
    unsorted = fetch_rows(connection, f"SELECT 1 FROM ({keys} FROM {source}) WHERE sort_key < previous_key LIMIT 1")
    order = f" ORDER BY {ORDER}" if unsorted else ""
    in_order = f"{keys} FROM (SELECT coreid, image_path FROM {source}{order})"
    equal = f"SELECT image_path FROM ({in_order}) WHERE sort_key = previous_key LIMIT 1"
    for (image,) in fetch_rows(connection, equal):
        raise MissingPieceError(
            f"{path}: two rows have the image_path {image!r}; delete this file and run the same command again"
        )
    return order


def spill_folder(connection: duckdb.DuckDBPyConnection) -> Path:
    """The temporary folder of a database, which is removed when the database is closed."""
    return Path(fetch_rows(connection, "SELECT current_setting('temp_directory')")[0][0])


def quote_name(name: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """A value as an SQL text literal."""
    return "'" + value.replace("'", "''") + "'"


def parquet_source(paths: Iterable[Path]) -> str:
    """The SQL table function that reads these Parquet files, one after another."""
    return f"read_parquet([{', '.join(quote_text(str(path)) for path in paths)}], hive_partitioning = false)"


def csv_source(path: Path, columns: Sequence[str] | None = None) -> str:
    """The SQL table function that reads a CSV written by a stage. Every column is text, and an empty field is NULL."""
    names = columns if columns is not None else read_header(path)
    types = ", ".join(f"{quote_text(name)}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({quote_text(str(path))}, header = true, auto_detect = false, "
        "delim = ',', quote = '\"', escape = '\"', "
        f"nullstr = '', new_line = '\\n', max_line_size = {MAX_LINE_BYTES}, buffer_size = {2 * MAX_LINE_BYTES}, "
        "hive_partitioning = false, "
        f"columns = {{{types}}})"
    )


def read_header(path: Path) -> list[str]:
    """The column names in a CSV's first line."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return next(reader(file), [])


def insert_batches(
    connection: duckdb.DuckDBPyConnection, statement: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> None:
    """Run `statement`, which reads `batches` as the table `rows`.

    An exception raised by `batches` is raised unchanged, not wrapped by DuckDB.
    """
    raised: list[BaseException] = []

    def record_error() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except BaseException as error:
            raised.append(error)
            raise

    connection.register("rows", pa.RecordBatchReader.from_batches(schema, record_error()))
    try:
        connection.execute(statement)
    except Exception:
        if raised:
            raise raised[0] from None
        raise
    finally:
        connection.unregister("rows")


def select_batches(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.RecordBatch]:
    """The rows of a query as Arrow batches. The whole result is never in memory."""
    yield from connection.sql(query).to_arrow_reader(ROW_GROUP)


def fetch_rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query with a small result, as tuples."""
    return connection.execute(query).fetchall()


def describe_columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The names of the columns of a table or view."""
    return [name for name, *_ in fetch_rows(connection, f"DESCRIBE {table}")]


@contextlib.contextmanager
def open_csv(path: Path) -> Iterator["DictReader[str]"]:
    """A CSV's rows as dictionaries of text, read one at a time."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        yield DictReader(file)


@contextlib.contextmanager
def open_made_csv(path: Path, columns: Iterable[str]) -> Iterator["DictReader[str]"]:
    """The rows of a CSV that a stage wrote with at least these columns.

    Raises:
        DamagedFileError: the file is not such a CSV.
    """
    try:
        with open_csv(path) as rows:
            if not set(columns) <= set(rows.fieldnames or ()):
                raise DamagedFileError.of_list(path)
            yield rows
    except (UnicodeDecodeError, CsvError) as error:
        raise DamagedFileError.of_list(path) from error
