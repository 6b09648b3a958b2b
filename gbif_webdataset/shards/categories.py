"""categories.json: what the labels of category_map.json are, and the checklist of their keys."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.shards.category_map import read_category_map, write_json
from gbif_webdataset.shards.recipe import Recipe, format_option
from gbif_webdataset.storage.crosswalk_table import CrosswalkTable
from gbif_webdataset.storage.tables import fetch_rows
from gbif_webdataset.terms.checklists import Checklist, Relation
from gbif_webdataset.terms.ranks import NAME_COLUMNS

NAME = "categories.json"
REMEDY = (
    "make a crosswalk (make crosswalk OLD=... NEW=...) and set --CreateWebDataset-previous-category-map and "
    "--CreateWebDataset-crosswalk, or set --same-taxonomy if the keys mean the same taxa"
)


@dataclass(frozen=True)
class CategoryMap:
    """A category map of the user.

    Attributes:
        labels: label to class number.
        checklist: that of the labels, if the categories.json beside the map states it.
        classes: number of classes, those without a label included; the next class has this number.
    """

    labels: Mapping[str, int]
    checklist: Checklist
    classes: int


def load_map(path: Path, parameter: str) -> CategoryMap:
    """The map in a JSON file that the user named with `parameter`, with what the categories.json beside it states.

    That file counts only if it has the same labels and numbers.

    Raises:
        ParameterError: the map is not valid.
    """
    labels = read_category_map(path, parameter)
    classes = max(labels.values(), default=-1) + 1
    try:
        stated = json.loads(path.with_name(NAME).read_text(encoding="utf-8"))
        if {one["label"]: one["class"] for one in stated["categories"]} == labels:
            checklist = stated["checklist"] or {}
            stated_checklist = Checklist(str(checklist.get("key", "")), str(checklist.get("release", "")))
            return CategoryMap(labels, stated_checklist, max(classes, int(stated["classes"])))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass  # a map made before version 0.5, or by the user
    return CategoryMap(labels, Checklist(), classes)


def count_classes(folder: Path, numbers: Collection[int]) -> int:
    """The number of classes of shards, those without a label included: the outputs that a model of them has.

    `numbers` are those of category_map.json; they decide it for shards of older versions, which lack categories.json.
    """
    path = folder / NAME
    stated = json.loads(path.read_text(encoding="utf-8"))["classes"] if path.is_file() else 0
    return max(int(stated), max(numbers, default=-1) + 1)


def check_checklist(recipe: Recipe, parameter: str, path: Path, found: CategoryMap) -> Relation:
    """How the checklist of a map is related to that of the archive.

    Raises:
        SelectionError: they are different, and nothing says how their keys are related.
    """
    if recipe.same_taxonomy:
        return Relation.SAME
    relation = found.checklist.compare(recipe.checklist)
    is_translated = parameter == "previous_category_map" and recipe.crosswalk is not None
    if relation is Relation.DIFFERENT and not is_translated and recipe.label_column not in NAME_COLUMNS:
        raise SelectionError(
            f"{format_option(parameter, path)}: its labels are keys of the checklist {found.checklist}, but those of "
            f"the archive are keys of {recipe.checklist}; {REMEDY}"
        )
    return relation


def read_crosswalk(recipe: Recipe) -> CrosswalkTable | None:
    """The user's crosswalk; None without one. Raises ParameterError if it is not valid."""
    option = format_option("crosswalk")
    return CrosswalkTable.read(recipe.crosswalk, option) if recipe.crosswalk is not None else None


def write_categories(
    connection: duckdb.DuckDBPyConnection, path: Path, recipe: Recipe, categories: Mapping[str, int], classes: int
) -> None:
    """Write categories.json. The tables `ranks` and `label_names` have the rank and name of labels."""
    ranks = dict(fetch_rows(connection, "SELECT label, rank FROM ranks"))
    names = dict(fetch_rows(connection, "SELECT label, name FROM label_names"))
    distinct = {ranks.get(label, "") for label in categories}
    checklist = recipe.checklist
    content: dict[str, Any] = {
        "label_column": recipe.label_column,
        "rank": distinct.pop() if len(distinct) == 1 else "",
        "checklist": {"key": checklist.key, "title": checklist.title, "release": checklist.release}
        if checklist.key
        else None,
        "classes": classes,
        "categories": [
            {"class": number, "label": label, "name": names.get(label, ""), "rank": ranks.get(label, "")}
            for label, number in sorted(categories.items(), key=lambda item: item[1])
        ],
    }
    write_json(content, path)
