"""The category map: label -> class number."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.shards.recipe import format_option, missing_file_error
from gbif_webdataset.storage.atomic import atomic_file

MAX_SHOWN_LABELS = 10


def number_labels(labels: Iterable[str], previous: Mapping[str, int] | None = None, first: int = 0) -> dict[str, int]:
    """The class number of each label: labels of `previous` keep theirs, new ones follow in the order of their text.

    Labels that no longer occur keep their numbers, so that a trained model's outputs keep their meaning. New numbers
    begin at `first` at least.
    """
    previous = previous or {}
    new = sorted(set(labels) - previous.keys())
    first = max(first, max(previous.values(), default=-1) + 1)
    return {**previous, **{label: number for number, label in enumerate(new, start=first)}}


def read_category_map(path: Path, parameter: str) -> dict[str, int]:
    """The category map in a JSON file that the user named with `parameter`.

    Raises:
        ParameterError: it is not a map from labels to class numbers, or a label or a number occurs twice.
    """
    option = format_option(parameter, path)
    try:
        pairs = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_Pairs)
    except FileNotFoundError:
        raise missing_file_error(parameter, path) from None
    except ValueError as error:
        raise ParameterError(f"{option}: not valid JSON: {error}; correct the file") from None
    if not isinstance(pairs, _Pairs):
        raise ParameterError(
            f'{option}: must be a JSON object that maps each label to a class number, such as {{"5WZLF": 0}}'
        )
    by_label: dict[str, int] = {}
    by_number: dict[int, str] = {}
    for label, number in pairs:
        if type(number) is not int or number < 0:
            raise ParameterError(f"{option}: the class number of '{label}' must be a whole number, at least 0")
        if label in by_label:
            raise ParameterError(f"{option}: label '{label}' occurs twice; keep one of them")
        if number in by_number:
            raise ParameterError(
                f"{option}: '{by_number[number]}' and '{label}' have the same class number {number}; change one of them"
            )
        by_label[label], by_number[number] = number, label
    return by_label


def write_category_map(categories: dict[str, int], path: Path) -> None:
    """Write the map as a JSON object, in the order of the class numbers."""
    write_json(dict(sorted(categories.items(), key=lambda item: item[1])), path)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a JSON object with one line for each key."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def missing_labels_error(labels: list[str], category_map_json: Path | None) -> SelectionError:
    """The error for labels that the category map lacks: the user's map, or the one made from train."""
    shown = ", ".join(f"'{label}'" for label in labels[:MAX_SHOWN_LABELS])
    shown += ", ..." if len(labels) > MAX_SHOWN_LABELS else ""
    count = "1 label" if len(labels) == 1 else f"{len(labels):,} labels"
    if category_map_json is not None:
        option = format_option("category_map_json", category_map_json)
        return SelectionError(f"{option}: the file lacks {count} of the images ({shown}); add them with new numbers")
    return SelectionError(
        f"{format_option('category_map_json')}: the parameter is empty, and train has no images of {count} of val or "
        f"test ({shown}); give a file with all labels, or change SplitDataset's parameters so that train has each label"
    )


class _Pairs(list[tuple[str, Any]]):
    """The pairs of a JSON object in their order, with duplicates."""
