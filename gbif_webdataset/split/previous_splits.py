"""The splits of an earlier dataset, in which images stay."""

from pathlib import Path

import duckdb

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.split.assignment import SPLITS
from gbif_webdataset.storage import tables

NEEDED = ("coreid", "identifier")


def files(folder: Path) -> list[Path]:
    """The tables of earlier splits. Raises ParameterError where one is missing or is none."""
    found = []
    for split in SPLITS:
        path = folder / f"{split}.csv"
        if not path.is_file():
            raise ParameterError(f"previous_splits: there is no file {path}; name the folder splits of a dataset")
        for name in NEEDED:
            if name not in tables.read_header(path):
                raise ParameterError(
                    f"previous_splits: {path} has no column {name}; name the folder splits of a dataset"
                )
        found.append(path)
    return found


def load(connection: duckdb.DuckDBPyConnection, folder: Path, by_occurrence: bool) -> None:
    """Make `pins` (key, earlier): the split of each occurrence, or image, of `clean` that an earlier dataset had.

    Where it had several, test goes before val and val before train: what was test is never trained on.
    """
    connection.execute("CREATE TABLE earlier (coreid VARCHAR, identifier VARCHAR, split UTINYINT)")
    for number, path in enumerate(files(folder)):
        connection.execute(f"INSERT INTO earlier SELECT coreid, identifier, {number} FROM {tables.csv_source(path)}")
    if by_occurrence:
        query = "SELECT coreid AS key, max(split) AS earlier FROM earlier GROUP BY coreid"
    else:
        source = "clean JOIN earlier USING (coreid, identifier)"
        query = f"SELECT place AS key, max(split) AS earlier FROM {source} GROUP BY place"
    connection.execute(f"CREATE TABLE pins AS {query}")
