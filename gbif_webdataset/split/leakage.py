"""leakage.csv: what images of val and test share with images of train, and the group_by that would prevent it."""

import csv
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import duckdb

from gbif_webdataset.split.assign_images import MEMORY_LIMIT, assign_images
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.split.traits import NEAR_DUPLICATES, Grouping, find_missing_columns, trait_value
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms import columns as described
from gbif_webdataset.terms.reasons import DropReason
from gbif_webdataset.terms.splits import HIGH_LEAKAGE, SPLITS_OF_CLASSES, TEST, TRAIN, VAL

TRAITS = ("observer", "place+date", "event")
CONTENT, NEAR_DUPLICATE = "content", str(DropReason.NEAR_DUPLICATE)
GROUP_BY = {**{trait: trait for trait in TRAITS}, CONTENT: NEAR_DUPLICATES, NEAR_DUPLICATE: NEAR_DUPLICATES}
"""By what is shared, the entry of group_by that keeps such images in one split."""
COLUMNS = tuple(column.name for column in described.LEAKAGE)


class Comparison(NamedTuple):
    """By split, the images that have a value, and those whose value an image of train has."""

    with_value: dict[str, int]
    shared: dict[str, int]


@dataclass(frozen=True)
class Leakage:
    """A row of leakage.csv. `shared` is None if the split or train has no value to compare.

    `group_by` is the value of group_by that would prevent the leakage, if it is high; `images_with_group_by` the images
    that the split would then have.
    """

    split: str
    trait: str
    images: int
    with_value: int
    shared: int | None
    group_by: str = ""
    images_with_group_by: int | None = None

    @property
    def is_high(self) -> bool:
        """Whether so many images share the trait that this has to be reported."""
        return bool(self.shared) and (self.shared or 0) >= HIGH_LEAKAGE * self.with_value


def measure_leakage(
    connection: duckdb.DuckDBPyConnection, columns: Collection[str], place_km: float, duplicates: Path
) -> list[Leakage]:
    """The rows of leakage.csv, without group_by: how many images of val and of test share a trait with one of train.

    `columns` are those of `clean`. The SQL needs `traits.add_trait_functions` and the table `destinations`.
    """
    images = dict(tables.fetch_rows(connection, "SELECT destination, count(*) FROM destinations GROUP BY destination"))
    comparisons = _compare_with_train(connection, columns, place_km, duplicates)
    return [
        Leakage(
            split, trait, images.get(split, 0), comparison.with_value.get(split, 0), _count_shared(comparison, split)
        )
        for trait, comparison in comparisons.items()
        for split in (VAL, TEST)
    ]


def add_remedies(
    rows: Iterable[Leakage], clean: Path, duplicates: Path, options: SplitOptions, scratch: Path
) -> Iterator[Leakage]:
    """The rows with the value of group_by that would prevent leakage that is high, and its effect.

    The images are assigned once more for each such value.
    """
    rows = list(rows)
    entries = {row.trait: GROUP_BY[row.trait] for row in rows if row.is_high and row.trait in GROUP_BY}
    effects: dict[str, dict[str, int]] = {}
    for entry in dict.fromkeys(entries.values()):
        grouping = Grouping((*options.grouping.links, entry), options.grouping.place_km)
        grouped = replace(options, grouping=grouping, kept_splits=None)
        with tables.open_database(scratch, MEMORY_LIMIT) as connection:
            assign_images(connection, clean, duplicates, grouped)
            query = "SELECT destination, count(*) FROM destinations GROUP BY destination"
            effects[entry] = dict(tables.fetch_rows(connection, query))
    for row in rows:
        entry = entries.get(row.trait, "")
        if entry:
            group_by = ",".join((*options.grouping.links, entry))
            yield replace(row, group_by=group_by, images_with_group_by=effects[entry].get(row.split, 0))
        else:
            yield row


def write_leakage(rows: Iterable[Leakage], path: Path) -> None:
    """Write leakage.csv."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for row in rows:
            shared = "" if row.shared is None else row.shared
            share = "" if row.shared is None else f"{row.shared / row.with_value:.4f}"
            effect = "" if row.images_with_group_by is None else row.images_with_group_by
            lines.writerow([row.split, row.trait, row.images, row.with_value, shared, share, row.group_by, effect])


def _count_shared(comparison: Comparison, split: str) -> int | None:
    is_comparable = comparison.with_value.get(split) and comparison.with_value.get(TRAIN)
    return comparison.shared.get(split, 0) if is_comparable else None


def _compare_with_train(
    connection: duckdb.DuckDBPyConnection, columns: Collection[str], place_km: float, duplicates: Path
) -> dict[str, Comparison]:
    """The comparison of each trait; without values if a column is missing."""
    source = "(SELECT clean.*, destination FROM clean POSITIONAL JOIN destinations) AS clean"
    comparisons = {"occurrence": _compare(connection, source, "clean.coreid")}
    for entry in TRAITS:
        is_missing = find_missing_columns(entry, columns)
        comparisons[entry] = _compare(connection, source, "NULL" if is_missing else trait_value(entry, place_km))
    comparisons[CONTENT] = _compare(connection, source, "nullif(clean.sha256, '')" if "sha256" in columns else "NULL")
    source += f" LEFT JOIN {tables.parquet_source([duplicates])} AS copies USING (image_path)"
    is_hashed = "clean.perceptual_hash IS NOT NULL" if "perceptual_hash" in columns else "true"
    value = f"""coalesce(copies.kind || copies."group", CASE WHEN {is_hashed} THEN '|' || clean.image_path END)"""
    comparisons[NEAR_DUPLICATE] = _compare(connection, source, value)
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
