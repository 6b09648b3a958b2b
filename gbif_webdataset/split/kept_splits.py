"""Splits that an older version of this program made, and which a dataset keeps."""

from pathlib import Path

import duckdb

from gbif_webdataset.formatting import format_count
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.splits import SPLITS, SPLITS_OF_CLASSES, split_path


def describe_kept_method(moved: int, images: int) -> str:
    """The sentence about a dataset that keeps the splits of an older version."""
    sentence = f"SplitDataset: the images keep the splits of an older version. This version would move {moved:,} of "
    return f"{sentence}{format_count(images, 'image')}; to let it, add --SplitDataset-resplit true"


def has_splits(folder: Path) -> bool:
    """Whether the folder has the CSVs of train, val and test."""
    return all(split_path(folder, split).is_file() for split in SPLITS_OF_CLASSES)


def create_kept_destinations(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Create `destinations` from the CSVs of a folder `splits`; NULL for images that are in none of them."""
    connection.execute(f"""CREATE TABLE destinations AS SELECT destination
        FROM clean LEFT JOIN ({_select_splits(folder)}) USING (image_path) ORDER BY row_index""")


def count_moved_images(connection: duckdb.DuckDBPyConnection, folder: Path) -> int:
    """The images whose split in the folder `splits` differs from the one in `destinations`.

    Images that one of the two drops or holds out are not counted.
    """
    query = f"""SELECT count(*) FROM (SELECT image_path, destination FROM clean POSITIONAL JOIN destinations) AS now
        JOIN ({_select_splits(folder)}) AS kept USING (image_path)
        WHERE now.destination <> kept.destination
        AND now.destination IN {SPLITS_OF_CLASSES} AND kept.destination IN {SPLITS_OF_CLASSES}"""
    return int(tables.fetch_rows(connection, query)[0][0])


def _select_splits(folder: Path) -> str:
    """The SQL query of `image_path` and `destination` of all images in the CSVs of a folder `splits`."""
    paths = {split: split_path(folder, split) for split in SPLITS}
    return " UNION ALL ".join(
        f"SELECT image_path, '{split}' AS destination FROM {tables.csv_source(path)}"
        for split, path in paths.items()
        if path.is_file()
    )
