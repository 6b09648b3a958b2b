"""balance.csv: how close each class is to the requested fractions."""

import csv
from pathlib import Path

import duckdb

from gbif_webdataset.split.fractions import TEST_CODE, VAL_CODE, Fractions
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms import columns as described

COLUMNS = tuple(column.name for column in described.BALANCE)


def write_balance(connection: duckdb.DuckDBPyConnection, fractions: Fractions, path: Path) -> None:
    """Write balance.csv: the images of each class in all and in each split, before max_instances is applied.

    `val_off` and `test_off` are the images above (negative: below) the class's fraction. Classes are sorted by the
    larger of the two, largest first.
    """
    counts = f"""SELECT label, count(*) AS images,
            count(*) FILTER (split = {VAL_CODE}) AS val, count(*) FILTER (split = {TEST_CODE}) AS test
        FROM assigned_images JOIN classes USING (class) GROUP BY label"""
    query = f"""SELECT label, images, images - val - test AS train, val, test,
        val - images * {fractions.val!r} AS val_off, test - images * {fractions.test!r} AS test_off FROM ({counts})
        ORDER BY greatest(abs(val_off), abs(test_off)) DESC, label"""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for batch in tables.select_batches(connection, query):
            for *row, val, test in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                rows.writerow([*row, f"{val:.1f}", f"{test:.1f}"])
