"""Tables: DuckDB within a memory limit, and Parquet files whose bytes depend on their rows alone."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from csv import DictReader, reader
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.files import TEMPORARY, whole_file

ROW_GROUP = 65_536
MEMORY_LIMIT = "1GB"


@contextlib.contextmanager
def database(scratch: Path, memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB database in a temporary folder under `scratch`, which it spills to and takes away with it.

    `memory_limit` is DuckDB's own notation (`800MB`, `4GB`).
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix=f"{TEMPORARY}duckdb-", dir=scratch) as folder,
        contextlib.closing(duckdb.connect(Path(folder) / "tables.duckdb")) as connection,
    ):
        connection.execute("SET memory_limit = $1", [memory_limit])
        connection.execute("SET temp_directory = $1", [folder])
        connection.execute("SET enable_progress_bar = false")
        yield connection


def quoted(name: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A value as an SQL text literal."""
    return "'" + value.replace("'", "''") + "'"


def parquet(paths: Iterable[Path]) -> str:
    """The SQL table function that reads these Parquet files, in their order."""
    return f"read_parquet([{', '.join(text(str(path)) for path in paths)}], hive_partitioning = false)"


def csv(path: Path, columns: Sequence[str] | None = None) -> str:
    """The SQL table function that reads a CSV of ours: every column text, an empty field NULL."""
    names = columns if columns is not None else header(path)
    types = ", ".join(f"{text(name)}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({text(str(path))}, header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"', "
        f"nullstr = '', new_line = '\\n', max_line_size = 16777216, hive_partitioning = false, "
        f"columns = {{{types}}})"
    )


def header(path: Path) -> list[str]:
    """The names in a CSV's first line."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return next(reader(file), [])


def load(
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


def select(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.RecordBatch]:
    """A query's rows as Arrow batches, never all in memory."""
    yield from connection.sql(query).to_arrow_reader(ROW_GROUP)


def write_parquet(
    batches: Iterable[pa.RecordBatch], path: Path, schema: pa.Schema, metadata: Mapping[str, str] | None = None
) -> int:
    """Write rows to `path`, whole or not at all, in row groups of a fixed size; return how many."""
    if metadata:
        schema = schema.with_metadata(dict(metadata))
    rows = 0
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for group in _in_groups(batches, schema):
            writer.write_table(group, row_group_size=ROW_GROUP)
            rows += group.num_rows
    return rows


def _in_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= ROW_GROUP:
            cut = ROW_GROUP - count
            yield _table([*held, batch.slice(0, cut)], schema)
            held, count, batch = [], 0, batch.slice(cut)
        held.append(batch)
        count += batch.num_rows
    if count:
        yield _table(held, schema)


def _table(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(batches).cast(schema)


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    """A small query's rows."""
    return connection.execute(query).fetchall()


@contextlib.contextmanager
def plain_csv(path: Path) -> Iterator["DictReader[str]"]:
    """A CSV's lines, one at a time, as dictionaries of text."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        yield DictReader(file)
