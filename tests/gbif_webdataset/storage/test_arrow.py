import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import DamagedFileError, MissingPieceError, ParameterError
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms import columns
from gbif_webdataset.terms.columns import Column

SCHEMA = pa.schema([("key", pa.string()), ("number", pa.int64())])


def batches(count: int, size: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, count, size):
        numbers = range(start, min(start + size, count))
        yield pa.RecordBatch.from_pydict({"key": [str(n) for n in numbers], "number": list(numbers)}, SCHEMA)


def test_a_schema_has_the_names_and_types_of_the_described_columns() -> None:
    described = (Column("a", columns.TEXT, ""), Column("b", columns.INT32, ""), Column("c", columns.TRUTH, ""))
    assert arrow.to_schema(described) == pa.schema([("a", pa.string()), ("b", pa.int32()), ("c", pa.bool_())])


@pytest.mark.parametrize(
    "values",
    [np.array([True, False, True] * 7), np.array([], bool), np.arange(5, dtype=np.uint64), np.array([0.5, -1])],
)
def test_a_numpy_array_becomes_an_arrow_array_of_the_same_values(values: np.ndarray) -> None:
    converted = arrow.to_array(values)
    converted.validate(full=True)
    assert converted.type == pa.from_numpy_dtype(values.dtype)
    assert converted.to_pylist() == values.tolist()


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.float64(), pa.int32()])
def test_an_arrow_array_becomes_a_numpy_array_of_the_same_values(kind: pa.DataType) -> None:
    array = pa.array(range(10), kind)
    assert arrow.to_numpy(array).tolist() == list(range(10))
    assert arrow.to_numpy(array.slice(3, 4)).tolist() == [3, 4, 5, 6]
    assert arrow.to_numpy(pa.array([], kind)).tolist() == []


@pytest.mark.parametrize("value", ["a\u00e9", "", True, False, 7])
def test_a_value_becomes_an_arrow_scalar(value: str | bool | int) -> None:
    assert arrow.to_scalar(value).as_py() == value


def test_a_compact_table_drops_values_that_no_row_has() -> None:
    kind = pa.dictionary(pa.int32(), pa.string())
    table = pa.table({"a": pa.array(["x", "y", "z", "y"], kind), "b": [1, 2, 3, 4]}).slice(1, 3)
    compact = arrow.compact_table(table)
    assert compact.to_pydict() == table.to_pydict()
    assert compact.column("a").chunk(0).dictionary.to_pylist() == ["y", "z"]
    assert arrow.decode_dictionary(table.column("a")).to_pylist() == ["y", "z", "y"]


@pytest.mark.parametrize("size", [1, 777, 65_536, 200_000])
def test_the_bytes_of_a_file_do_not_depend_on_the_size_of_the_batches(tmp_path: Path, size: int) -> None:
    count = 70_001 if size > 1 else 500
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    assert arrow.write_parquet(batches(count, count), whole, SCHEMA) == count
    assert arrow.write_parquet(batches(count, size), parts, SCHEMA) == count
    assert whole.read_bytes() == parts.read_bytes()
    read = pq.ParquetFile(parts)
    assert [read.metadata.row_group(n).num_rows for n in range(read.num_row_groups)] == (
        [65_536, 4_465] if count > 65_536 else [count]
    )


def test_a_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    assert arrow.write_parquet([], tmp_path / "a.parquet", SCHEMA) == 0
    assert pq.read_table(tmp_path / "a.parquet").schema.equals(SCHEMA)


def test_a_file_has_the_metadata_of_its_schema(tmp_path: Path) -> None:
    arrow.write_parquet(batches(3, 3), tmp_path / "a.parquet", SCHEMA.with_metadata({"made by": "a test"}))
    assert pq.read_schema(tmp_path / "a.parquet").metadata[b"made by"] == b"a test"


def test_a_file_whose_batches_fail_does_not_exist(tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from batches(5, 5)
        raise ParameterError("the rows are invalid")

    with pytest.raises(ParameterError):
        arrow.write_parquet(failing(), tmp_path / "a.parquet", SCHEMA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "", "\u00fc\u4e00", None, "b"], pa.string()),
        ([None, None], pa.string()),
        (["a", None, "a", ""], pa.dictionary(pa.int32(), pa.string())),
        ([1, None, -3, 2**40, 0], pa.int64()),
        ([200, 404], pa.int32()),
        ([], pa.string()),
        ([], pa.int32()),
        ([], pa.dictionary(pa.int32(), pa.string())),
        ([None if number % 3 else number for number in range(1000)], pa.int32()),
    ],
)
def test_a_typed_array_has_the_values_and_nulls_of_its_list(values: list[object], kind: pa.DataType) -> None:
    column = arrow.to_typed_array(values, kind)
    column.validate(full=True)
    assert column.type == kind
    assert column.to_pylist() == values


def test_dictionary_columns_are_read_as_dictionaries_again(tmp_path: Path) -> None:
    kinds = {"own": pa.string(), "shared": pa.dictionary(pa.int32(), pa.string()), "number": pa.int32()}
    schema = pa.schema(list(kinds.items()))
    table = pa.table(
        [
            arrow.to_typed_array(["a", "b"], kind) if name != "number" else pa.array([1, 2], kind)
            for name, kind in kinds.items()
        ],
        schema,
    )
    arrow.write_parquet(table.to_batches(), tmp_path / "a.parquet", schema)
    assert arrow.open_parquet(tmp_path / "a.parquet").read().equals(table)
    arrow.write_parquet([], tmp_path / "b.parquet", schema)
    assert arrow.open_parquet(tmp_path / "b.parquet").read().num_rows == 0


READERS: list[Callable[[Path], object]] = [
    arrow.read_parquet,
    arrow.read_parquet_schema,
    lambda path: arrow.read_parquet(path, ["name"]),
    lambda path: list(arrow.iterate_parquet(path, 100, ["name"])),
]


def write_table(path: Path) -> bytes:
    table = pa.table({"name": [f"d/{number}.jpg" for number in range(1000)], "bytes": list(range(1000))})
    arrow.write_parquet(table.to_batches(), path, table.schema)
    return path.read_bytes()


def test_a_table_is_read_whole_by_columns_and_in_batches(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet")
    assert arrow.read_parquet(tmp_path / "a.parquet").num_rows == 1000
    assert arrow.read_parquet(tmp_path / "a.parquet", ["name"]).column_names == ["name"]
    assert [batch.num_rows for batch in arrow.iterate_parquet(tmp_path / "a.parquet", 400)] == [400, 400, 200]


@pytest.mark.parametrize("read", READERS)
def test_a_damaged_table_gives_a_sentence_that_names_it(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "a.parquet"
    whole = write_table(path)
    rng = random.Random(15)
    for data in (b"", b"PAR1", bytes(len(whole)), whole[: len(whole) // 2], rng.randbytes(len(whole))):
        path.write_bytes(data)
        with pytest.raises(DamagedFileError, match=r"a\.parquet: the table is damaged"):
            read(path)
    for _ in range(300):  # with a flipped bit a table can be read or not, but no other error is raised
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        try:
            read(path)
        except DamagedFileError:
            continue


@pytest.mark.parametrize("read", READERS)
def test_a_missing_table_and_a_folder_in_its_place_are_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(MissingPieceError, match=r"a\.parquet: the table is missing"):
        read(path)
    path.mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        read(path)
    assert raised.value.filename == str(path)


def test_an_error_of_the_caller_is_not_taken_for_damage(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="a defect"):
        for _ in arrow.iterate_parquet(tmp_path / "a.parquet", 100):
            raise ValueError("a defect")
