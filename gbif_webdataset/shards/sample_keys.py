"""Sample keys: image path -> key of the sample in its shard."""

from pathlib import Path

import duckdb

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.storage.tables import fetch_rows
from gbif_webdataset.terms.splits import SPLITS, split_path


def select_with_keys(table: str) -> str:
    """The SQL query that adds a column `key` to a table, from its column `image_path`.

    A key is the path without its extension. WebDataset cuts a member's name at the first dot after the last slash, so
    other dots there become underscores. The query also adds `stem` and `base`, from which it makes the key.
    """
    return (
        "SELECT *, regexp_extract(stem, '^.*/') || replace(base, '.', '_') AS key FROM (SELECT "
        "*, regexp_extract(stem, '[^/]*$') AS base FROM (SELECT *, regexp_replace(image_path, '[.][^./]*$', '') "
        f"AS stem FROM {table}))"
    )


def check_keys(connection: duckdb.DuckDBPyConnection, splits: Path) -> None:
    """Check that no two rows of a split in the table `keyed` have the same key.

    Raises:
        SelectionError: two rows have the same key.
    """
    twins = fetch_rows(
        connection,
        "SELECT any_value(split), min(image_path), max(image_path) FROM keyed WHERE key IN (SELECT key FROM keyed "
        "WHERE contains(base, '.')) GROUP BY split, key HAVING count(*) > 1 ORDER BY ALL LIMIT 1",
    )
    if twins:
        split, one, other = twins[0]
        raise SelectionError(
            f"{split_path(splits, SPLITS[split])}: {one} and {other} would have the same key in a shard; list one of "
            "them in the file of --DeleteImages-image-list"
        )
