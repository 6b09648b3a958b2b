"""Duplicates under several URLs: images with the same bytes (`exact`) or near perceptual hashes (`near`)."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from gbif_webdataset.clean.near_duplicates import MAX_DISTANCE_BITS, link_near_hashes
from gbif_webdataset.errors import ParameterError, SelectionError, did_you_mean
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.terms import columns as described
from gbif_webdataset.terms.ranks import DEFAULT_CATEGORY_KEY
from gbif_webdataset.terms.reasons import DropReason

CHOICES = ("none", "all-but-one", "all")
"""What can be dropped of a group of duplicates."""
GROUPS = arrow.to_schema(described.DUPLICATES)
# For each kind: the reason and the remedy if the labels of a group differ, and if they do not.
EXACT_REASONS = (
    (DropReason.CONFLICTING_LABELS, "set --CleanDataset-remove-duplicate-content to none"),
    (DropReason.DUPLICATE_CONTENT, "set --CleanDataset-remove-duplicate-content to all-but-one"),
)
NEAR_REASONS = (
    (DropReason.NEAR_CONFLICTING_LABELS, "set --CleanDataset-remove-near-duplicates to none"),
    (
        DropReason.NEAR_DUPLICATE,
        "lower --CleanDataset-near-distance, or set --CleanDataset-remove-near-duplicates to none",
    ),
)


@dataclass(frozen=True)
class DuplicateOptions:
    """What CleanDataset drops of each group of duplicates. The fields are named after its parameters.

    Unless the choice is `none`, all images of a group are dropped if their labels, the values of the column
    `category_key`, differ: at least one label is wrong. Hashes of near duplicates differ in at most `near_distance`
    of 64 bits.

    Raises:
        ParameterError: a value is not allowed.
    """

    remove_duplicate_content: str = "all-but-one"
    remove_near_duplicates: str = "none"
    near_distance: int = 6
    category_key: str = DEFAULT_CATEGORY_KEY

    def __post_init__(self) -> None:
        for option in ("remove_duplicate_content", "remove_near_duplicates"):
            if (value := getattr(self, option)) not in CHOICES:
                raise ParameterError(
                    f"--CleanDataset-{option.replace('_', '-')} {value}: unknown choice; "
                    f"choose one of {', '.join(CHOICES)}"
                )
        if not 0 <= self.near_distance <= MAX_DISTANCE_BITS:
            raise ParameterError(
                f"--CleanDataset-near-distance {self.near_distance}: out of range; "
                f"give a number of bits from 0 to {MAX_DISTANCE_BITS}"
            )

    @property
    def reasons(self) -> list[tuple[DropReason, str]]:
        """The reasons of the rules that `drop_duplicates` numbers, each with its remedy."""
        reasons: list[tuple[DropReason, str]] = []
        reasons += EXACT_REASONS if self.remove_duplicate_content != "none" else ()
        reasons += NEAR_REASONS if self.remove_near_duplicates != "none" else ()
        return reasons


@dataclass(frozen=True)
class _Kind:
    """A kind of duplicates, the choice of what is dropped, and the number of the rule for differing labels."""

    name: str
    choice: str
    first_rule: int


def check_columns(options: DuplicateOptions, columns: Collection[str]) -> None:
    """Return if an archive with these columns has the column with which labels are compared.

    Without the default column, images have no labels to compare.

    Raises:
        SelectionError: the archive lacks a column that the user chose.
    """
    if options.category_key not in (*columns, DEFAULT_CATEGORY_KEY):
        remedy = did_you_mean(options.category_key, columns) or "choose a column of the archive"
        raise SelectionError(
            f"--CleanDataset-category-key {options.category_key}: the archive has no such column; {remedy}"
        )


def drop_duplicates(
    connection: duckdb.DuckDBPyConnection, columns: Collection[str], options: DuplicateOptions, first_rule: int
) -> None:
    """Create the table `copies` with all groups of duplicates, and add to `dropped` the images that the choices drop.

    `copies`: kind, group_id, row_index, image_path, identifier, coreid, label, distance. `verified` has the `columns`
    and `row_index`. Images that are in `dropped` already are nobody's duplicates. The rules have the numbers from
    `first_rule` on, in the order of `options.reasons`.
    """
    has_label = options.category_key in columns
    label = f"nullif(trim(verified.{tables.quote_name(options.category_key)}), '')" if has_label else "NULL::VARCHAR"
    connection.execute(
        "CREATE TABLE copies (kind VARCHAR, group_id VARCHAR, row_index BIGINT, image_path VARCHAR, "
        "identifier VARCHAR, coreid VARCHAR, label VARCHAR, distance INTEGER)"
    )
    if "sha256" in columns:
        connection.execute(
            "CREATE TABLE alike AS SELECT row_index, sha256 AS group_id, NULL::UBIGINT AS hash FROM verified "
            "ANTI JOIN dropped USING (row_index) WHERE md5_number_lower(sha256) IN (SELECT md5_number_lower(sha256) "
            "FROM verified ANTI JOIN dropped USING (row_index) WHERE sha256 <> '' GROUP BY 1 HAVING count(*) > 1)"
        )
        _drop_alike(connection, _Kind("exact", options.remove_duplicate_content, first_rule), label, columns)
    if "perceptual_hash" in columns:
        _create_near(connection, columns, options.near_distance)
        connection.execute(
            "CREATE OR REPLACE TABLE alike AS SELECT row_index, group_id::VARCHAR AS group_id, hash FROM near"
        )
        first_rule += len(EXACT_REASONS) if options.remove_duplicate_content != "none" else 0
        _drop_alike(connection, _Kind("near", options.remove_near_duplicates, first_rule), label, columns)


def _create_near(connection: duckdb.DuckDBPyConnection, columns: Collection[str], distance: int) -> None:
    """Create the table `near` (row_index, hash, group_id): the remaining images that have a near duplicate.

    `group_id` is the smallest hash of the group. Flat images are left out: placeholders resemble each other, whatever
    text they show.
    """
    not_flat = " AND flat IS DISTINCT FROM true" if "flat" in columns else ""
    connection.execute(
        f"""CREATE OR REPLACE TABLE hashed AS SELECT row_index, ('0x' || perceptual_hash)::UBIGINT AS hash
        FROM verified ANTI JOIN dropped USING (row_index)
        WHERE regexp_full_match(perceptual_hash, '[0-9a-f]{{16}}'){not_flat}"""
    )
    link_near_hashes(connection, "SELECT hash FROM hashed", distance)
    connection.execute(
        """CREATE OR REPLACE TABLE near AS
        WITH grouped AS (
            SELECT row_index, hash, coalesce(smallest, hash) AS group_id FROM hashed LEFT JOIN linked USING (hash))
        SELECT * FROM grouped
        WHERE group_id IN (SELECT group_id FROM grouped GROUP BY group_id HAVING count(*) > 1)"""
    )
    connection.execute("DROP TABLE hashed; DROP TABLE linked")


def _drop_alike(connection: duckdb.DuckDBPyConnection, kind: _Kind, label: str, columns: Collection[str]) -> None:
    """Add the groups of `alike` (row_index, group_id, hash) to `copies`, and the surplus of each group to `dropped`.

    The first image of a group is kept: one with a label, the largest, then the one with the smallest image_path.
    """
    pixels = "verified.width::BIGINT * verified.height" if {"width", "height"} <= set(columns) else "0"
    size = "verified.file_size" if "file_size" in columns else "0"
    connection.execute(
        f"""CREATE OR REPLACE TABLE ranked AS
        SELECT *, bit_count(xor(hash, first_value(hash) OVER ranking)) AS distance,
            row_number() OVER ranking AS rank,
            min(label) OVER (PARTITION BY group_id) <> max(label) OVER (PARTITION BY group_id) AS has_conflict
        FROM (
            SELECT alike.*, image_path, identifier, coreid, {label} AS label, {pixels} AS pixels, {size} AS size
            FROM alike JOIN verified USING (row_index))
        WINDOW ranking AS (PARTITION BY group_id ORDER BY label IS NULL, pixels DESC, size DESC, image_path)"""
    )
    connection.execute(
        f"""INSERT INTO copies SELECT '{kind.name}', group_id, row_index, image_path, identifier, coreid, label,
        coalesce(distance, 0) FROM ranked"""
    )
    if kind.choice != "none":
        surplus = "rank > 1" if kind.choice == "all-but-one" else "true"
        connection.execute(
            f"""INSERT INTO dropped SELECT row_index, image_path, identifier, coreid, NULL,
            CASE WHEN has_conflict THEN {kind.first_rule} ELSE {kind.first_rule + 1} END
            FROM ranked WHERE coalesce(has_conflict, false) OR {surplus}"""
        )
    connection.execute("DROP TABLE ranked")


def select_groups(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    """The rows of duplicates.parquet, once every filter has added to `dropped`."""
    yield from tables.select_batches(
        connection,
        """SELECT kind, min(copies.image_path) OVER (PARTITION BY kind, group_id) AS "group", copies.image_path,
            copies.identifier, copies.coreid, label, distance, dropped.row_index IS NULL AS kept
        FROM copies LEFT JOIN dropped USING (row_index) ORDER BY kind, "group", copies.image_path""",
    )
