"""Properties of images by which they are counted, all in one pass over a table of any size."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple

import duckdb

from gbif_webdataset.report.equal_earth import CELL_KEY
from gbif_webdataset.storage import tables

LONGEST = 200  # characters of a value that are told apart
MOST_BARS = 12
YEARS = (1600, 2199)


@dataclass(frozen=True)
class Facet:
    """A property: the columns it needs, all or `any_of` them, and its value in SQL; `most` values are told apart."""

    columns: tuple[str, ...]
    value: str
    most: int = MOST_BARS
    any_of: bool = False


class Bar(NamedTuple):
    """A value, the images of the manifest that have it, and how many of them became samples."""

    value: str
    images: int
    samples: int


NONE = Bar("", 0, 0)


@dataclass(frozen=True)
class Breakdown:
    """The most frequent values; the others, `other_values` in number, as one; the images without a value."""

    bars: tuple[Bar, ...] = ()
    others: Bar = NONE
    other_values: int = 0
    missing: Bar = NONE

    @property
    def all(self) -> tuple[Bar, ...]:
        """Every bar; they add up to the manifest, and to the samples."""
        return (*self.bars, self.others, self.missing)

    @property
    def images(self) -> int:
        """Images of the manifest in all."""
        return sum(bar.images for bar in self.all)

    @property
    def samples(self) -> int:
        """Samples in all."""
        return sum(bar.samples for bar in self.all)


def _said(column: str) -> str:
    return f"nullif(trim({tables.quote_name(column)}), '')"


def _of_date(column: str, pattern: str, least: int, most: int) -> str:
    """What a column says, or else the event's date, as far as it can be."""
    numbers = [f"try_cast({of} AS INTEGER)" for of in (column, f"regexp_extract(\"eventDate\", '{pattern}', 1)")]
    possible = [f"CASE WHEN {number} BETWEEN {least} AND {most} THEN {number} END" for number in numbers]
    return f"coalesce({', '.join(possible)})"


def _one_two_five(column: str) -> str:
    """A whole number rounded down to 1, 2 or 5 and zeros; by its digits, for a logarithm of 1000 may be 2.9999."""
    power = f"pow(10, length({column}::BIGINT::VARCHAR) - 1)"
    leading = f"{column} / {power}"
    digit = f"CASE WHEN {leading} < 2 THEN 1 WHEN {leading} < 5 THEN 2 ELSE 5 END"
    return f"CASE WHEN {column} > 0 THEN ({power} * {digit})::BIGINT END"


HOST = "regexp_extract(identifier, '(?i)^https?://(?:[^/?#]*@)?([^/?#]*)', 1)"
# Of the manifest's images, and of the samples among them.
FACETS = {
    "host": Facet(("identifier",), f"nullif(lower({HOST}), '')"),
    "dataset": Facet(("datasetKey",), _said("datasetKey")),
    "licence": Facet(("licenseCode",), _said("licenseCode")),
    "country": Facet(("countryCode",), f"upper({_said('countryCode')})", 15),
    "life stage": Facet(("lifeStage",), f"lower({_said('lifeStage')})"),
    "year": Facet(("year", "eventDate"), _of_date('"year"', "^([0-9]{4})", *YEARS), YEARS[1], any_of=True),
    "month": Facet(("month", "eventDate"), _of_date('"month"', "^[0-9]{4}-([0-9]{2})", 1, 12), any_of=True),
}
# Of the samples alone; a value is a whole number.
OF_SAMPLES = {
    "cell": Facet(("decimalLatitude", "decimalLongitude"), CELL_KEY),
    "size": Facet(
        ("width", "height"),
        "CASE WHEN width > 0 AND height > 0 THEN floor(2 * log2(width))::INT * 1000 + floor(2 * log2(height))::INT END",
    ),
    "weight": Facet(("file_size",), _one_two_five("file_size")),
}


def count(connection: duckdb.DuckDBPyConnection, facets: dict[str, Facet], manifest: str, samples: str) -> None:
    """Make the table `counted` (facet, value, images, samples) of two views; nothing of a facet that they lack."""
    connection.execute("CREATE TABLE counted (facet VARCHAR, value VARCHAR, images BIGINT, samples BIGINT)")
    for view, numbers in ((manifest, "images, 0"), (samples, "0, images")):
        if present := _present(facets, [name for name, *_ in tables.fetch_rows(connection, f"DESCRIBE {view}")]):
            connection.execute(f"INSERT INTO counted SELECT facet, value, {numbers} FROM ({_query(view, present)})")


def _present(facets: dict[str, Facet], columns: Collection[str]) -> dict[str, Facet]:
    """The facets that a table of these columns can tell of; of a date its number is enough, or the date alone."""
    found = {}
    for name, facet in facets.items():
        lacking = [column for column in facet.columns if column not in columns]
        if facet.any_of and len(lacking) < len(facet.columns):
            value = facet.value
            for column in lacking:
                value = value.replace(tables.quote_name(column), "NULL::VARCHAR")
            found[name] = replace(facet, value=value)
        elif not lacking:
            found[name] = facet
    return found


def _query(view: str, facets: dict[str, Facet]) -> str:
    """Images by facet and value. GROUPING tells with a bit for each facet, the first the highest, which it is not."""
    names = [f"f{place}" for place in range(len(facets))]
    values = ", ".join(f"left(({facet.value})::VARCHAR, {LONGEST}) AS f{i}" for i, facet in enumerate(facets.values()))
    every = (1 << len(names)) - 1
    masks = [every - (1 << (len(names) - 1 - place)) for place in range(len(names))]
    facet = " ".join(f"WHEN {mask} THEN {tables.quote_text(name)}" for mask, name in zip(masks, facets, strict=True))
    value = " ".join(f"WHEN {mask} THEN {name}" for mask, name in zip(masks, names, strict=True))
    sets = ", ".join(f"({name})" for name in names)
    return f"""SELECT CASE which {facet} END AS facet, CASE which {value} END AS value, images FROM (
        SELECT {", ".join(names)}, GROUPING({", ".join(names)}) AS which, count(*) AS images
        FROM (SELECT {values} FROM {view}) GROUP BY GROUPING SETS ({sets}))"""


def breakdown(connection: duckdb.DuckDBPyConnection, name: str, most: int) -> Breakdown:
    """A facet of `counted`, its most frequent values first; of equally frequent ones the first by its text."""
    summed = f"""SELECT value, sum(images)::BIGINT AS images, sum(samples)::BIGINT AS samples FROM counted
        WHERE facet = {tables.quote_text(name)} GROUP BY value"""
    turn = "row_number() OVER (PARTITION BY value IS NULL ORDER BY images DESC, samples DESC, value)"
    kind = f"CASE WHEN value IS NULL THEN 'missing' WHEN turn <= {most} THEN 'bar' ELSE 'others' END"
    query = f"""SELECT kind, CASE WHEN kind = 'bar' THEN value ELSE '' END AS shown, count(*),
            sum(images)::BIGINT AS images, sum(samples)::BIGINT AS samples
        FROM (SELECT *, {kind} AS kind FROM (SELECT *, {turn} AS turn FROM ({summed})))
        GROUP BY kind, shown ORDER BY 4 DESC, 5 DESC, shown"""
    bars: dict[str, list[Bar]] = {"bar": [], "others": [], "missing": []}
    other_values = 0
    for of, value, values, images, samples in tables.fetch_rows(connection, query):
        bars[of].append(Bar(value, images, samples))
        other_values += values if of == "others" else 0
    others, missing = (next(iter(bars[kind]), NONE) for kind in ("others", "missing"))
    return Breakdown(tuple(bars["bar"]), others, other_values, missing)


def numbers(connection: duckdb.DuckDBPyConnection, name: str) -> dict[int, int]:
    """A facet of `counted` whose values are whole numbers: the samples of each that has any."""
    query = f"""SELECT value::BIGINT AS number, sum(samples)::BIGINT FROM counted
        WHERE facet = {tables.quote_text(name)} AND value IS NOT NULL
        GROUP BY number HAVING sum(samples) > 0 ORDER BY number"""
    return dict(tables.fetch_rows(connection, query))
