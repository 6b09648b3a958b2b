"""The class of each label: category_map.json, classes.csv and label_names.json."""

import csv
from collections.abc import Iterable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.shards.category_map import (
    missing_labels_error,
    number_labels,
    read_category_map,
    write_category_map,
    write_json,
)
from gbif_webdataset.shards.recipe import Recipe
from gbif_webdataset.storage.arrow import to_array, to_text_array
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.tables import fetch_rows, select_batches
from gbif_webdataset.terms import columns
from gbif_webdataset.terms.splits import HOLDOUT, SPLITS, TRAIN

CATEGORY_MAP, CLASSES, LABEL_NAMES = "category_map.json", "classes.csv", "label_names.json"
NO_CLASS = -1  # of images in holdout whose label is not in the category map


def load_classes(connection: duckdb.DuckDBPyConnection, folder: Path, recipe: Recipe) -> None:
    """Load the class of each label into the table `category` (label, id); write category_map.json and classes.csv.

    If labels have names, also write label_names.json and the column `name` of classes.csv. A label's name is the most
    frequent one among its images; if they have none at the rank of label_name, the name at the next higher rank.

    Raises:
        ParameterError: a category map of the user is not valid.
        SelectionError: the map lacks a label of train, val or test.
    """
    categories = _choose_categories(connection, recipe)
    ids = to_array(np.fromiter(categories.values(), np.int64, len(categories)))
    connection.register("categories", pa.table({"label": to_text_array(list(categories)), "id": ids}))
    connection.execute("CREATE TABLE category AS SELECT * FROM categories")
    connection.unregister("categories")
    held_out = f"split = {SPLITS.index(HOLDOUT)}"
    if missing := _find_unknown_labels(connection, f"NOT ({held_out})"):
        raise missing_labels_error(missing, recipe.category_map_json)
    unknown = _find_unknown_labels(connection, held_out)
    connection.register("unknown", pa.table({"label": to_text_array(unknown)}))
    connection.execute(f"INSERT INTO category SELECT label, {NO_CLASS} FROM unknown")
    connection.unregister("unknown")
    write_category_map(categories, folder / CATEGORY_MAP)
    has_names = bool(recipe.label_name or fetch_rows(connection, "SELECT 1 FROM names LIMIT 1"))
    if has_names:
        _write_names(connection, folder / LABEL_NAMES, (*categories, *unknown))
    _write_classes(connection, folder / CLASSES, has_names)


def _choose_categories(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> dict[str, int]:
    """The user's category map, or one made from the labels of train."""
    if recipe.category_map_json is not None:
        return read_category_map(recipe.category_map_json, "category_map_json")
    labels = fetch_rows(connection, f"SELECT DISTINCT label FROM keyed WHERE split = {SPLITS.index(TRAIN)}")
    path = recipe.previous_category_map
    previous = read_category_map(path, "previous_category_map") if path else None
    return number_labels((label for (label,) in labels), previous)


def _find_unknown_labels(connection: duckdb.DuckDBPyConnection, condition: str) -> list[str]:
    """The labels of rows that meet `condition` and have no class."""
    query = f"SELECT DISTINCT label FROM keyed ANTI JOIN category USING (label) WHERE {condition} ORDER BY label"
    return [label for (label,) in fetch_rows(connection, query)]


def _select_names() -> str:
    """The SQL query of each label's most frequent name; of equally frequent ones the first in their order."""
    counts = "SELECT label, name, sum(images) AS images FROM names GROUP BY ALL"
    is_first = "row_number() OVER (PARTITION BY label ORDER BY images DESC, name) = 1"
    return f"SELECT label, name FROM ({counts}) QUALIFY {is_first}"


def _write_names(connection: duckdb.DuckDBPyConnection, path: Path, labels: Iterable[str]) -> None:
    """Write the name of each label, or the label itself if none of its images has a name."""
    names = dict(fetch_rows(connection, _select_names()))
    write_json({label: names.get(label, label) for label in labels}, path)


def _write_classes(connection: duckdb.DuckDBPyConnection, path: Path, has_names: bool) -> None:
    header = [column.name for column in columns.CLASSES]
    query = "SELECT split, label, id, count(*) FROM keyed JOIN category USING (label) GROUP BY ALL ORDER BY 1, 3"
    if has_names:
        query = f"SELECT counts.*, name FROM ({query}) AS counts LEFT JOIN ({_select_names()}) USING (label)"
        query += " ORDER BY 1, 3"
    else:
        header.remove("name")
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for batch in select_batches(connection, query):
            for split, *row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                writer.writerow([SPLITS[split], *row])
