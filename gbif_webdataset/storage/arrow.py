"""Arrow arrays made without pandas, and Parquet files whose bytes depend on their rows alone."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.storage.atomic import atomic_file

ROW_GROUP = 65_536
RECURRING = pa.dictionary(pa.int32(), pa.string())
"""The type of text columns with few distinct values; they are written to Parquet, and read again, as texts."""


def to_array(values: "np.ndarray[Any, Any]") -> pa.Array:
    """Numbers or truths as an Arrow array. pa.array imports pandas first, which takes half a second."""
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(
            pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))]
        )
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def to_text_array(values: Sequence[str | None]) -> pa.Array:
    """Texts, or nulls, as an Arrow array, without pandas as well."""
    encoded = [(value or "").encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [_validity(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.StringArray.from_buffers(len(encoded), buffers[1], buffers[2], buffers[0])


def to_scalar(value: str | bool | int) -> pa.Scalar:
    """A text, truth or number as an Arrow scalar, without pandas as well."""
    return (to_text_array([value]) if isinstance(value, str) else to_array(np.array([value])))[0]


def to_typed_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Texts, whole numbers, truths or nulls as an Arrow array of a type, without pandas, whose import takes 50 MB."""
    if pa.types.is_boolean(kind):
        bits = np.packbits(np.array(values, np.bool_), bitorder="little")
        return pa.Array.from_buffers(kind, len(values), [_validity(values), pa.py_buffer(bits)])
    if pa.types.is_integer(kind):
        numbers = np.array([value or 0 for value in values], kind.to_pandas_dtype())
        return pa.Array.from_buffers(kind, len(values), [_validity(values), pa.py_buffer(numbers)])
    return to_text_array(values).dictionary_encode() if pa.types.is_dictionary(kind) else to_text_array(values)


def _validity(values: Sequence[Any]) -> pa.Buffer | None:
    """Which values are none, as Arrow notes it."""
    if None not in values:
        return None
    return pa.py_buffer(np.packbits([value is not None for value in values], bitorder="little"))


def decode_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts that is not held as a dictionary."""
    return column.cast(pa.string())


def compact_table(table: pa.Table) -> pa.Table:
    """The same rows, in one piece; dictionaries hold just what the rows do, in the order in which they do."""
    return pa.table([_compacted(column.combine_chunks()) for column in table.columns], table.schema)


def _compacted(column: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(column.type):
        return column
    used = column.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(used.indices, column.dictionary.take(used.dictionary))


def write_parquet(batches: Iterable[pa.RecordBatch], path: Path, schema: pa.Schema, row_group: int = ROW_GROUP) -> int:
    """Write rows to `path`, whole or not at all, in groups of `row_group`, which are held in memory; return how many.

    Columns held as dictionaries are written, and read again, as texts; the schema's metadata is the file's.
    """
    recurring = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    count = 0
    with (
        atomic_file(path) as temporary,
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
    return compact_table(pa.Table.from_batches(batches).cast(schema))


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file of ours, to be read with the columns that were held as dictionaries held so again."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    recurring = [
        name
        for index, name in enumerate(metadata.schema.names)
        if groups and all("RLE_DICTIONARY" in group.column(index).encodings for group in groups)
    ]
    return pq.ParquetFile(path, read_dictionary=recurring)
