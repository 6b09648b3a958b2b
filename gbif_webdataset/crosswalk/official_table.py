"""The official table of the keys that name the same taxon in two checklists, such as gbif-col265.tsv.gz."""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.storage import arrow, tables

ID_SUFFIX = ":ID"
BATCH_ROWS = 65_536
GZIP_MAGIC = b"\x1f\x8b"
SCHEMA = pa.schema([("first", pa.string()), ("second", pa.string())])
FORM = "give a table with two columns of keys, such as gbif:ID and col:ID"


def load_official_table(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """Load the table into `official`; the SQL of its pairs (old_key, new_key).

    Its columns are found by name: those that end in `:ID`, of which there must be two. Which of them has the old keys
    is found out by comparing both with `old_taxa` and `new_taxa`. Rows without one of the keys are left out.

    Raises:
        ParameterError: the file cannot be read, lacks these columns, or has no pair of keys that is in both datasets.
    """
    connection.execute("CREATE TABLE official (first VARCHAR, second VARCHAR)")
    statement = "INSERT INTO official SELECT DISTINCT trim(first), trim(second) FROM rows " \
                "WHERE trim(first) <> '' AND trim(second) <> ''"  # fmt: skip
    try:
        with _open_text(path) as file:
            tables.insert_batches(connection, statement, SCHEMA, _read_batches(path, file))
    except (OSError, EOFError, ValueError) as error:
        raise ParameterError(f"--MakeCrosswalk-table {path}: cannot be read ({error}); {FORM}") from error
    first, second = (
        tables.fetch_rows(
            connection,
            f"SELECT count(*) FROM official WHERE {old} IN (SELECT old_key FROM old_keys) "
            f"AND {new} IN (SELECT new_key FROM new_keys)",
        )[0][0]
        for old, new in (("first", "second"), ("second", "first"))
    )
    [(pairs,)] = tables.fetch_rows(connection, "SELECT count(*) FROM official")
    if not max(first, second):
        raise ParameterError(
            f"--MakeCrosswalk-table {path}: none of its {pairs:,} pairs of keys is in both datasets; give the table of "
            "these two checklists, or no table"
        )
    return f"SELECT {'first' if first >= second else 'second'} AS old_key, " \
           f"{'second' if first >= second else 'first'} AS new_key FROM official"  # fmt: skip


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    with path.open("rb") as file:
        is_compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    opened: IO[bytes] = cast("IO[bytes]", gzip.open(path)) if is_compressed else path.open("rb")  # noqa: SIM115
    with io.TextIOWrapper(opened, "utf-8-sig", "replace", newline="\n") as text:
        yield text


def _read_batches(path: Path, file: IO[str]) -> Iterator[pa.RecordBatch]:
    header = file.readline().rstrip("\r\n").split("\t")
    columns = [number for number, name in enumerate(header) if name.strip().endswith(ID_SUFFIX)]
    if len(columns) != 2:
        raise ParameterError(
            f"--MakeCrosswalk-table {path}: has {len(columns)} columns whose name ends in {ID_SUFFIX}; {FORM}"
        )
    first, second = columns
    pairs: list[tuple[str, str]] = []
    for line in file:
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) > second:
            pairs.append((fields[first], fields[second]))
        if len(pairs) == BATCH_ROWS:
            yield _make_batch(pairs)
            pairs = []
    if pairs:
        yield _make_batch(pairs)


def _make_batch(pairs: list[tuple[str, str]]) -> pa.RecordBatch:
    first, second = zip(*pairs, strict=True)
    return pa.RecordBatch.from_arrays([arrow.to_text_array(first), arrow.to_text_array(second)], schema=SCHEMA)
