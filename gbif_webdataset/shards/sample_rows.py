"""The rows of the splits that become samples: with a label and its class, a key, JSON, and perhaps a box."""

import csv as csv_files
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.errors import MissingPieceError, SelectionError
from gbif_webdataset.shards.category_map import (
    LABEL_NAMES,
    lacking,
    numbered,
    read_category_map,
    write_category_map,
    write_json,
)
from gbif_webdataset.shards.megadetector import load_boxes
from gbif_webdataset.shards.recipe import Recipe
from gbif_webdataset.storage.arrow import to_array, to_text_array
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.tables import csv_source, fetch_rows, quote_name, quote_text, read_header, select_batches
from gbif_webdataset.terms.ranks import ranks_from
from gbif_webdataset.terms.splits import HOLDOUT, SPLITS, split_path, split_paths

NUMBERS = ("width", "height", "stored_width", "stored_height", "file_size", "bytes", "attempts", "http_status")
TRUTHS = ("valid", "flat")
NO_CLASS = -1


def load_rows(connection: duckdb.DuckDBPyConnection, splits: Path, folder: Path, recipe: Recipe) -> dict[str, int]:
    """Make the table `keyed` of the splits' rows with a label; write dropped.csv of the others, count them by reason.

    Raises SelectionError for an unknown column, no row at all or two samples of one key; MissingPieceError for a row
    that isn't measured.
    """
    connection.execute(
        "CREATE TABLE labelled (split TINYINT, image_path VARCHAR, label VARCHAR, width BIGINT, height BIGINT, "
        "file_size BIGINT, format VARCHAR, json VARCHAR)"
    )
    connection.execute("CREATE TABLE names (label VARCHAR, name VARCHAR, images BIGINT)")
    unlabelled = 0
    with atomic_file(folder / "dropped.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv_files.writer(file, lineterminator="\n")
        lines.writerow(["stage", "reason", "image_path", "identifier", "coreid"])
        for split, path in split_paths(splits).items():
            number, names = SPLITS.index(split), read_header(path)
            _check_columns(path, names, recipe)
            label = quote_name(recipe.label_column)
            connection.execute(
                f"INSERT INTO labelled SELECT {number}, image_path, {label}, TRY_CAST(width AS BIGINT), "
                f"TRY_CAST(height AS BIGINT), TRY_CAST(file_size AS BIGINT), format, {_json(recipe)} "
                f"FROM {csv_source(path)} WHERE {label} IS NOT NULL"
            )
            shown = [quote_name(name) if name in names else "NULL" for name in ("image_path", "identifier", "coreid")]
            if recipe.label_name:
                ranks = ranks_from(recipe.label_name, names) or [recipe.label_name]
                name = f"coalesce({', '.join(map(quote_name, ranks))})"
                connection.execute(
                    f"INSERT INTO names SELECT {label}, {name}, count(*) FROM {csv_source(path)} "
                    f"WHERE {label} IS NOT NULL AND {name} IS NOT NULL GROUP BY ALL"
                )
            query = f"SELECT {', '.join(shown)} FROM {csv_source(path)} WHERE {label} IS NULL ORDER BY image_path"
            for batch in select_batches(connection, query):
                lines.writerows(
                    ["shards", "no-label", *row]
                    for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
                )
                unlabelled += batch.num_rows
    _check_rows(connection, splits)
    _key(connection, splits)
    return {"no-label": unlabelled} if unlabelled else {}


def _check_columns(path: Path, names: list[str], recipe: Recipe) -> None:
    there = f"its columns are {', '.join(names)}"
    if recipe.label_column not in names:
        raise SelectionError(f"label_column: {path} has no column '{recipe.label_column}'; {there}")
    if recipe.label_name and recipe.label_name not in names:
        raise SelectionError(f"label_name: {path} has no column '{recipe.label_name}'; {there}")
    for name in recipe.columns_to_json:
        if name not in names:
            raise SelectionError(f"columns_to_json: {path} has no column '{name}'; {there}")


def _json(recipe: Recipe) -> str:
    """The SQL of a sample's JSON text: what was measured as numbers and booleans, everything else as it stands.

    An empty field is null. What should be a number and is none stays text.
    """
    if not recipe.columns_to_json:
        return "NULL"
    pairs = []
    for name in dict.fromkeys(recipe.columns_to_json):
        kind = "BIGINT" if name in NUMBERS else "BOOLEAN" if name in TRUTHS else ""
        value = quote_name(name)
        typed = f"coalesce(to_json(TRY_CAST({value} AS {kind})), to_json({value}))"
        pairs += [quote_text(name), typed if kind else value]
    return f"CAST(json_object({', '.join(pairs)}) AS VARCHAR)"


def _check_rows(connection: duckdb.DuckDBPyConnection, splits: Path) -> None:
    if not fetch_rows(connection, "SELECT 1 FROM labelled LIMIT 1"):
        raise SelectionError(f"{splits}: no row of train, val or test has a label; choose another label_column")
    unmeasured = fetch_rows(
        connection,
        "SELECT split, image_path FROM labelled WHERE image_path IS NULL OR format IS NULL OR width IS NULL OR "
        "height IS NULL OR file_size IS NULL ORDER BY ALL LIMIT 1",
    )
    if unmeasured:
        split, image_path = unmeasured[0]
        raise MissingPieceError(
            f"{split_path(splits, SPLITS[split])}: the row of {image_path} lacks width, height, file_size or format; "
            "run SplitDataset again"
        )


def keyed(table: str) -> str:
    """The SQL query of a table's rows with the `key` of each, and `stem` and `base`, which it is made of.

    A key is the path without its ending; readers cut at the first dot of the name.
    """
    return (
        "SELECT *, regexp_extract(stem, '^.*/') || replace(base, '.', '_') AS key FROM (SELECT "
        "*, regexp_extract(stem, '[^/]*$') AS base FROM (SELECT *, regexp_replace(image_path, '[.][^./]*$', '') "
        f"AS stem FROM {table}))"
    )


def _key(connection: duckdb.DuckDBPyConnection, splits: Path) -> None:
    """Make `keyed` of `labelled`."""
    connection.execute(f"CREATE TABLE keyed AS {keyed('labelled')}")
    connection.execute("DROP TABLE labelled")
    twins = fetch_rows(
        connection,
        "SELECT any_value(split), min(image_path), max(image_path) FROM keyed WHERE key IN (SELECT key FROM keyed "
        "WHERE contains(base, '.')) GROUP BY split, key HAVING count(*) > 1 ORDER BY ALL LIMIT 1",
    )
    if twins:
        split, one, other = twins[0]
        raise SelectionError(
            f"{split_path(splits, SPLITS[split])}: {one} and {other} would have the same key in a shard; delete one of "
            "them with DeleteImages"
        )


def load_classes(connection: duckdb.DuckDBPyConnection, folder: Path, recipe: Recipe) -> None:
    """Make the table `category` (label, id), of train's labels or as given; write category_map.json and classes.csv.

    classes.csv has the samples of each class in each split that has any: `split,label,class,samples`, and `name` where
    there is a label_name, of which label_names.json has one for each label in the category map: what most of its
    images are called, at a higher rank where they have no name at this one, or else the label. What is held out and of
    no class in the map is of class -1.

    Raises ParameterError for an unreadable map, SelectionError for labels that it, or train, lacks.
    """
    if recipe.category_map_json is not None:
        categories = read_category_map(recipe.category_map_json)
    else:
        earlier = recipe.previous_category_map
        categories = numbered(
            (label for (label,) in fetch_rows(connection, "SELECT DISTINCT label FROM keyed WHERE split = 0")),
            read_category_map(earlier, "previous_category_map") if earlier else None,
        )
    ids = to_array(np.fromiter(categories.values(), np.int64, len(categories)))
    connection.register("given", pa.table({"label": to_text_array(list(categories)), "id": ids}))
    connection.execute("CREATE TABLE category AS SELECT * FROM given")
    connection.unregister("given")
    unknown = "SELECT DISTINCT label FROM keyed ANTI JOIN category USING (label) WHERE split {} {} ORDER BY label"
    held_out = SPLITS.index(HOLDOUT)
    if missing := fetch_rows(connection, unknown.format("<>", held_out)):
        raise lacking([label for (label,) in missing], recipe.category_map_json)
    unseen = [label for (label,) in fetch_rows(connection, unknown.format("=", held_out))]
    connection.execute(f"INSERT INTO category SELECT label, {NO_CLASS} FROM ({unknown.format('=', held_out)})")
    write_category_map(categories, folder / "category_map.json")
    counted = "SELECT split, label, id, count(*) FROM keyed JOIN category USING (label) GROUP BY ALL ORDER BY 1, 3"
    if recipe.label_name:
        sums = "SELECT label, name, sum(images) AS images FROM names GROUP BY ALL"
        turn = "row_number() OVER (PARTITION BY label ORDER BY images DESC, name) = 1"
        named = f"SELECT label, name FROM ({sums}) QUALIFY {turn}"
        known = dict(fetch_rows(connection, named))
        write_json({label: known.get(label, label) for label in (*categories, *unseen)}, folder / LABEL_NAMES)
        counted = f"SELECT counted.*, name FROM ({counted}) AS counted LEFT JOIN ({named}) USING (label) ORDER BY 1, 3"
    with atomic_file(folder / "classes.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv_files.writer(file, lineterminator="\n")
        lines.writerow(["split", "label", "class", "samples", *(["name"] if recipe.label_name else [])])
        for batch in select_batches(connection, counted):
            for split, *row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                lines.writerow([SPLITS[split], *row])


def load_detections(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> tuple[int, int]:
    """Make the table `detection`; return how many of the samples' boxes were ignored and how many samples have none.

    Raises ParameterError for detections in another format than MegaDetector's.
    """
    if recipe.megadetector_results_json is None:
        connection.execute("CREATE TEMP TABLE detection (image_path VARCHAR, box DOUBLE[], ignored BIGINT)")
        return 0, 0
    load_boxes(connection, recipe.megadetector_results_json)
    [(ignored, without)] = fetch_rows(
        connection,
        "SELECT coalesce(sum(ignored), 0)::BIGINT, count(*) FILTER (WHERE box IS NULL) "
        "FROM keyed LEFT JOIN detection USING (image_path)",
    )
    return ignored, without
