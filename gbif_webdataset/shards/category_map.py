"""Labels and their classes: the category map, made from train or given."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.storage.atomic import atomic_file

LABEL_NAMES = "label_names.json"


def numbered(labels: Iterable[str], previous: Mapping[str, int] | None = None) -> dict[str, int]:
    """The `previous` labels with their numbers, then the new ones in the order of their text, numbered from there on.

    Labels that no longer occur keep their numbers, so that a model's outputs mean the same for the newer data.
    """
    known = dict(previous or {})
    new = sorted(set(labels) - known.keys())
    return known | {label: number for number, label in enumerate(new, start=max(known.values(), default=-1) + 1)}


def read_category_map(path: Path, parameter: str = "category_map_json") -> dict[str, int]:
    """A category map of the user's: a JSON object of labels and class ids.

    Raises ParameterError where it isn't one, or where two labels share an id or a label stands twice.
    """
    try:
        pairs = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_Pairs)
    except FileNotFoundError:
        raise ParameterError(f"{parameter}: there is no file {path}") from None
    except ValueError as error:
        raise ParameterError(f"{parameter}: {path} isn't JSON text: {error}") from None
    if not isinstance(pairs, _Pairs):
        raise ParameterError(f"{parameter}: {path} has to hold an object, label to class id")
    by_label: dict[str, int] = {}
    by_id: dict[int, str] = {}
    for label, number in pairs:
        if type(number) is not int or number < 0:
            raise ParameterError(f"{parameter}: the class id of '{label}' in {path} isn't a whole number from 0")
        if label in by_label:
            raise ParameterError(f"{parameter}: '{label}' stands twice in {path}; keep one of them")
        if number in by_id:
            raise ParameterError(f"{parameter}: '{by_id[number]}' and '{label}' share the class id {number} in {path}")
        by_label[label], by_id[number] = number, label
    return by_label


def write_category_map(categories: dict[str, int], path: Path) -> None:
    """Write the map as a JSON object in the order of the ids."""
    write_json(dict(sorted(categories.items(), key=lambda item: item[1])), path)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a JSON object, a line for each of its keys."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def lacking(labels: list[str], given: Path | None) -> SelectionError:
    """What to say of labels that the category map lacks."""
    shown = ", ".join(f"'{label}'" for label in labels[:10]) + (", ..." if len(labels) > 10 else "")
    if given is not None:
        return SelectionError(
            f"category_map_json: {given} lacks {len(labels):,} of the data's labels ({shown}); add them with new ids"
        )
    return SelectionError(
        f"{len(labels):,} labels of val or test are not in train ({shown}); give a category_map_json that holds "
        "them, or split again so that train has images of each"
    )


class _Pairs(list[tuple[str, Any]]):
    """An object's pairs as they stand, duplicates too."""
