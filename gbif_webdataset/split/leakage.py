"""leakage.csv: what images of val and test share with images of train."""

import csv
from collections.abc import Collection
from pathlib import Path

import duckdb

from gbif_webdataset.split.traits import CELL_MACRO, find_missing_columns, trait_value
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms import columns as described
from gbif_webdataset.terms.reasons import DropReason
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES, TEST, TRAIN, VAL

TRAITS = ("observer", "place+date", "event")
COLUMNS = tuple(column.name for column in described.LEAKAGE)


def write_leakage(
    connection: duckdb.DuckDBPyConnection,
    columns: Collection[str],
    place_km: float,
    duplicates: Path,
    path: Path,
) -> None:
    """Write leakage.csv: how many images of val and of test share something with an image of train.

    `columns` are those of `clean`. The count is empty if the archive lacks the columns that the comparison needs.
    """
    connection.execute(CELL_MACRO)
    images = dict(tables.fetch_rows(connection, "SELECT destination, count(*) FROM destinations GROUP BY destination"))
    counts = _count_shared(connection, columns, place_km, duplicates)
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for name, shared in counts.items():
            for split in (VAL, TEST):
                total = images.get(split, 0)
                count = "" if shared is None else shared.get(split, 0)
                share = "" if count == "" or not total else f"{count / total:.4f}"
                rows.writerow([split, name, total, count, share])


def _count_shared(
    connection: duckdb.DuckDBPyConnection, columns: Collection[str], place_km: float, duplicates: Path
) -> dict[str, dict[str, int] | None]:
    """For each comparison, the images of val and test that share it with train; None if a column is missing."""
    source = "(SELECT clean.*, destination FROM clean POSITIONAL JOIN destinations) AS clean"
    counts: dict[str, dict[str, int] | None] = {"occurrence": _count_images(connection, source, "clean.coreid")}
    for entry in TRAITS:
        has_columns = not find_missing_columns(entry, columns)
        counts[entry] = _count_images(connection, source, trait_value(entry, place_km)) if has_columns else None
    has_columns = "sha256" in columns
    counts["content"] = _count_images(connection, source, "nullif(clean.sha256, '')") if has_columns else None
    source += f" JOIN {tables.parquet_source([duplicates])} AS copies USING (image_path)"
    counts[str(DropReason.NEAR_DUPLICATE)] = _count_images(connection, source, 'copies.kind || copies."group"')
    return counts


def _count_images(connection: duckdb.DuckDBPyConnection, source: str, value: str) -> dict[str, int]:
    """The images of val and test whose value an image of train has. Comparing 64-bit hashes takes less memory."""
    query = f"""WITH hashed AS (
            SELECT image_path, destination, md5_number_lower({value}) AS hash FROM {source}
            WHERE destination IN {SPLITS_OF_CLASSES} AND {value} IS NOT NULL)
        SELECT destination, count(DISTINCT image_path) FROM hashed WHERE destination <> '{TRAIN}'
        AND hash IN (SELECT hash FROM hashed WHERE destination = '{TRAIN}') GROUP BY destination"""
    return dict(tables.fetch_rows(connection, query))
