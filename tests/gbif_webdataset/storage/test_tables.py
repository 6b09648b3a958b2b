import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import DamagedFileError, MissingPieceError, ParameterError
from gbif_webdataset.storage import tables

SCHEMA = pa.schema([("key", pa.string()), ("number", pa.int64())])


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with tables.open_database(tmp_path / "scratch", "200MB") as connection:
        yield connection


def batches(count: int, size: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, count, size):
        numbers = range(start, min(start + size, count))
        yield pa.RecordBatch.from_pydict({"key": [str(n) for n in numbers], "number": list(numbers)}, SCHEMA)


def test_the_folder_of_a_database_is_removed_when_it_is_closed(tmp_path: Path) -> None:
    with tables.open_database(tmp_path / "scratch") as connection:
        connection.execute("CREATE TABLE a AS SELECT range AS n FROM range(100000)")
        assert len(list((tmp_path / "scratch").iterdir())) == 1
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_sort_beyond_the_memory_limit_spills(tmp_path: Path) -> None:
    query = "SELECT md5(range::VARCHAR) || repeat('x', 200) AS key FROM range(1000000) ORDER BY key"  # 232 MB
    last, rows, has_spilled = "", 0, False
    with tables.open_database(tmp_path, "150MB") as connection:
        folder = tables.spill_folder(connection)
        for batch in tables.select_batches(connection, query):
            keys = batch.column(0)
            first = keys[0].as_py()
            assert first > last
            last, rows = keys[-1].as_py(), rows + len(keys)
            has_spilled = has_spilled or any(folder.iterdir())
    assert rows == 1_000_000
    assert has_spilled


def test_every_value_of_a_csv_is_read_as_text(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "a=b [1]" / "o'clock.csv"
    path.parent.mkdir()
    rows = [["0012", "NA", 'say "x"'], ["6E4", "", "two\nlines, one field"], ["5WZLF", "null", " "]]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["key", "country", 'odd "name"'], *rows])
    assert tables.read_header(path) == ["key", "country", 'odd "name"']
    read = tables.fetch_rows(connection, f"SELECT * FROM {tables.csv_source(path)}")
    assert read == [tuple(value or None for value in row) for row in rows]


def test_files_in_folders_with_special_characters_are_read(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
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


def test_batches_are_inserted_and_an_error_in_them_is_raised_unchanged(connection: duckdb.DuckDBPyConnection) -> None:
    tables.insert_batches(connection, "CREATE TABLE a AS SELECT * FROM rows", SCHEMA, batches(1000, 100))
    assert tables.fetch_rows(connection, "SELECT count(*), sum(number) FROM a") == [(1000, 499_500)]

    def failing() -> Iterator[pa.RecordBatch]:
        yield from batches(5, 5)
        raise ParameterError("line 7 is invalid")

    with pytest.raises(ParameterError, match=r"^line 7 is invalid$"):
        tables.insert_batches(connection, "CREATE TABLE b AS SELECT * FROM rows", SCHEMA, failing())
    with pytest.raises(duckdb.Error):
        tables.insert_batches(connection, "CREATE TABLE c AS SELECT nothing FROM rows", SCHEMA, batches(5, 5))


def test_a_csv_is_read_as_dictionaries_of_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffimage_path,reason\n"d/a, b.jpg",x\nd/c.jpg,\n', encoding="utf-8")
    with tables.open_csv(tmp_path / "a.csv") as lines:
        assert list(lines) == [{"image_path": "d/a, b.jpg", "reason": "x"}, {"image_path": "d/c.jpg", "reason": ""}]


def test_only_the_spill_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
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


def sorted_names(connection: duckdb.DuckDBPyConnection, count: int) -> list[tuple[str, str]]:
    query = f"SELECT 'c' || range AS coreid, range || '.jpg' AS image_path FROM range({count}) ORDER BY {tables.ORDER}"
    return tables.fetch_rows(connection, query)  # type: ignore[return-value]


def test_a_sorted_file_needs_no_order_clause_and_an_unsorted_one_gets_it(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    rows, path = sorted_names(connection, 50), tmp_path / "a.parquet"
    for shuffled, expected in ((rows, ""), (rows[::-1], f" ORDER BY {tables.ORDER}")):
        coreids, paths = zip(*shuffled, strict=True)
        pq.write_table(pa.table({"coreid": list(coreids), "image_path": list(paths)}), path)
        clause = tables.order_clause(connection, path)
        assert clause == expected
        assert tables.fetch_rows(connection, f"SELECT * FROM {tables.parquet_source([path])}{clause}") == rows


def test_a_file_with_the_same_image_twice_is_an_error(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"coreid": ["1", "2", "1"], "image_path": ["a.jpg", "b.jpg", "a.jpg"]}), path)
    with pytest.raises(MissingPieceError, match=r"a\.parquet: two rows have the image_path 'a\.jpg'; delete"):
        tables.order_clause(connection, path)


@pytest.mark.parametrize(
    ("text", "count"), [("800MB", 800_000_000), (" 4 gb ", 4_000_000_000), ("1.5GiB", 1_500_000_000)]
)
def test_a_memory_limit_is_read_in_decimal_units(text: str, count: int) -> None:
    assert tables.parse_memory_limit(text) == count


@pytest.mark.parametrize("text", ["", "800", "0MB", "1.2.3GB", "-1GB", "80%", "lots"])
def test_other_texts_are_no_memory_limit(text: str) -> None:
    with pytest.raises(ParameterError, match="write it like 800MB or 4GB"):
        tables.parse_memory_limit(text)


def test_a_csv_of_a_stage_is_read_if_it_has_the_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image_path,reason\nd/a.jpg,listed\n")
    with tables.open_made_csv(tmp_path / "a.csv", ["reason"]) as rows:
        assert list(rows) == [{"image_path": "d/a.jpg", "reason": "listed"}]


LONG_FIELD = b"a field above the limit of Python's module csv"


@pytest.mark.parametrize("content", [b"", bytes(90), b"a,b\n1,2\n", b"image_path,reason\n\xff\xfe,x\n", LONG_FIELD])
def test_a_damaged_csv_of_a_stage_gives_a_sentence_that_names_it(tmp_path: Path, content: bytes) -> None:
    content = content.replace(LONG_FIELD, b"reason\n" + b"x" * (csv.field_size_limit() + 1))
    (tmp_path / "a.csv").write_bytes(content)
    with (
        pytest.raises(DamagedFileError, match=r"a\.csv: differs from what was written"),
        tables.open_made_csv(tmp_path / "a.csv", ["reason"]) as rows,
    ):
        list(rows)
