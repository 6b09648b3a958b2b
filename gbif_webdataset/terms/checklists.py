"""The checklist that taxon keys belong to. Keys of different checklists must not be compared."""

from dataclasses import dataclass
from enum import Enum

BACKBONE = "d7dddbf4-2cf0-4f39-9b2a-bb099caae36c"
CATALOGUE_OF_LIFE = "7ddf754f-d193-4cc9-b351-99906754a03b"
TITLES = {BACKBONE: "GBIF Backbone Taxonomy", CATALOGUE_OF_LIFE: "Catalogue of Life eXtended Release"}
"""The titles of the checklists that GBIF offers for downloads, by their keys."""
KEY, RELEASE = "checklistKey", "checklistRelease"
"""Entries in the metadata of the manifest's files."""


class Relation(Enum):
    """What is known about the checklists of two sets of keys."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Checklist:
    """A release of a checklist. `release` is its name or, if it has none, the date of the download.

    An empty `key` means that the checklist is not known.
    """

    key: str = ""
    release: str = ""

    def __str__(self) -> str:
        """Return its title, key and release, as messages name it."""
        if not self.key:
            return "unknown"
        named = f"{self.title} ({self.key})" if self.title else self.key
        return f"{named}, {self.release}" if self.release else named

    @property
    def title(self) -> str:
        """Its title; empty if it is not one of GBIF's checklists for downloads."""
        return TITLES.get(self.key.lower(), "")

    def compare(self, other: "Checklist") -> Relation:
        """Whether keys of both mean the same taxa. Another release of the same checklist is unknown, not equal."""
        if not self.key or not other.key:
            return Relation.UNKNOWN
        if self.key.lower() != other.key.lower():
            return Relation.DIFFERENT
        return Relation.SAME if self.release and self.release == other.release else Relation.UNKNOWN
