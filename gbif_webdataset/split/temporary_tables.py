"""The temporary tables of SplitDataset, in the order in which they are created from the view `clean`.

`clean` has the rows of clean.parquet, and `row_index`, the number of the row in the file, counted from 0.
"""

from typing import NamedTuple

import duckdb


class TemporaryTable(NamedTuple):
    """What the rows of a table are, and the meaning of each column."""

    rows: str
    columns: dict[str, str]


CLASS = "the number of the class"
UNIT = "the occurrence (coreid), or the image (row_index) if split_by_occurrence is false"
GROUP_ID = "the number of the group, or its unit if groups consist of one unit"
HASH = "64-bit seeded hash of the group's name"
PREVIOUS_SPLIT = "code of the split in previous_splits; NO_SPLIT if there is none"
SPLIT = "code of the split, such as TRAIN_CODE"

TABLES = {
    "classes": TemporaryTable("a class", {"label": "its label", "class": "its number, in the order of the labels"}),
    "held_out_values": TemporaryTable("a value of holdout_key that is held out", {"value": "the value"}),
    "images": TemporaryTable(
        "a clean image",
        {
            "row_index": "its row in clean.parquet",
            "image_path": "its path",
            "unit": UNIT,
            "class": f"{CLASS}; NULL if the image has no label or is held out",
            "is_held_out": "whether the image belongs to the split holdout",
        },
    ),
    "units": TemporaryTable(
        "an occurrence or image that is assigned as a whole",
        {
            "unit": UNIT,
            "class": "the lowest class number of its images",
            "size": "its number of images",
            "name": "text that identifies it in every download: the coreid or the image_path",
        },
    ),
    "previous": TemporaryTable(
        "a unit that previous_splits has", {"unit": UNIT, "previous_split": "code of the split there"}
    ),
    "members": TemporaryTable("a unit", {"unit": UNIT, "group_id": GROUP_ID}),
    "group_names": TemporaryTable(
        "a group; only if group_by connects units",
        {"group_id": GROUP_ID, "name": "text that identifies the group in every download"},
    ),
    "group_classes": TemporaryTable(
        "a class of a group",
        {
            "group_id": GROUP_ID,
            "class": CLASS,
            "size": "the group's images of the class",
            "name": "the group's name",
            "hash": HASH,
            "previous_split": PREVIOUS_SPLIT,
            "classes": "the number of classes that the group has",
        },
    ),
    "single_class_groups": TemporaryTable(
        "a group of one class, in the order of class and hash",
        {"group_id": GROUP_ID, "class": CLASS, "size": "images", "hash": HASH, "previous_split": PREVIOUS_SPLIT},
    ),
    "mixed_groups": TemporaryTable(
        "a class of a group that has several, in the order of the hash",
        {"group_id": GROUP_ID, "class": CLASS, "size": "images", "hash": HASH, "previous_split": PREVIOUS_SPLIT},
    ),
    "group_splits": TemporaryTable("a group", {"group_id": GROUP_ID, "split": SPLIT}),
    "assigned_images": TemporaryTable(
        "an image that has a class",
        {
            "row_index": "its row in clean.parquet",
            "class": CLASS,
            "split": SPLIT,
            "is_over_maximum": "whether max_instances drops it",
        },
    ),
    "small_classes": TemporaryTable("a class that min_instances drops", {"class": CLASS}),
    "destinations": TemporaryTable(
        "a clean image, in the order of clean.parquet",
        {"destination": "the name of its split, or the reason for which it is dropped"},
    ),
}


def create_table(connection: duckdb.DuckDBPyConnection, name: str, query: str, order: str = "") -> None:
    """Create a table of TABLES from the columns of `query` that it lists, sorted by `order` if that is given."""
    order_clause = f" ORDER BY {order}" if order else ""
    connection.execute(f"CREATE TABLE {name} AS SELECT {', '.join(TABLES[name].columns)} FROM ({query}){order_clause}")


def create_view(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    """The same as a view, which takes no memory."""
    connection.execute(f"CREATE VIEW {name} AS SELECT {', '.join(TABLES[name].columns)} FROM ({query})")
