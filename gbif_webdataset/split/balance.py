"""How far the classes are from the asked fractions."""

import csv
from pathlib import Path

import duckdb

from gbif_webdataset.split.assignment import TEST, VAL, Fractions
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file

COLUMNS = ("label", "images", "train", "val", "test", "val_off", "test_off")


def write(connection: duckdb.DuckDBPyConnection, fractions: Fractions, path: Path) -> None:
    """Write balance.csv: of each class its images in all and by split, before max_instances, those furthest off first.

    `val_off` and `test_off` are images above (or, negative, below) the class's fraction.
    """
    counted = f"""SELECT category AS label, count(*) AS images,
            count(*) FILTER (split = {VAL}) AS val, count(*) FILTER (split = {TEST}) AS test
        FROM limited JOIN classes USING (class) GROUP BY category"""
    query = f"""SELECT label, images, images - val - test AS train, val, test,
        val - images * {fractions.val!r} AS val_off, test - images * {fractions.test!r} AS test_off FROM ({counted})
        ORDER BY greatest(abs(val_off), abs(test_off)) DESC, label"""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for batch in tables.select_batches(connection, query):
            for *row, val, test in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                rows.writerow([*row, f"{val:.1f}", f"{test:.1f}"])
