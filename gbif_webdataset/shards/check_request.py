"""Checks of a recipe before any image is downloaded: the columns and the files that it names."""

from collections.abc import Collection, Iterator
from itertools import islice

import duckdb

from gbif_webdataset.errors import SelectionError, did_you_mean
from gbif_webdataset.shards.categories import REMEDY, CategoryMap, check_checklist, load_map, read_crosswalk
from gbif_webdataset.shards.category_map import read_category_map
from gbif_webdataset.shards.megadetector import read_boxes
from gbif_webdataset.shards.recipe import Recipe, format_option
from gbif_webdataset.storage.list_match import describe_match
from gbif_webdataset.storage.tables import fetch_rows
from gbif_webdataset.terms.checklists import Relation

MAPS = ("category_map_json", "previous_category_map")
CHECKED_ENTRIES = 1_000  # of a file of MegaDetector, which may have millions


def name_columns(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Each parameter that names a column of the splits, with the column."""
    yield "label_column", recipe.label_column
    yield from (("columns_to_json", name) for name in recipe.columns_to_json)
    if recipe.label_name:
        yield "label_name", recipe.label_name


def check_columns(recipe: Recipe, columns: Collection[str], place: str = "the archive") -> None:
    """Return if `columns`, which are those of `place`, include all that the recipe names.

    Raises:
        SelectionError: a column is missing.
    """
    for parameter, name in name_columns(recipe):
        if name not in columns:
            remedy = did_you_mean(name, columns) or f"choose from {', '.join(columns)}"
            raise SelectionError(f"{format_option(parameter, name)}: {place} has no column '{name}'; {remedy}")


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
