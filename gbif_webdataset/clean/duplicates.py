"""Images that are the same: by their bytes (`exact`), or nearly, by their perceptual hash (`near`)."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from gbif_webdataset.clean import near_duplicates
from gbif_webdataset.clean.near_duplicates import MOST_DISTANCE
from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.storage import tables

KEEP = ("none", "all-but-one", "all")  # what is dropped of images that are the same
DEFAULT_LABEL = "acceptedTaxonKey"
GROUPS = pa.schema(
    [("kind", pa.string()), ("group", pa.string()), ("image_path", pa.string()), ("identifier", pa.string()),
     ("coreid", pa.string()), ("label", pa.string()), ("distance", pa.int32()), ("kept", pa.bool_())]
)  # fmt: skip
# (reason, what else to do), in the order in which they apply
EXACT = (
    ("conflicting-labels", "set remove_duplicate_content to none"),
    ("duplicate-content", "set remove_duplicate_content to all-but-one"),
)
NEAR = (
    ("near-conflicting-labels", "set remove_near_duplicates to none"),
    ("near-duplicate", "lower near_distance or set remove_near_duplicates to none"),
)


@dataclass(frozen=True)
class Duplicates:
    """What to drop of images that are the same: `content` and `near` are each one of `KEEP`.

    Where not `none`, all of a group go if they carry different labels, the values of the column `category_key`: at
    least one is wrong. `distance` is the bits of 64 in which the hashes of near duplicates differ at most.

    Raises ParameterError for other values.
    """

    content: str = "all-but-one"
    near: str = "none"
    distance: int = 6
    category_key: str = DEFAULT_LABEL

    def __post_init__(self) -> None:
        for name, value in (("remove_duplicate_content", self.content), ("remove_near_duplicates", self.near)):
            if value not in KEEP:
                raise ParameterError(f"{name} is {value!r}: choose one of {', '.join(KEEP)}")
        if not 0 <= self.distance <= MOST_DISTANCE:
            raise ParameterError(f"near_distance is {self.distance}: give a number of bits from 0 to {MOST_DISTANCE}")

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """The reasons for which images are dropped, each with its remedy, in the order of `find`'s numbers."""
        return [*(EXACT if self.content != "none" else ()), *(NEAR if self.near != "none" else ())]


def find(
    connection: duckdb.DuckDBPyConnection, columns: Collection[str], duplicates: Duplicates, first_rule: int
) -> None:
    """Make the table `copies` of all groups, and insert into `dropped` what goes, its rules numbered as `reasons`.

    `verified` has the `columns`, and `place`; images in `dropped` are no one's duplicates. SelectionError where there
    is no column `category_key`.
    """
    label = _label(columns, duplicates.category_key)
    connection.execute(
        "CREATE TABLE copies (kind VARCHAR, component VARCHAR, place BIGINT, image_path VARCHAR, identifier VARCHAR, "
        "coreid VARCHAR, label VARCHAR, distance INTEGER)"
    )
    if "sha256" in columns:
        connection.execute(
            "CREATE TABLE same AS SELECT place, sha256 AS value, NULL::UBIGINT AS hash FROM verified "
            "ANTI JOIN dropped USING (place) WHERE md5_number_lower(sha256) IN (SELECT md5_number_lower(sha256) "
            "FROM verified ANTI JOIN dropped USING (place) WHERE sha256 <> '' GROUP BY 1 HAVING count(*) > 1)"
        )
        _drop(connection, "exact", duplicates.content, label, columns, first_rule)
    if "perceptual_hash" in columns:
        find_near(connection, "verified ANTI JOIN dropped USING (place)", columns, duplicates.distance)
        connection.execute("CREATE OR REPLACE TABLE same AS SELECT place, component::VARCHAR AS value, hash FROM near")
        _drop(connection, "near", duplicates.near, label, columns, first_rule + 2 * (duplicates.content != "none"))


def find_near(connection: duckdb.DuckDBPyConnection, source: str, columns: Collection[str], distance: int) -> None:
    """Make the table `near` (place, hash, component): the images of `source` with a near duplicate in it.

    A component is known by its smallest hash. Flat images are left out: plates are all alike, whatever stands on them.
    """
    flat = " AND flat IS DISTINCT FROM true" if "flat" in columns else ""
    connection.execute(
        f"""CREATE OR REPLACE TABLE seen AS SELECT place, ('0x' || perceptual_hash)::UBIGINT AS hash
        FROM {source} WHERE regexp_full_match(perceptual_hash, '[0-9a-f]{{16}}'){flat}"""
    )
    near_duplicates.link(connection, "SELECT hash FROM seen", distance)
    connection.execute(
        """CREATE OR REPLACE TABLE near AS
        WITH placed AS (SELECT place, hash, coalesce(first, hash) AS component FROM seen LEFT JOIN linked USING (hash))
        SELECT * FROM placed
        WHERE component IN (SELECT component FROM placed GROUP BY component HAVING count(*) > 1)"""
    )
    connection.execute("DROP TABLE seen; DROP TABLE linked")


def groups(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    """The rows of `GROUPS`, once every filter has had its turn. A group is known by its smallest image_path."""
    yield from tables.select_batches(
        connection,
        """SELECT kind, min(copies.image_path) OVER (PARTITION BY kind, component) AS "group", copies.image_path,
            copies.identifier, copies.coreid, label, distance, dropped.place IS NULL AS kept
        FROM copies LEFT JOIN dropped USING (place) ORDER BY kind, "group", copies.image_path""",
    )


def _label(columns: Collection[str], category_key: str) -> str:
    """The SQL of an image's label, NULL where there is none: an empty one contradicts no other."""
    if category_key not in columns:
        if category_key != DEFAULT_LABEL:
            raise SelectionError(
                f"CleanDataset's category_key {category_key!r} is not a column of the archive: "
                "choose a column of verified.parquet"
            )
        return "NULL::VARCHAR"
    return f"nullif(trim(verified.{tables.quote_name(category_key)}), '')"


def _drop(
    connection: duckdb.DuckDBPyConnection, kind: str, choice: str, label: str, columns: Collection[str], rule: int
) -> None:
    """Add the groups of `same` (place, value, hash) to `copies`; insert into `dropped` what goes of each.

    Of a group stays the largest image that has a label; of several the one of the smallest path.
    """
    pixels = "verified.width::BIGINT * verified.height" if {"width", "height"} <= set(columns) else "0"
    size = "verified.file_size" if "file_size" in columns else "0"
    connection.execute(
        f"""CREATE OR REPLACE TABLE ranked AS
        SELECT *, bit_count(xor(hash, first_value(hash) OVER turns)) AS distance, row_number() OVER turns AS turn,
            min(label) OVER (PARTITION BY value) <> max(label) OVER (PARTITION BY value) AS conflict
        FROM (SELECT same.*, image_path, identifier, coreid, {label} AS label, {pixels} AS pixels, {size} AS size
            FROM same JOIN verified USING (place))
        WINDOW turns AS (PARTITION BY value ORDER BY label IS NULL, pixels DESC, size DESC, image_path)"""
    )
    connection.execute(
        f"""INSERT INTO copies SELECT '{kind}', value, place, image_path, identifier, coreid, label,
        coalesce(distance, 0) FROM ranked"""
    )
    if choice != "none":
        surplus = "turn > 1" if choice == "all-but-one" else "true"
        connection.execute(
            f"""INSERT INTO dropped SELECT place, image_path, identifier, coreid, NULL,
            CASE WHEN conflict THEN {rule} ELSE {rule + 1} END
            FROM ranked WHERE coalesce(conflict, false) OR {surplus}"""
        )
    connection.execute("DROP TABLE ranked")
