"""leakage.csv: what images of val and test share with images of train."""

import csv
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import duckdb

from gbif_webdataset.split.traits import find_missing_columns, trait_value
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms import columns as described
from gbif_webdataset.terms.reasons import DropReason
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES, TEST, TRAIN, VAL

TRAITS = ("observer", "place+date", "event")
COLUMNS = tuple(column.name for column in described.LEAKAGE)


class Comparison(NamedTuple):
    """By split, the images that have a value, and those whose value an image of train has."""

    with_value: dict[str, int]
    shared: dict[str, int]


def write_leakage(
    connection: duckdb.DuckDBPyConnection,
    columns: Collection[str],
    place_km: float,
    duplicates: Path,
    path: Path,
) -> None:
    """Write leakage.csv: how many images of val and of test share something with an image of train.

    `columns` are those of `clean`. The count is empty if the split or train has no value to compare. The SQL needs
    `traits.add_trait_functions`.
    """
    images = dict(tables.fetch_rows(connection, "SELECT destination, count(*) FROM destinations GROUP BY destination"))
    comparisons = _compare_with_train(connection, columns, place_km, duplicates)
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for name, comparison in comparisons.items():
            for split in (VAL, TEST):
                with_value = comparison.with_value.get(split, 0)
                is_comparable = with_value and comparison.with_value.get(TRAIN)
                shared = comparison.shared.get(split, 0)
                share = f"{shared / with_value:.4f}" if is_comparable else ""
                count = shared if is_comparable else ""
                rows.writerow([split, name, images.get(split, 0), with_value, count, share, "", ""])


def _compare_with_train(
    connection: duckdb.DuckDBPyConnection, columns: Collection[str], place_km: float, duplicates: Path
) -> dict[str, Comparison]:
    """The comparison of each trait; without values if a column is missing."""
    source = "(SELECT clean.*, destination FROM clean POSITIONAL JOIN destinations) AS clean"
    comparisons = {"occurrence": _compare(connection, source, "clean.coreid")}
    for entry in TRAITS:
        is_missing = find_missing_columns(entry, columns)
        comparisons[entry] = _compare(connection, source, "NULL" if is_missing else trait_value(entry, place_km))
    comparisons["content"] = _compare(connection, source, "nullif(clean.sha256, '')" if "sha256" in columns else "NULL")
    source += f" LEFT JOIN {tables.parquet_source([duplicates])} AS copies USING (image_path)"
    is_hashed = "clean.perceptual_hash IS NOT NULL" if "perceptual_hash" in columns else "true"
    value = f"""coalesce(copies.kind || copies."group", CASE WHEN {is_hashed} THEN '|' || clean.image_path END)"""
    comparisons[str(DropReason.NEAR_DUPLICATE)] = _compare(connection, source, value)
    return comparisons


def _compare(connection: duckdb.DuckDBPyConnection, source: str, value: str) -> Comparison:
    """The comparison of a value of each image of `source`. Comparing 64-bit hashes takes less memory."""
    query = f"""WITH hashed AS (SELECT * FROM (
            SELECT row_index, destination, md5_number_lower({value}) AS hash FROM {source}
            WHERE destination IN {SPLITS_OF_CLASSES}) WHERE hash IS NOT NULL)
        SELECT destination, count(DISTINCT row_index) AS with_value, 0 AS shared FROM hashed GROUP BY destination
        UNION ALL
        SELECT destination, 0, count(DISTINCT row_index) FROM hashed WHERE destination <> '{TRAIN}'
        AND hash IN (SELECT hash FROM hashed WHERE destination = '{TRAIN}') GROUP BY destination"""
    comparison = Comparison({}, {})
    for split, with_value, shared in tables.fetch_rows(connection, query):
        comparison.with_value[split] = comparison.with_value.get(split, 0) + with_value
        comparison.shared[split] = comparison.shared.get(split, 0) + shared
    return comparison
