"""Arrow arrays made without pandas, and Parquet files whose bytes depend on their rows alone.

pyarrow's own conversions, such as `pa.array` and `Array.to_numpy`, import pandas, which takes half a second and 50 MB.
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.errors import DamagedFileError, MissingPieceError
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.columns import INT32, INT64, REAL, TEXT, TRUTH, Column

ROW_GROUP = 65_536
"""Rows of a batch, and of a row group in Parquet files."""
RECURRING = pa.dictionary(pa.int32(), pa.string())
"""The type of text columns with few distinct values. In Parquet files they are texts."""
TYPES = {TEXT: pa.string(), INT32: pa.int32(), INT64: pa.int64(), REAL: pa.float64(), TRUTH: pa.bool_()}


def to_schema(columns: Iterable[Column]) -> pa.Schema:
    """The Arrow schema of a table whose columns are described in `terms.columns`."""
    return pa.schema([(column.name, TYPES[column.type]) for column in columns])


def to_array(values: "np.ndarray[Any, Any]") -> pa.Array:
    """A NumPy array of numbers or booleans as an Arrow array."""
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(
            pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))]
        )
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def to_numpy(array: pa.Array) -> "np.ndarray[Any, Any]":
    """An Arrow array of numbers without nulls as a NumPy array, which shares its memory."""
    kind = array.type.to_pandas_dtype()  # a NumPy type, in spite of its name
    return np.frombuffer(array.buffers()[1], kind, len(array), array.offset * np.dtype(kind).itemsize)


def find_valid(column: pa.ChunkedArray) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Whether each value is not null."""
    pieces = [to_numpy(piece.is_valid().cast(pa.uint8())) for piece in column.chunks]
    return np.concatenate(pieces).astype(bool) if pieces else np.zeros(0, bool)


def to_text_array(values: Sequence[str | None]) -> pa.Array:
    """Texts, and None for nulls, as an Arrow array."""
    encoded = [(value or "").encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    texts = pa.py_buffer(b"".join(encoded))
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), texts, _pack_validity(values))


def to_scalar(value: str | bool | int) -> pa.Scalar:
    """A text, boolean or number as an Arrow scalar."""
    return (to_text_array([value]) if isinstance(value, str) else to_array(np.array([value])))[0]


def to_typed_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Texts, whole numbers or truths, and None for nulls, as an Arrow array of type `kind`."""
    if pa.types.is_boolean(kind):
        bits = np.packbits(np.array(values, np.bool_), bitorder="little")
        return pa.Array.from_buffers(kind, len(values), [_pack_validity(values), pa.py_buffer(bits)])
    if pa.types.is_integer(kind):
        numbers = np.array([value or 0 for value in values], kind.to_pandas_dtype())
        return pa.Array.from_buffers(kind, len(values), [_pack_validity(values), pa.py_buffer(numbers)])
    return to_text_array(values).dictionary_encode() if pa.types.is_dictionary(kind) else to_text_array(values)


def make_empty_table(schema: pa.Schema) -> pa.Table:
    """A table without rows. `schema.empty_table()` would import pandas."""
    return pa.table([pa.nulls(0, field.type) for field in schema], schema=schema)


def _pack_validity(values: Sequence[Any]) -> pa.Buffer | None:
    """Arrow's validity bitmap: a bit for each value, 0 for None. None if no value is None."""
    if None not in values:
        return None
    return pa.py_buffer(np.packbits([value is not None for value in values], bitorder="little"))


def decode_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary column as a column of plain texts."""
    return column.cast(pa.string())


def compact_table(table: pa.Table) -> pa.Table:
    """The same rows with one chunk per column. Dictionaries hold only values of these rows, in order of appearance."""
    return pa.table([_compact_column(column.combine_chunks()) for column in table.columns], table.schema)


def _compact_column(column: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(column.type):
        return column
    used = column.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(used.indices, column.dictionary.take(used.dictionary))


def write_parquet(batches: Iterable[pa.RecordBatch], path: Path, schema: pa.Schema, row_group: int = ROW_GROUP) -> int:
    """The number of rows written to `path`. The file is complete or absent.

    Batches of any size are regrouped to row groups of `row_group` rows, so the bytes depend on the rows alone. One
    group is in memory at a time. Dictionary columns are written as texts; the file gets the schema's metadata.
    """
    dictionaries = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    count = 0
    with (
        atomic_file(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            use_dictionary=dictionaries or True,
            write_statistics=[field.name for field in schema if pa.types.is_integer(field.type)],
            store_schema=False,
        ) as writer,
    ):
        for group in _regroup(batches, schema, row_group):
            writer.write_table(group, row_group_size=row_group)
            count += group.num_rows
        if schema.metadata:
            writer.add_key_value_metadata(schema.metadata)
    return count


def _regroup(batches: Iterable[pa.RecordBatch], schema: pa.Schema, row_group: int) -> Iterator[pa.Table]:
    """The rows in tables of `row_group` rows; the last one may be shorter."""
    collected: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= row_group:
            cut = row_group - count
            yield _to_table([*collected, batch.slice(0, cut)], schema)
            collected, count, batch = [], 0, batch.slice(cut)
        collected.append(batch)
        count += batch.num_rows
    if count:
        yield _to_table(collected, schema)


def _to_table(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return compact_table(pa.Table.from_batches(batches).cast(schema))


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a Parquet file, with all columns or these.

    Raises:
        DamagedFileError: the file is damaged.
    """
    with reading_table(path), pq.ParquetFile(path) as file:
        return file.read(columns)


def read_parquet_schema(path: Path) -> pa.Schema:
    """The schema of a Parquet file.

    Raises:
        DamagedFileError: the file is damaged.
    """
    with reading_table(path):
        return pq.read_schema(path)


def iterate_parquet(path: Path, batch_rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file in batches, with all columns or these. A batch is in memory at a time.

    Raises:
        DamagedFileError: the file is damaged.
    """
    with reading_table(path):
        file = pq.ParquetFile(path)
        batches = file.iter_batches(batch_rows, columns=columns, use_threads=False)
    with file:
        while True:
            with reading_table(path):  # not around the yield, where errors of the caller would arrive
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


@contextlib.contextmanager
def reading_table(path: Path) -> Iterator[None]:
    """Name the file in errors of reading a Parquet file.

    Raises:
        DamagedFileError: the file is damaged.
        MissingPieceError: there is no such file.
        IsADirectoryError: a folder is in its place.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise MissingPieceError(f"{path}: the table is missing; run the same command again") from error
    except (pa.ArrowException, ValueError, KeyError, OverflowError, OSError) as error:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from error
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the disk
        raise DamagedFileError.of_table(path) from error


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file written by `write_parquet`. Columns written from dictionaries are read as dictionaries again."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    dictionaries = [
        name
        for index, name in enumerate(metadata.schema.names)
        if groups and all("RLE_DICTIONARY" in group.column(index).encodings for group in groups)
    ]
    return pq.ParquetFile(path, read_dictionary=dictionaries)
