"""What must stay in one split: images of an observer, a place, an event, near duplicates; each connects."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.union_find import DisjointSets

OCCURRENCE, NEAR = "occurrence", "near-duplicates"
TRAITS = {  # what images may share, and the columns that tell
    "observer": ("recordedBy",),
    "date": ("eventDate",),
    "place": ("decimalLatitude", "decimalLongitude"),
    "event": ("datasetKey", "eventID"),
}
# A degree of latitude in km; a row of cells holds as many as fit the circle of latitude in its middle.
CELL = """CREATE OR REPLACE MACRO cell(lat, lon, km) AS CASE WHEN lat BETWEEN -90 AND 90 AND lon BETWEEN -180 AND 180
    AND (lat <> 0 OR lon <> 0) THEN floor((lat + 90) * 111.195 / km)::BIGINT || ':' || (floor((lon + 180) / 360 *
        greatest(1, floor(360 * 111.195 * cos(radians((floor((lat + 90) * 111.195 / km) + 0.5) * km / 111.195 - 90))
        / km)))::BIGINT) END"""


@dataclass(frozen=True)
class Grouping:
    """What stays together besides occurrences: traits, or several joined by `+`, or near duplicates; any connects.

    `place_km` is the side of the cells that are a place. Raises ParameterError for what is none of them.
    """

    by: tuple[str, ...] = ()
    place_km: float = 1.0

    def __post_init__(self) -> None:
        for entry in self.by:
            if entry not in (OCCURRENCE, NEAR) and not set(entry.split("+")) <= TRAITS.keys():
                choices = ", ".join((OCCURRENCE, *TRAITS, NEAR))
                raise ParameterError(
                    f"group_by has {entry!r}: give one or more of {choices}, separated by commas, or traits that have "
                    "to agree together, such as observer+date"
                )
        if not 0.001 <= self.place_km <= 10_000:
            raise ParameterError(f"place_km is {self.place_km}: give kilometres from 0.001 to 10000")

    @property
    def ties(self) -> tuple[str, ...]:
        """What connects occurrences or images."""
        return tuple(entry for entry in self.by if entry != OCCURRENCE)


def trait(entry: str, columns: Collection[str], place_km: float, table: str = "clean") -> str | None:
    """The SQL of a trait, or of several joined by `+`: NULL where it is not known; None where a column is missing."""
    found = []
    for name in entry.split("+"):
        if not set(TRAITS[name]) <= set(columns):
            return None
        texts = [f"nullif(trim({table}.{tables.quote_name(column)}::VARCHAR), '')" for column in TRAITS[name]]
        if name == "place":
            lat, lon = (f"TRY_CAST({text} AS DOUBLE)" for text in texts)
            found.append(f"cell({lat}, {lon}, {place_km!r})")
        elif name == "date":
            found.append(f"nullif(regexp_extract({texts[0]}, '^([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(T[^/]*)?$', 1), '')")
        elif name == "observer":
            found.append(f"lower({texts[0]})")
        else:
            found.append(" || '|' || ".join(texts))
    return " || '|' || ".join(found)


def connect(
    connection: duckdb.DuckDBPyConnection, columns: Collection[str], grouping: Grouping, duplicates: Path | None
) -> None:
    """Make `members` (key, number) of all `units` (key, name), and `named` (number, name) of their groups.

    A group has the name of the first kind of tie that it has, so that it keeps it whatever joins. `clean` has the
    `columns`; `duplicates` is CleanDataset's table. Raises SelectionError where a column is missing.
    """
    connection.execute(CELL)
    connection.execute(
        "CREATE TABLE numbered AS SELECT row_number() OVER (ORDER BY name) - 1 AS number, key, name FROM units"
    )
    connection.execute("CREATE TABLE ties (number BIGINT, kind VARCHAR, value VARCHAR)")
    labelled = "clean JOIN images USING (place) JOIN numbered USING (key)"
    for place, entry in enumerate(grouping.ties):
        if entry == NEAR:
            if duplicates is None or not duplicates.exists():
                raise SelectionError(f"group_by near-duplicates needs {duplicates}: run CleanDataset again")
            copies = tables.parquet_source([duplicates])
            source = f"{labelled} JOIN {copies} AS copies ON copies.image_path = clean.image_path"
            value = "copies.kind || '|' || copies.\"group\""
        else:
            found = trait(entry, columns, grouping.place_km)
            if found is None:
                needed = {name for part in entry.split("+") for name in TRAITS[part]} - set(columns)
                raise SelectionError(
                    f"group_by {entry} can't be applied: the archive has no column {', '.join(sorted(needed))}; "
                    "leave it out"
                )
            source, value = labelled, found
        kind = tables.quote_text(f"{place}|{entry}|")
        query = f"SELECT DISTINCT number, {kind} AS kind, {value} AS value FROM {source} WHERE images.class IS NOT NULL"
        connection.execute(f"INSERT INTO ties SELECT * FROM ({query}) WHERE value IS NOT NULL")
    _join(connection)
    near = tables.quote_text(f"|{NEAR}|")
    connection.execute(
        """CREATE TABLE members AS SELECT key, coalesce(root, number) AS number
        FROM numbered LEFT JOIN roots USING (number)"""
    )
    connection.execute(
        f"""CREATE TABLE named AS SELECT number, coalesce(tied.name, own.name) AS name
        FROM (SELECT coalesce(root, number) AS number, min(name) AS name
            FROM numbered LEFT JOIN roots USING (number) GROUP BY 1) AS own
        LEFT JOIN (SELECT coalesce(root, number) AS number, substr(min(kind || value), 3) AS name
            FROM ties LEFT JOIN roots USING (number) WHERE NOT contains(kind, {near}) GROUP BY 1) AS tied
        USING (number)"""
    )
    connection.execute("DROP TABLE ties; DROP TABLE numbered; DROP TABLE roots")


def _join(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `roots` (number, root): of all that hang on another, the smallest that they are connected with."""
    [(count,)] = tables.fetch_rows(connection, "SELECT count(*) FROM numbered")
    sets = DisjointSets(count)
    tied = "SELECT number, min(number) OVER (PARTITION BY kind, value) AS first FROM ties"
    with connection.cursor() as cursor:
        for batch in tables.select_batches(cursor, f"SELECT * FROM ({tied}) WHERE number <> first"):
            sets.join(*(column.to_numpy() for column in batch.columns))
    connection.execute("CREATE TABLE roots (number BIGINT, root BIGINT)")
    for numbers, roots in sets.select_joined(arrow.ROW_GROUP):
        batch = pa.record_batch([arrow.to_array(numbers), arrow.to_array(roots)], names=["number", "root"])
        connection.register("batch", batch)
        connection.execute("INSERT INTO roots SELECT * FROM batch")
        connection.unregister("batch")
