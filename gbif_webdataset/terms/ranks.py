"""The ranks of taxa, by their columns in Darwin Core."""

from collections.abc import Collection

LADDERS = (  # each rank is lower than the next
    ("speciesKey", "genusKey", "familyKey", "orderKey", "classKey", "phylumKey", "kingdomKey"),
    ("species", "genus", "family", "order", "class", "phylum", "kingdom"),
)


def from_there_up(column: str, columns: Collection[str]) -> list[str]:
    """The columns of a rank and of those above it, as far as there are any; none for what is no rank."""
    ladder = next((ladder for ladder in LADDERS if column in ladder), ())
    return [name for name in ladder[ladder.index(column) :] if name in columns] if ladder else []
