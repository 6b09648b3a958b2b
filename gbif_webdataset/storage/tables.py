"""Tables: DuckDB within a memory limit, and Parquet files whose bytes depend on their rows alone."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from csv import DictReader, reader
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.errors import MissingPieceError, ParameterError
from gbif_webdataset.storage.atomic import own_folder, whole_file

ROW_GROUP = 65_536
ORDER = "hash(coreid), image_path"  # of the images in every table: the chunks, one after another, are in it
MEMORY_LIMIT = "1GB"
LONGEST_LINE = 16 << 20  # bytes; by itself DuckDB would hold sixteen times as much for each thread


@contextlib.contextmanager
def database(scratch: Path, memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB database in a temporary folder under `scratch`, which it spills to and takes away with it.

    `memory_limit` is DuckDB's own notation (`800MB`, `4GB`).
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with own_folder(scratch, "duckdb") as folder, contextlib.closing(duckdb.connect()) as connection:
        connection.execute("SET memory_limit = $1", [memory_limit])
        connection.execute("SET temp_directory = $1", [str(folder)])
        connection.execute("SET enable_progress_bar = false")
        yield connection


def bytes_of(memory_limit: str) -> int:
    """Bytes of a memory limit such as 800MB or 4GB. Raises ParameterError for what is none."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT])i?B\s*", memory_limit, re.IGNORECASE)
    if not found or found[1].count(".") > 1 or not float(found[1]):
        raise ParameterError(f"memory_limit is {memory_limit!r}: write it as 800MB or 4GB")
    return int(float(found[1]) * 1000 ** (" KMGT".index(found[2].upper())))


def order_of(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """What an SQL query on this Parquet file ends in to give its rows in `ORDER`: nothing where they lie so.

    Sorting rows as wide as these takes more memory and disk than all the rest. MissingPieceError where an
    `image_path` stands in it twice.
    """
    source = parquet([path])
    here = "row(hash(coreid), image_path)"
    steps = f"SELECT image_path, {here} AS here, lag({here}) OVER () AS previous"
    unordered = rows(connection, f"SELECT 1 FROM ({steps} FROM {source}) WHERE here < previous LIMIT 1")
    order = f" ORDER BY {ORDER}" if unordered else ""
    ordered = f"{steps} FROM (SELECT coreid, image_path FROM {source}{order})"
    for (image,) in rows(connection, f"SELECT image_path FROM ({ordered}) WHERE here = previous LIMIT 1"):
        raise MissingPieceError(f"{path}: image_path {image!r} stands in it twice; make it again from the stage before")
    return order


def folder_of(connection: duckdb.DuckDBPyConnection) -> Path:
    """The temporary folder of a database, which goes with it."""
    return Path(rows(connection, "SELECT current_setting('temp_directory')")[0][0])


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
        f"nullstr = '', new_line = '\\n', max_line_size = {LONGEST_LINE}, buffer_size = {2 * LONGEST_LINE}, "
        "hive_partitioning = false, "
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


def array(values: "np.ndarray[Any, Any]") -> pa.Array:
    """Numbers or truths as an Arrow array. pa.array imports pandas first, which takes half a second."""
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(
            pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))]
        )
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def texts(values: Sequence[str | None]) -> pa.Array:
    """Texts, or nulls, as an Arrow array, without pandas as well."""
    encoded = [(value or "").encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [_validity(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.StringArray.from_buffers(len(encoded), buffers[1], buffers[2], buffers[0])


def scalar(value: str | bool | int) -> pa.Scalar:
    """A text, truth or number as an Arrow scalar, without pandas as well."""
    return (texts([value]) if isinstance(value, str) else array(np.array([value])))[0]


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Texts or whole numbers, or nulls, as an Arrow array of a type, without pandas, whose import takes 50 MB."""
    if pa.types.is_integer(kind):
        numbers = np.array([value or 0 for value in values], kind.to_pandas_dtype())
        return pa.Array.from_buffers(kind, len(values), [_validity(values), pa.py_buffer(numbers)])
    return texts(values).dictionary_encode() if pa.types.is_dictionary(kind) else texts(values)


def _validity(values: Sequence[Any]) -> pa.Buffer | None:
    """Which values are none, as Arrow notes it."""
    if None not in values:
        return None
    return pa.py_buffer(np.packbits([value is not None for value in values], bitorder="little"))


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts that is not held as a dictionary."""
    return column.cast(pa.string())


def compact(table: pa.Table) -> pa.Table:
    """The same rows, in one piece; dictionaries hold just what the rows do, in the order in which they do."""
    return pa.table([_compacted(column.combine_chunks()) for column in table.columns], table.schema)


def _compacted(column: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(column.type):
        return column
    used = column.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(used.indices, column.dictionary.take(used.dictionary))


def select(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.RecordBatch]:
    """A query's rows as Arrow batches, never all in memory."""
    yield from connection.sql(query).to_arrow_reader(ROW_GROUP)


def write_parquet(batches: Iterable[pa.RecordBatch], path: Path, schema: pa.Schema, row_group: int = ROW_GROUP) -> int:
    """Write rows to `path`, whole or not at all, in groups of `row_group`, which are held in memory; return how many.

    Columns held as dictionaries are written, and read again, as texts; the schema's metadata is the file's.
    """
    recurring = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    count = 0
    with (
        whole_file(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            use_dictionary=recurring or True,
            write_statistics=[field.name for field in schema if pa.types.is_integer(field.type)],
            store_schema=False,
        ) as writer,
    ):
        for group in _in_groups(batches, schema, row_group):
            writer.write_table(group, row_group_size=row_group)
            count += group.num_rows
        if schema.metadata:
            writer.add_key_value_metadata(schema.metadata)
    return count


def _in_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema, row_group: int) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= row_group:
            cut = row_group - count
            yield _table([*held, batch.slice(0, cut)], schema)
            held, count, batch = [], 0, batch.slice(cut)
        held.append(batch)
        count += batch.num_rows
    if count:
        yield _table(held, schema)


def _table(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return compact(pa.Table.from_batches(batches).cast(schema))


def parquet_file(path: Path) -> pq.ParquetFile:
    """A Parquet file of ours, to be read with the columns that were held as dictionaries held so again."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    recurring = [
        name
        for index, name in enumerate(metadata.schema.names)
        if groups and all("RLE_DICTIONARY" in group.column(index).encodings for group in groups)
    ]
    return pq.ParquetFile(path, read_dictionary=recurring)


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    """A small query's rows."""
    return connection.execute(query).fetchall()


@contextlib.contextmanager
def plain_csv(path: Path) -> Iterator["DictReader[str]"]:
    """A CSV's lines, one at a time, as dictionaries of text."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        yield DictReader(file)
