"""A crosswalk as later runs use it: the labels of a newer taxonomy that an older label has become."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.storage.tables import open_csv, read_header
from gbif_webdataset.terms.columns import CROSSWALK
from gbif_webdataset.terms.crosswalk_kinds import ChangeKind

COLUMNS = [column.name for column in CROSSWALK]
KINDS = {str(kind): kind for kind in ChangeKind}
UNDECIDED = (ChangeKind.GONE, ChangeKind.NEW, ChangeKind.AMBIGUOUS)
"""Kinds of rows that give an old taxon no new one."""


@dataclass(frozen=True)
class Link:
    """An old label and a new one, with their names; `new` is empty if the taxon is gone. Labels are keys or names."""

    old: str
    new: str
    old_name: str
    new_name: str
    kind: ChangeKind
    shared_occurrences: int

    @property
    def is_decided(self) -> bool:
        """Whether the new label stands for the old one or a part of it."""
        return self.kind not in UNDECIDED


@dataclass(frozen=True)
class CrosswalkTable:
    """The rows of a crosswalk, with keys as labels."""

    links: tuple[Link, ...]

    @classmethod
    def read(cls, path: Path, option: str) -> Self:
        """The rows of the file that `option` names.

        Raises:
            ParameterError: the file is not a crosswalk.
        """
        remedy = "give a crosswalk.csv that `make crosswalk` wrote"
        try:
            if missing := [name for name in COLUMNS if name not in read_header(path)]:
                raise ParameterError(f"{option} {path}: the column {missing[0]} is missing; {remedy}")
            return cls(tuple(dict.fromkeys(_read_links(path))))
        except (OSError, ValueError, KeyError) as error:
            raise ParameterError(f"{option} {path}: cannot be read ({error}); {remedy}") from error

    def translate(self, labels: Collection[str]) -> dict[str, list[Link]]:
        """The links of each old label that the crosswalk lists. Labels are its keys or its names: what fits more."""
        listed = frozenset(labels)
        by_key = self.find_by_key(listed)
        by_name = [
            Link(link.old_name, link.new_name, link.old_name, link.new_name, _find_kind(link), link.shared_occurrences)
            for link in self.links
            if link.old_name in listed
        ]
        names = _group_links(by_name)
        return names if len(names) > len(by_key) else by_key

    def find_by_new(self, labels: Collection[str]) -> dict[str, Link]:
        """The first link to each new label that the crosswalk lists, as a key or a name."""
        listed = frozenset(labels)
        found: dict[str, Link] = {}
        for link in self.links:
            for label in {link.new, link.new_name} & listed:
                found.setdefault(label, link)
        return found

    def find_by_key(self, keys: Collection[str]) -> dict[str, list[Link]]:
        """The links of each old key that the crosswalk lists."""
        listed = frozenset(keys)
        return _group_links(link for link in self.links if link.old in listed)


def _group_links(links: Iterable[Link]) -> dict[str, list[Link]]:
    found: dict[str, list[Link]] = {}
    for link in links:
        found.setdefault(link.old, []).append(link)
    return found


def _read_links(path: Path) -> Iterator[Link]:
    with open_csv(path) as rows:
        for row in rows:
            kind, shared = KINDS[row["kind"]], int(row["shared_occurrences"] or 0)
            yield Link(row["old_key"], row["new_key"], row["old_name"], row["new_name"], kind, shared)


def _find_kind(link: Link) -> ChangeKind:
    """The kind of change if names are the labels: a taxon with another key may have the same name."""
    if link.kind is ChangeKind.RENAMED and link.old_name == link.new_name:
        return ChangeKind.SAME
    return link.kind
