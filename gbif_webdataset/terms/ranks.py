"""The ranks of taxa, by their Darwin Core columns."""

from collections.abc import Collection

KEY_COLUMNS = ("speciesKey", "genusKey", "familyKey", "orderKey", "classKey", "phylumKey", "kingdomKey")
"""The columns of taxon keys, from the lowest rank to the highest."""
MAIN_NAME_COLUMNS = ("species", "genus", "family", "order", "class", "phylum", "kingdom")
"""The columns of names that belong to KEY_COLUMNS."""
LADDERS = (KEY_COLUMNS, MAIN_NAME_COLUMNS)
RANKS = MAIN_NAME_COLUMNS
"""The ranks of KEY_COLUMNS; the columns of their names have the same names."""
DEFAULT_CATEGORY_KEY = "acceptedTaxonKey"
"""The column whose values are the classes, unless category_key names another. It holds keys of any rank."""
LABEL_NAME_COLUMNS = {
    **{key: (name,) for key, name in zip(KEY_COLUMNS, MAIN_NAME_COLUMNS, strict=True)},
    "acceptedTaxonKey": ("acceptedScientificName", "species", "scientificName"),
    "acceptedNameUsageID": ("acceptedNameUsage", "acceptedScientificName"),
    "taxonKey": ("scientificName",),
    "taxonID": ("scientificName",),
}
"""By column of labels, the columns with the scientific names of these labels; the first one that exists is used."""
NAME_COLUMNS = (*MAIN_NAME_COLUMNS, "superfamily", "subfamily", "tribe", "subtribe", "subgenus")
"""All columns that hold the name of a taxon at one rank."""
OTHER_LABEL_COLUMNS = ("taxonID", "acceptedNameUsageID", "scientificName", "acceptedScientificName", "vernacularName")
RANKS_ABOVE_SPECIES = frozenset({
    "domain", "realm", "kingdom", "subkingdom", "infrakingdom", "superphylum", "phylum", "subphylum", "infraphylum",
    "superclass", "class", "subclass", "infraclass", "parvclass", "cohort", "superorder", "order", "suborder",
    "infraorder", "parvorder", "superfamily", "family", "subfamily", "supertribe", "tribe", "subtribe", "genus",
    "subgenus", "section", "subsection", "series", "subseries",
})  # fmt: skip
"""Values of taxonRank, in lower case, of taxa that have several species."""


def is_label_column(name: str) -> bool:
    """Whether the values of a column are keys or names of taxa, or other keys, which can be labels."""
    return name.endswith("Key") or name in NAME_COLUMNS or name in OTHER_LABEL_COLUMNS


def ranks_from(column: str, columns: Collection[str]) -> list[str]:
    """The columns of a rank and of the higher ranks, lowest first, if `columns` has them; [] for other columns."""
    ladder = next((ladder for ladder in LADDERS if column in ladder), ())
    return [name for name in ladder[ladder.index(column) :] if name in columns] if ladder else []
