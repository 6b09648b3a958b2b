"""The scientific names of classes, for shards whose classes.csv has none because an older version made them."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow.parquet as pq

from gbif_webdataset.publish.description import ClassCounts
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.label_names import select_frequent_names, select_label_name
from gbif_webdataset.storage.paths import DatasetPaths


def add_names(classes: Sequence[ClassCounts], paths: DatasetPaths, label_column: str) -> Sequence[ClassCounts]:
    """The classes with the most frequent scientific name of their clean images, unless one of them has a name.

    They stay without names if the archive has none, or if clean.parquet lacks the column of the labels.
    """
    columns = pq.read_schema(paths.clean).names if paths.clean.is_file() else []
    if any(one.name for one in classes) or label_column not in columns:
        return classes
    label = f"clean.{tables.quote_name(label_column)}"
    name = select_label_name(label_column, label, columns)
    if not name:
        return classes
    query = select_frequent_names(tables.parquet_source([paths.clean]), label, name)
    with tables.open_database(paths.scratch) as connection:
        names = dict(tables.fetch_rows(connection, query))
    return [replace(one, name=names.get(one.label, "")) for one in classes]
