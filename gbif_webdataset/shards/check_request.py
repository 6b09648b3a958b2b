"""Checks of a recipe before any image is downloaded: the columns and the files that it names."""

from collections.abc import Collection, Iterator
from itertools import islice

import duckdb

from gbif_webdataset.errors import SelectionError, did_you_mean, option_text
from gbif_webdataset.shards.categories import REMEDY, CategoryMap, check_checklist, load_map, read_crosswalk
from gbif_webdataset.shards.category_map import read_category_map
from gbif_webdataset.shards.megadetector import PARAMETER, load_boxes, read_boxes
from gbif_webdataset.shards.recipe import Recipe, format_option
from gbif_webdataset.storage.list_match import describe_match
from gbif_webdataset.storage.tables import fetch_rows
from gbif_webdataset.terms.checklists import Relation
from gbif_webdataset.terms.value_types import HIERARCHY

MAPS = ("category_map_json", "previous_category_map")
CHECKED_ENTRIES = 1_000  # of a file of MegaDetector before the archive is read; `match_detections` reads them all


def name_columns(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Each option that names a column of the splits, with its value, and the column."""
    for parameter, names in (
        ("label_column", (recipe.label_column,)),
        ("columns_to_json", recipe.columns_to_json),
        ("label_name", (recipe.label_name,) if recipe.label_name else ()),
    ):
        yield from ((format_option(parameter, name), name) for name in names)
    if recipe.caption:
        option = option_text(format_option("caption_template"), recipe.caption_template)
        yield from ((option, name) for name in recipe.caption.columns)


def check_columns(recipe: Recipe, columns: Collection[str], place: str = "the archive") -> None:
    """Return if `columns`, which are those of `place`, include all that the recipe names.

    Raises:
        SelectionError: a column is missing.
    """
    for option, name in name_columns(recipe):
        if name not in columns:
            remedy = did_you_mean(name, columns) or f"choose from {', '.join(columns)}"
            raise SelectionError(f"{option}: {place} has no column '{name}'; {remedy}")
    if recipe.hierarchy_to_json and not any(name in columns for name in HIERARCHY):
        raise SelectionError(
            f"{format_option('hierarchy_to_json', 'true')}: {place} has no column of a rank, such as species or "
            "genusKey; set it to false"
        )


def check_files(recipe: Recipe) -> None:
    """Return if the files that the recipe names have the right format; of MegaDetector's file, the first entries.

    Raises:
        ParameterError: a file is missing or not valid.
    """
    for parameter in MAPS:
        if path := getattr(recipe, parameter):
            read_category_map(path, parameter)
    read_crosswalk(recipe)
    if recipe.megadetector_results_json is not None:
        for _ in islice(read_boxes(recipe.megadetector_results_json, {}), CHECKED_ENTRIES):
            pass


def match_category_map(connection: duckdb.DuckDBPyConnection, recipe: Recipe, table: str, label: str) -> list[str]:
    """How many labels of the user's category map occur in a table, as a sentence; nothing without a map.

    `label` is the SQL of an image's label.

    Raises:
        SelectionError: none of the labels occurs.
        ParameterError: the map is not valid.
    """
    sentences = []
    for parameter in MAPS:
        if path := getattr(recipe, parameter):
            given = load_map(path, parameter)
            relation = check_checklist(recipe, parameter, path, given)
            present = {name for (name,) in fetch_rows(connection, f"SELECT DISTINCT {label} FROM {table}")}
            found = _count_present(recipe, parameter, given, present)
            remedy = f"give a map whose labels are values of {recipe.label_column}"
            if relation is not Relation.SAME:
                remedy += (
                    "; keys of another taxonomy do not match (checklist of the map: "
                    f"{given.checklist}, of the archive: {recipe.checklist}): {REMEDY}"
                )
            option = format_option(parameter, path)
            sentences.append(describe_match(option, "labels", found, len(given.labels), remedy))
    return sentences


def _count_present(recipe: Recipe, parameter: str, given: CategoryMap, present: Collection[str]) -> int:
    """How many labels of a map occur, if they have to be translated as one of their new labels."""
    crosswalk = read_crosswalk(recipe) if parameter == "previous_category_map" else None
    if crosswalk is None:
        return len(given.labels.keys() & set(present))
    links = crosswalk.translate(given.labels)
    return sum(any(link.is_decided and link.new in present for link in found) for found in links.values())


def match_detections(connection: duckdb.DuckDBPyConnection, recipe: Recipe, table: str) -> list[str]:
    """How many entries of MegaDetector's file are images of a table with the column image_path, as a sentence.

    Nothing without such a file.

    Raises:
        ParameterError: the file is not valid, lacks a category, or has none of the images.
    """
    path = recipe.megadetector_results_json
    if path is None:
        return []
    connection.execute(f"CREATE TEMP VIEW keyed AS SELECT image_path FROM {table}")
    found, entries = load_boxes(connection, recipe, path)
    connection.execute("DROP TABLE detection; DROP VIEW keyed")
    remedy = "give the results for the images of this dataset; images without results are not cropped"
    return [describe_match(format_option(PARAMETER, path), "entries", found, entries, remedy)]
