"""The numbers of classes whose labels changed with the taxonomy: a class keeps its number, whatever it is called."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.crosswalk_table import Link
from gbif_webdataset.terms.columns import CLASS_CHANGES
from gbif_webdataset.terms.crosswalk_kinds import ChangeKind

NAME = "class_changes.csv"


@dataclass(frozen=True)
class ClassChange:
    """A row of class_changes.csv. `number` is that of the new label or, without one, the number that stays empty."""

    number: int
    old_label: str
    new_label: str
    old_name: str
    new_name: str
    kind: str


def renumber_classes(
    previous: Mapping[str, int], links: Mapping[str, list[Link]], labels: Iterable[str], first: int
) -> dict[str, int]:
    """The class number of each new label. `links` are those of the labels of `previous`, `first` is the next number.

    The largest part of an old class keeps its number: the part with most shared occurrences, then the smaller label. If
    several old classes are one, it keeps the number of the largest. All other labels get new numbers, in the order of
    their text.
    """
    claims: dict[str, list[Link]] = {}
    for old, found in links.items():
        if old in previous and (decided := [link for link in found if link.is_decided]):
            largest = min(decided, key=lambda link: (-link.shared_occurrences, link.new))
            claims.setdefault(largest.new, []).append(largest)
    numbers = {}
    for new, claiming in claims.items():
        numbers[new] = previous[min(claiming, key=lambda link: (-link.shared_occurrences, link.old)).old]
    others = sorted(set(labels) - numbers.keys())
    return {**numbers, **{label: number for number, label in enumerate(others, start=first)}}


def list_changes(
    previous: Mapping[str, int],
    links: Mapping[str, list[Link]],
    numbers: Mapping[str, int],
    links_by_new: Mapping[str, Link],
) -> list[ClassChange]:
    """What became of each class of `previous`, in the order of its number, then the new classes.

    Name and kind of a new class are those of its link in `links_by_new`.
    """
    changes = []
    for old, number in sorted(previous.items(), key=lambda item: item[1]):
        if old not in links:
            changes.append(ClassChange(number, old, "", "", "", ""))
        for link in sorted(links.get(old, []), key=lambda link: (-link.shared_occurrences, link.new)):
            new = link.new if link.is_decided else ""
            if new in numbers or not link.is_decided:
                changes.append(
                    ClassChange(numbers.get(new, number), old, new, link.old_name, link.new_name, str(link.kind))
                )
    listed = {change.new_label for change in changes}
    added = sorted((number, label) for label, number in numbers.items() if label not in listed)
    for number, label in added:
        found = links_by_new.get(label)
        name, kind = (found.new_name, found.kind) if found else ("", ChangeKind.NEW)
        changes.append(ClassChange(number, "", label, "", name, str(kind)))
    return changes


def write_changes(changes: Iterable[ClassChange], path: Path) -> None:
    """Write class_changes.csv."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(column.name for column in CLASS_CHANGES)
        rows.writerows(map(astuple, changes))
