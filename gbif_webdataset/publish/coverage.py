"""What the samples show, where, when and by whom: numbers for the card."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb
import pyarrow.parquet as pq

from gbif_webdataset.storage import tables
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.dates import YEARS, add_date_functions, make_part_of_date
from gbif_webdataset.terms.ranks import MAIN_NAME_COLUMNS

MEMORY_LIMIT = "500MB"
COLUMNS = (*MAIN_NAME_COLUMNS, "datasetKey", "countryCode", "lifeStage", "recordedBy", "basisOfRecord")
YEAR, MONTH = "year", "month"
MAX_VALUES = 5


@dataclass(frozen=True)
class ValueSummary:
    """The samples with a value, the number of different values, and the samples of the most frequent values."""

    with_value: int
    distinct: int
    frequent: Mapping[str, int]


@dataclass(frozen=True)
class Coverage:
    """The samples by property.

    Attributes:
        samples: all samples.
        values: by column of the archive, and for `year` and `month`. Columns that the archive lacks are missing.
        years: the first and the last year; None if no year is known.
        placed: samples with coordinates; 0, 0 stands for unknown ones.
        bounds: the southernmost, northernmost, westernmost and easternmost of them, in degrees.
        last_download: the day of the last download, such as 2026-11-28, in UTC; empty if it is not known.
    """

    samples: int
    values: Mapping[str, ValueSummary] = field(default_factory=dict)
    years: tuple[int, int] | None = None
    placed: int = 0
    bounds: tuple[float, float, float, float] | None = None
    last_download: str = ""


def collect_coverage(paths: DatasetPaths) -> Coverage:
    """Count the samples, which are the rows of clean.parquet that no later stage dropped."""
    dropped = " UNION ALL ".join(
        f"SELECT image_path FROM {tables.csv_source(path)}" for path in (paths.split_dropped, paths.shards_dropped)
    )
    with tables.open_database(paths.scratch, MEMORY_LIMIT) as connection:
        add_date_functions(connection)
        source = tables.parquet_source([paths.clean])
        present = pq.read_schema(paths.clean).names
        missing = [f', NULL::VARCHAR AS "{name}"' for name in (YEAR, MONTH, "eventDate") if name not in present]
        connection.execute(f"""CREATE VIEW samples AS SELECT *{"".join(missing)} FROM {source}
            ANTI JOIN ({dropped}) AS dropped USING (image_path)""")
        [(samples,)] = tables.fetch_rows(connection, "SELECT count(*) FROM samples")
        expressions = {
            name: f"nullif(trim({tables.quote_name(name)}::VARCHAR), '')" for name in COLUMNS if name in present
        }
        if "lifeStage" in expressions:
            expressions["lifeStage"] = f"lower({expressions['lifeStage']})"
        expressions[YEAR] = make_part_of_date(YEAR, *YEARS)
        expressions[MONTH] = make_part_of_date(MONTH, 1, 12)
        has_places = {"decimalLatitude", "decimalLongitude"} <= set(present)
        placed, bounds = _count_places(connection) if has_places else (0, None)
        return Coverage(
            samples,
            {name: _summarize(connection, expression) for name, expression in expressions.items()},
            _find_years(connection, expressions[YEAR]),
            placed,
            bounds,
            _find_last_download(connection) if "fetched_at" in present else "",
        )


def _summarize(connection: duckdb.DuckDBPyConnection, value: str) -> ValueSummary:
    query = f"""SELECT left(value, 200), images, count(*) OVER (), (sum(images) OVER ())::BIGINT
        FROM (SELECT ({value})::VARCHAR AS value, count(*) AS images FROM samples GROUP BY 1) WHERE value IS NOT NULL
        ORDER BY images DESC, value LIMIT {MAX_VALUES}"""
    rows = tables.fetch_rows(connection, query)
    distinct, with_value = rows[0][2:] if rows else (0, 0)
    return ValueSummary(with_value, distinct, {text: images for text, images, *_ in rows})


def _find_years(connection: duckdb.DuckDBPyConnection, year: str) -> tuple[int, int] | None:
    [(first, last)] = tables.fetch_rows(connection, f"SELECT min({year}), max({year}) FROM samples")
    return None if first is None else (first, last)


def _count_places(
    connection: duckdb.DuckDBPyConnection,
) -> tuple[int, tuple[float, float, float, float] | None]:
    query = """SELECT count(*), min(latitude), max(latitude), min(longitude), max(longitude) FROM (
        SELECT try_cast(decimalLatitude AS DOUBLE) AS latitude, try_cast(decimalLongitude AS DOUBLE) AS longitude
        FROM samples) WHERE latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180
        AND (latitude <> 0 OR longitude <> 0)"""
    [(placed, *bounds)] = tables.fetch_rows(connection, query)
    south, north, west, east = bounds
    return placed, (south, north, west, east) if placed else None


def _find_last_download(connection: duckdb.DuckDBPyConnection) -> str:
    day = "regexp_extract(fetched_at::VARCHAR, '^[0-9]{4}-[0-9]{2}-[0-9]{2}')"
    [(last,)] = tables.fetch_rows(connection, f"SELECT max({day}) FROM samples")
    return last or ""
