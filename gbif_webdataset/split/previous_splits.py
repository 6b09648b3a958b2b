"""The splits of an earlier dataset, which images keep."""

from pathlib import Path

import duckdb

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.split.fractions import NO_SPLIT
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.split.temporary_tables import create_table, create_view
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES, split_path

COLUMNS = ("coreid", "identifier")


def find_previous_splits(folder: Path) -> list[Path]:
    """The CSVs of train, val and test in the folder `splits` of an earlier dataset, in the order of their codes.

    Raises:
        ParameterError: a CSV or one of its columns is missing.
    """
    paths = [split_path(folder, split) for split in SPLITS_OF_CLASSES]
    for path in paths:
        if not path.is_file():
            raise ParameterError(
                f"--SplitDataset-previous-splits {folder}: there is no file {path.name}; "
                "name the folder splits of a dataset"
            )
        for column in COLUMNS:
            if column not in tables.read_header(path):
                raise ParameterError(
                    f"--SplitDataset-previous-splits {folder}: {path.name} has no column {column}; "
                    "name the folder splits of a dataset"
                )
    return paths


def create_previous(connection: duckdb.DuckDBPyConnection, options: SplitOptions) -> None:
    """Create `previous`, without rows if there are neither previous nor kept splits.

    If an occurrence was in several splits, test goes before val and val before train, so that no test image is ever
    used for training.
    """
    folders = [folder for folder in (options.previous_splits, options.kept_splits) if folder is not None]
    if not folders:
        create_view(connection, "previous", f"SELECT unit, {NO_SPLIT} AS previous_split FROM units LIMIT 0")
        return
    connection.execute("CREATE TABLE previous_images (coreid VARCHAR, identifier VARCHAR, split UTINYINT)")
    codes = ((path, code) for folder in folders for code, path in enumerate(find_previous_splits(folder)))
    for path, code in codes:
        source = tables.csv_source(path)
        connection.execute(f"INSERT INTO previous_images SELECT coreid, identifier, {code} FROM {source}")
    if options.split_by_occurrence:
        query = "SELECT coreid AS unit, max(split) AS previous_split FROM previous_images GROUP BY coreid"
    else:
        query = """SELECT row_index AS unit, max(split) AS previous_split
            FROM clean JOIN previous_images USING (coreid, identifier) GROUP BY row_index"""
    create_table(connection, "previous", query)
    connection.execute("DROP TABLE previous_images")
