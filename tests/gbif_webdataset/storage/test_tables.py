import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.storage import arrow, tables

SCHEMA = pa.schema([("key", pa.string()), ("number", pa.int64())])


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with tables.open_database(tmp_path / "scratch", "200MB") as connection:
        yield connection


def batches(count: int, size: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, count, size):
        numbers = range(start, min(start + size, count))
        yield pa.RecordBatch.from_pydict({"key": [str(n) for n in numbers], "number": list(numbers)}, SCHEMA)


def test_a_database_is_gone_with_its_folder(tmp_path: Path) -> None:
    with tables.open_database(tmp_path / "scratch") as connection:
        connection.execute("CREATE TABLE a AS SELECT range AS n FROM range(100000)")
        assert len(list((tmp_path / "scratch").iterdir())) == 1
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_sort_beyond_the_memory_limit_spills(connection: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT md5(range::VARCHAR) || repeat('x', 200) AS key FROM range(1500000) ORDER BY key"
    last, rows = "", 0
    for batch in tables.select_batches(connection, query):
        keys = batch.column(0)
        first = keys[0].as_py()
        assert first > last
        last, rows = keys[-1].as_py(), rows + len(keys)
    assert rows == 1_500_000


@pytest.mark.parametrize("size", [1, 777, 65_536, 200_000])
def test_a_table_is_the_same_bytes_whatever_batches_it_came_in(tmp_path: Path, size: int) -> None:
    count = 70_001 if size > 1 else 500
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    assert arrow.write_parquet(batches(count, count), whole, SCHEMA) == count
    assert arrow.write_parquet(batches(count, size), parts, SCHEMA) == count
    assert whole.read_bytes() == parts.read_bytes()
    read = pq.ParquetFile(parts)
    assert [read.metadata.row_group(n).num_rows for n in range(read.num_row_groups)] == (
        [65_536, 4_465] if count > 65_536 else [count]
    )


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    assert arrow.write_parquet([], tmp_path / "a.parquet", SCHEMA) == 0
    assert pq.read_table(tmp_path / "a.parquet").schema.equals(SCHEMA)


def test_a_table_carries_its_metadata(tmp_path: Path) -> None:
    arrow.write_parquet(batches(3, 3), tmp_path / "a.parquet", SCHEMA.with_metadata({"made by": "a test"}))
    assert pq.read_schema(tmp_path / "a.parquet").metadata[b"made by"] == b"a test"


def test_a_table_whose_rows_fail_is_not_there(tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from batches(5, 5)
        raise ParameterError("the rows are no rows")

    with pytest.raises(ParameterError):
        arrow.write_parquet(failing(), tmp_path / "a.parquet", SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_keys_and_names_stay_text_in_a_csv(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "a=b [1]" / "o'clock.csv"
    path.parent.mkdir()
    rows = [["0012", "NA", 'say "x"'], ["6E4", "", "two\nlines, one field"], ["5WZLF", "null", " "]]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["key", "country", 'odd "name"'], *rows])
    assert tables.read_header(path) == ["key", "country", 'odd "name"']
    read = tables.fetch_rows(connection, f"SELECT * FROM {tables.csv_source(path)}")
    assert read == [tuple(value or None for value in row) for row in rows]


def test_files_are_read_whatever_their_folder_is_called(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    paths = [tmp_path / f"key={n} [x]*" / "it's.parquet" for n in range(3)]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        pq.write_table(pa.table({"key": [f"of {number}"]}), path)
    assert tables.fetch_rows(connection, f"SELECT * FROM {tables.parquet_source(paths)}") == [
        ("of 0",),
        ("of 1",),
        ("of 2",),
    ]


@pytest.mark.parametrize("value", ["plain", "o'clock", 'a "b"', "a; DROP TABLE x --", "", "\u00fc\u2028"])
def test_text_and_names_are_quoted(connection: duckdb.DuckDBPyConnection, value: str) -> None:
    assert tables.fetch_rows(connection, f"SELECT {tables.quote_text(value)}") == [(value,)]
    name = value or "x"
    relation = connection.sql(f"SELECT 1 AS {tables.quote_name(name)}")
    assert relation.columns == [name]


def test_batches_are_loaded_and_their_own_error_comes_out(connection: duckdb.DuckDBPyConnection) -> None:
    tables.insert_batches(connection, "CREATE TABLE a AS SELECT * FROM rows", SCHEMA, batches(1000, 100))
    assert tables.fetch_rows(connection, "SELECT count(*), sum(number) FROM a") == [(1000, 499_500)]

    def failing() -> Iterator[pa.RecordBatch]:
        yield from batches(5, 5)
        raise ParameterError("line 7 is no line")

    with pytest.raises(ParameterError, match=r"^line 7 is no line$"):
        tables.insert_batches(connection, "CREATE TABLE b AS SELECT * FROM rows", SCHEMA, failing())
    with pytest.raises(duckdb.Error):
        tables.insert_batches(connection, "CREATE TABLE c AS SELECT nothing FROM rows", SCHEMA, batches(5, 5))


def test_a_csv_is_read_a_line_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffimage_path,reason\n"d/a, b.jpg",x\nd/c.jpg,\n', encoding="utf-8")
    with tables.open_csv(tmp_path / "a.csv") as lines:
        assert list(lines) == [{"image_path": "d/a, b.jpg", "reason": "x"}, {"image_path": "d/c.jpg", "reason": ""}]


def test_what_a_killed_process_spilled_is_swept_and_what_a_living_one_spills_stays(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from gbif_webdataset.storage import tables\n"
        "with tables.open_database(Path(sys.argv[1])):\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[3], check=False)
    [left] = tmp_path.iterdir()
    with tables.open_database(tmp_path) as living:
        assert not left.exists()
        with tables.open_database(tmp_path):
            assert tables.spill_folder(living).exists()
    assert not list(tmp_path.iterdir())


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
def test_a_column_holds_the_values_and_the_nulls_that_it_is_made_of(values: list[object], kind: pa.DataType) -> None:
    column = arrow.to_typed_array(values, kind)
    column.validate(full=True)
    assert column.type == kind
    assert column.to_pylist() == values


def test_a_file_is_read_with_the_columns_as_dictionaries_that_were_written_so(tmp_path: Path) -> None:
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
