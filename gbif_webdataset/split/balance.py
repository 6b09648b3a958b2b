"""balance.csv: how close each class is to the requested fractions."""

import csv
from pathlib import Path

import duckdb

from gbif_webdataset.split.fractions import TEST_CODE, VAL_CODE
from gbif_webdataset.split.labels import label_value
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.label_names import select_label_name
from gbif_webdataset.terms import columns as described
from gbif_webdataset.terms.splits import LABEL

COLUMNS = tuple(column.name for column in described.BALANCE)


def write_balance(connection: duckdb.DuckDBPyConnection, options: SplitOptions, path: Path) -> None:
    """Write balance.csv: the images of each class in all and in each split, before max_instances is applied.

    `val_off` and `test_off` are the images above (negative: below) the class's fraction. Classes are sorted by the
    larger of the two, largest first.
    """
    fractions = options.fractions
    counts = f"""SELECT class, count(*) AS images,
            count(*) FILTER (split = {VAL_CODE}) AS val, count(*) FILTER (split = {TEST_CODE}) AS test
        FROM assigned_images GROUP BY class"""
    query = f"""SELECT label, name, images, images - val - test AS train, val, test,
        val - images * {fractions.val!r} AS val_off, test - images * {fractions.test!r} AS test_off
        FROM ({counts}) JOIN classes USING (class) LEFT JOIN ({_select_names(connection, options)}) USING (class)
        ORDER BY greatest(abs(val_off), abs(test_off)) DESC, label"""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for batch in tables.select_batches(connection, query):
            for *row, val, test in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                rows.writerow([*row, f"{val:.1f}", f"{test:.1f}"])


def _select_names(connection: duckdb.DuckDBPyConnection, options: SplitOptions) -> str:
    """The SQL query of the most frequent name of each class."""
    columns = tables.describe_columns(connection, "clean")
    label_column = LABEL if options.roll_up else options.category_key
    name = select_label_name(label_column, label_value(options, columns), columns) or "NULL::VARCHAR"
    return f"""SELECT class, arg_max(name, (images, name)) AS name FROM (
        SELECT assigned_images.class AS class, {name} AS name, count(*) AS images
        FROM assigned_images JOIN clean USING (row_index) GROUP BY ALL) WHERE name IS NOT NULL GROUP BY class"""
