"""How strange val and test are to train: the images that share an occurrence, an observer or a picture with it."""

import csv
from collections.abc import Collection
from pathlib import Path

import duckdb

from gbif_webdataset.split.groups import CELL, trait
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file

TRAITS = ("observer", "place+date", "event")
COLUMNS = ("split", "shares", "images", "shared", "share")


def write(
    connection: duckdb.DuckDBPyConnection,
    columns: Collection[str],
    place_km: float,
    duplicates: Path | None,
    path: Path,
) -> list[tuple[str, str, int, int | None]]:
    """Write leakage.csv: of each of val and test, its images, and how many share something with an image of train.

    `shared` is empty where the archive doesn't tell. The `fates` lie in the order of `clean`, which has the `columns`.
    The lines (split, what, images, shared).
    """
    connection.execute(CELL)
    values = {"occurrence": "clean.coreid"}
    values |= {entry: value for entry in TRAITS if (value := trait(entry, columns, place_km)) is not None}
    if "sha256" in columns:
        values["content"] = "nullif(clean.sha256, '')"
    names = ["occurrence", *TRAITS, "content", "near-duplicate"]
    lines: list[tuple[str, str, int, int | None]] = []
    dealt = "(SELECT clean.*, fate FROM clean POSITIONAL JOIN fates) AS clean"
    totals = dict(tables.fetch_rows(connection, "SELECT fate, count(*) FROM fates GROUP BY fate"))
    for name in names:
        if name == "near-duplicate":
            known = duplicates is not None and duplicates.exists()
            copies = tables.parquet_source([duplicates]) if duplicates else ""
            source = f"{dealt} JOIN {copies} AS copies USING (image_path)"
            shared = _shared(connection, source, 'copies.kind || copies."group"') if known else {}
        else:
            known = name in values
            shared = _shared(connection, dealt, values[name]) if known else {}
        for split in ("val", "test"):
            lines.append((split, name, totals.get(split, 0), shared.get(split, 0) if known else None))
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for split, name, images, found in lines:
            share = "" if found is None or not images else f"{found / images:.4f}"
            rows.writerow([split, name, images, "" if found is None else found, share])
    return lines


def _shared(connection: duckdb.DuckDBPyConnection, source: str, value: str) -> dict[str, int]:
    """The images of val and test whose value an image of train has; of a value, 8 bytes are compared."""
    query = f"""WITH valued AS (SELECT image_path, fate, md5_number_lower({value}) AS value FROM {source}
            WHERE fate IN ('train', 'val', 'test') AND {value} IS NOT NULL)
        SELECT fate, count(DISTINCT image_path) FROM valued WHERE fate <> 'train'
        AND value IN (SELECT value FROM valued WHERE fate = 'train') GROUP BY fate"""
    return dict(tables.fetch_rows(connection, query))
