"""Counts of images by their properties, all in one pass over a table of any size."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import duckdb

from gbif_webdataset.report.equal_earth import CELL, make_cell_key
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.dates import YEARS, add_date_functions, make_part_of_date

MAX_VALUE_CHARACTERS = 200  # longer values are counted by their first characters
MAX_VALUES = 12


@dataclass(frozen=True)
class Facet:
    """A property: the columns it needs (all, or with `any_of` at least one), and the SQL expression of its value.

    A breakdown lists up to `max_values` values.
    """

    columns: tuple[str, ...]
    value: str
    max_values: int = MAX_VALUES
    any_of: bool = False


class ValueCount(NamedTuple):
    """A value, the images of the manifest that have it, and how many of them are samples."""

    value: str
    images: int
    samples: int


NO_IMAGES = ValueCount("", 0, 0)


@dataclass(frozen=True)
class Breakdown:
    """The most frequent values, all `other_values` values as one, and the images without a value."""

    values: tuple[ValueCount, ...] = ()
    others: ValueCount = NO_IMAGES
    other_values: int = 0
    missing: ValueCount = NO_IMAGES

    @property
    def all(self) -> tuple[ValueCount, ...]:
        """All counts; they add up to the images of the manifest, and to the samples."""
        return (*self.values, self.others, self.missing)

    @property
    def images(self) -> int:
        """All images of the manifest."""
        return sum(count.images for count in self.all)

    @property
    def samples(self) -> int:
        """All samples."""
        return sum(count.samples for count in self.all)


def trim(column: str) -> str:
    """The SQL expression of a column's text without surrounding spaces; NULL if nothing is left."""
    return f"nullif(trim({tables.quote_name(column)}), '')"


def _round_down(column: str) -> str:
    """The SQL expression of a number rounded down to 1, 2 or 5 times a power of ten.

    It counts digits because a logarithm of 1000 may be 2.9999.
    """
    power = f"pow(10, length({column}::BIGINT::VARCHAR) - 1)"
    leading = f"{column} / {power}"
    digit = f"CASE WHEN {leading} < 2 THEN 1 WHEN {leading} < 5 THEN 2 ELSE 5 END"
    return f"CASE WHEN {column} > 0 THEN ({power} * {digit})::BIGINT END"


HOST = "regexp_extract(identifier, '(?i)^https?://(?:[^/?#]*@)?([^/?#]*)', 1)"
FACETS = {
    "host": Facet(("identifier",), f"nullif(lower({HOST}), '')"),
    "dataset": Facet(("datasetKey",), trim("datasetKey")),
    "licence": Facet(("licenseCode",), trim("licenseCode")),
    "country": Facet(("countryCode",), f"upper({trim('countryCode')})", 15),
    "life stage": Facet(("lifeStage",), f"lower({trim('lifeStage')})"),
    "year": Facet(("year", "eventDate"), make_part_of_date("year", *YEARS), YEARS[1], any_of=True),
    "month": Facet(("month", "eventDate"), make_part_of_date("month", 1, 12), any_of=True),
}
"""Properties of the manifest's images, and of the samples among them."""
SAMPLE_FACETS = {
    "cell": Facet(("decimalLatitude", "decimalLongitude"), make_cell_key(CELL)),
    "dimensions": Facet(
        ("width", "height"),
        "CASE WHEN width > 0 AND height > 0 THEN floor(2 * log2(width))::INT * 1000 + floor(2 * log2(height))::INT END",
    ),
    "file size": Facet(("file_size",), _round_down("file_size")),
}
"""Properties of the samples only; the values are whole numbers."""


def count_facets(
    connection: duckdb.DuckDBPyConnection, facets: Mapping[str, Facet], manifest: str, samples: str
) -> None:
    """Create the table `counted` (facet, value, images, samples) from two views.

    A facet whose columns a view does not have is not counted in it.
    """
    add_date_functions(connection)
    connection.execute("CREATE TABLE counted (facet VARCHAR, value VARCHAR, images BIGINT, samples BIGINT)")
    for view, numbers in ((manifest, "images, 0"), (samples, "0, images")):
        columns = [name for name, *_ in tables.fetch_rows(connection, f"DESCRIBE {view}")]
        if present := _select_present(facets, columns):
            connection.execute(f"INSERT INTO counted SELECT facet, value, {numbers} FROM ({_query(view, present)})")


def _select_present(facets: Mapping[str, Facet], columns: Collection[str]) -> dict[str, Facet]:
    """The facets that a table with these columns has; with `any_of`, the other columns count as empty."""
    present = {}
    for name, facet in facets.items():
        missing = [column for column in facet.columns if column not in columns]
        if facet.any_of and len(missing) < len(facet.columns):
            value = facet.value
            for column in missing:
                value = value.replace(tables.quote_name(column), "NULL::VARCHAR")
            present[name] = replace(facet, value=value)
        elif not missing:
            present[name] = facet
    return present


def _query(view: str, facets: Mapping[str, Facet]) -> str:
    """The query of images by facet and value.

    GROUPING has one bit for each facet, the highest for the first; the bit of the facet that is grouped by is 0.
    """
    names = [f"f{place}" for place in range(len(facets))]
    values = ", ".join(
        f"left(({facet.value})::VARCHAR, {MAX_VALUE_CHARACTERS}) AS f{place}"
        for place, facet in enumerate(facets.values())
    )
    all_bits = (1 << len(names)) - 1
    masks = [all_bits - (1 << (len(names) - 1 - place)) for place in range(len(names))]
    facet = " ".join(f"WHEN {mask} THEN {tables.quote_text(name)}" for mask, name in zip(masks, facets, strict=True))
    value = " ".join(f"WHEN {mask} THEN {name}" for mask, name in zip(masks, names, strict=True))
    sets = ", ".join(f"({name})" for name in names)
    return f"""SELECT CASE mask {facet} END AS facet, CASE mask {value} END AS value, images FROM (
        SELECT {", ".join(names)}, GROUPING({", ".join(names)}) AS mask, count(*) AS images
        FROM (SELECT {values} FROM {view}) GROUP BY GROUPING SETS ({sets}))"""


def read_breakdown(connection: duckdb.DuckDBPyConnection, name: str, max_values: int) -> Breakdown:
    """The breakdown by a facet of `counted`; equally frequent values are in the order of their texts."""
    summed = f"""SELECT value, sum(images)::BIGINT AS images, sum(samples)::BIGINT AS samples FROM counted
        WHERE facet = {tables.quote_text(name)} GROUP BY value"""
    position = "row_number() OVER (PARTITION BY value IS NULL ORDER BY images DESC, samples DESC, value)"
    kind = f"CASE WHEN value IS NULL THEN 'missing' WHEN position <= {max_values} THEN 'shown' ELSE 'others' END"
    query = f"""SELECT kind, CASE WHEN kind = 'shown' THEN value ELSE '' END AS text, count(*),
            sum(images)::BIGINT AS images, sum(samples)::BIGINT AS samples
        FROM (SELECT *, {kind} AS kind FROM (SELECT *, {position} AS position FROM ({summed})))
        GROUP BY kind, text ORDER BY 4 DESC, 5 DESC, text"""
    shown = []
    others, missing, other_values = NO_IMAGES, NO_IMAGES, 0
    for kind, value, values, images, samples in tables.fetch_rows(connection, query):
        count = ValueCount(value, images, samples)
        if kind == "shown":
            shown.append(count)
        elif kind == "others":
            others, other_values = count, values
        else:
            missing = count
    return Breakdown(tuple(shown), others, other_values, missing)


def read_numbers(connection: duckdb.DuckDBPyConnection, name: str) -> dict[int, int]:
    """The samples by value of a facet of `counted` whose values are whole numbers, in the order of the values."""
    query = f"""SELECT value::BIGINT AS number, sum(samples)::BIGINT FROM counted
        WHERE facet = {tables.quote_text(name)} AND value IS NOT NULL
        GROUP BY number HAVING sum(samples) > 0 ORDER BY number"""
    return dict(tables.fetch_rows(connection, query))
