"""The assignment of all images, in temporary tables of a database."""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from gbif_webdataset.split import traits
from gbif_webdataset.split.destinations import create_destinations
from gbif_webdataset.split.group_splits import create_group_splits
from gbif_webdataset.split.groups import create_groups
from gbif_webdataset.split.labels import create_labelled_images, label_value
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.storage import tables

MEMORY_LIMIT = "700MB"  # of DuckDB, which spills to the disk beyond it


def create_clean(connection: duckdb.DuckDBPyConnection, clean: Path) -> None:
    """Create the view `clean`, and the SQL functions of traits."""
    traits.add_trait_functions(connection)
    source = tables.parquet_source([clean])
    connection.execute(f"CREATE VIEW clean AS SELECT file_row_number AS row_index, * FROM {source}")


def assign_images(connection: duckdb.DuckDBPyConnection, clean: Path, duplicates: Path, options: SplitOptions) -> None:
    """Create `clean` and all tables of `temporary_tables`; the last one, `destinations`, has the split of each image.

    `clean` and `duplicates` are tables of CleanDataset.
    """
    create_clean(connection, clean)
    create_labelled_images(connection, options, label_value(options, pq.read_schema(clean).names))
    create_groups(connection, duplicates, options)
    create_group_splits(connection, options)
    create_destinations(connection, options)
