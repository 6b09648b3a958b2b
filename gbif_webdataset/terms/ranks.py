"""The ranks of taxa, by their Darwin Core columns."""

from collections.abc import Collection

KEY_COLUMNS = ("speciesKey", "genusKey", "familyKey", "orderKey", "classKey", "phylumKey", "kingdomKey")
"""The columns of taxon keys, from the lowest rank to the highest."""
MAIN_NAME_COLUMNS = ("species", "genus", "family", "order", "class", "phylum", "kingdom")
"""The columns of names that belong to KEY_COLUMNS."""
LADDERS = (KEY_COLUMNS, MAIN_NAME_COLUMNS)
DEFAULT_CATEGORY_KEY = "acceptedTaxonKey"
"""The column whose values are the classes, unless category_key names another. It holds keys of any rank."""
NAME_COLUMNS = (*MAIN_NAME_COLUMNS, "superfamily", "subfamily", "tribe", "subtribe", "subgenus")
"""All columns that hold the name of a taxon at one rank."""


def ranks_from(column: str, columns: Collection[str]) -> list[str]:
    """The columns of a rank and of the higher ranks, lowest first, if `columns` has them; [] for other columns."""
    ladder = next((ladder for ladder in LADDERS if column in ladder), ())
    return [name for name in ladder[ladder.index(column) :] if name in columns] if ladder else []
