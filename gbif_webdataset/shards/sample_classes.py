"""The class of each label: category_map.json, classes.csv and label_names.json."""

import csv
from collections.abc import Iterable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.shards.categories import NAME as CATEGORIES
from gbif_webdataset.shards.categories import check_checklist, load_map, read_crosswalk, write_categories
from gbif_webdataset.shards.category_map import missing_labels_error, number_labels, write_category_map, write_json
from gbif_webdataset.shards.class_changes import NAME as CLASS_CHANGES
from gbif_webdataset.shards.class_changes import list_changes, renumber_classes, write_changes
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

    Also write categories.json and, with a crosswalk, class_changes.csv. If labels have names, also write
    label_names.json and the column `name` of classes.csv. A label's name is the most frequent one among its images; if
    they have none at the rank of label_name, the name at the next higher rank.

    Raises:
        ParameterError: a category map of the user is not valid.
        SelectionError: the map lacks a label of train, val or test.
    """
    categories, classes = _choose_categories(connection, folder, recipe)
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
    connection.execute(f"CREATE TABLE label_names AS {_select_names()}")
    write_categories(connection, folder / CATEGORIES, recipe, categories, classes)
    has_names = bool(recipe.label_name or fetch_rows(connection, "SELECT 1 FROM names LIMIT 1"))
    if has_names:
        _write_names(connection, folder / LABEL_NAMES, (*categories, *unknown))
    _write_classes(connection, folder / CLASSES, recipe, has_names)


def _choose_categories(
    connection: duckdb.DuckDBPyConnection, folder: Path, recipe: Recipe
) -> tuple[dict[str, int], int]:
    """The user's category map, or one made from the labels of train; and the number of classes."""
    if recipe.category_map_json is not None:
        given = load_map(recipe.category_map_json, "category_map_json")
        check_checklist(recipe, "category_map_json", recipe.category_map_json, given)
        return dict(given.labels), given.classes
    rows = fetch_rows(connection, f"SELECT DISTINCT label FROM keyed WHERE split = {SPLITS.index(TRAIN)}")
    labels = [label for (label,) in rows]
    if recipe.previous_category_map is None:
        return number_labels(labels), len(labels)
    previous = load_map(recipe.previous_category_map, "previous_category_map")
    check_checklist(recipe, "previous_category_map", recipe.previous_category_map, previous)
    if crosswalk := read_crosswalk(recipe):
        links = crosswalk.translate(previous.labels)
        numbers = renumber_classes(previous.labels, links, labels, previous.classes)
        changes = list_changes(previous.labels, links, numbers, crosswalk.find_by_new(numbers))
        write_changes(changes, folder / CLASS_CHANGES)
    else:
        numbers = number_labels(labels, previous.labels, previous.classes)
    return numbers, max(previous.classes, max(numbers.values(), default=-1) + 1)


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
    names = dict(fetch_rows(connection, "SELECT label, name FROM label_names"))
    write_json({label: names.get(label, label) for label in labels}, path)


def _write_classes(connection: duckdb.DuckDBPyConnection, path: Path, recipe: Recipe, has_names: bool) -> None:
    header = [column.name for column in columns.CLASSES if has_names or column.name != "name"]
    name = "name, " if has_names else ""
    checklist = recipe.checklist
    constants = [recipe.label_column, checklist.key, checklist.release]
    query = f"""SELECT counts.*, {name}rank FROM
        (SELECT split, label, id, count(*) FROM keyed JOIN category USING (label) GROUP BY ALL) AS counts
        LEFT JOIN label_names USING (label) LEFT JOIN ranks USING (label) ORDER BY 1, 3, 2"""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for batch in select_batches(connection, query):
            for split, *row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                writer.writerow([SPLITS[split], *row, *constants])
