"""What images can share: an occurrence, an observer, a date, a place, an event, near duplicates."""

from collections.abc import Collection
from dataclasses import dataclass

import duckdb

from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.dates import add_date_functions

OCCURRENCE, NEAR_DUPLICATES = "occurrence", "near-duplicates"
TRAITS = {
    "observer": ("recordedBy",),
    "date": ("eventDate",),
    "place": ("decimalLatitude", "decimalLongitude"),
    "event": ("datasetKey", "eventID"),
}
"""The traits, and the columns that each is read from."""
# 111.195 km are a degree of latitude. A row of cells has as many cells as fit the circle of latitude in its middle.
CELL_MACRO = """CREATE OR REPLACE MACRO cell(lat, lon, km) AS
    CASE WHEN lat BETWEEN -90 AND 90 AND lon BETWEEN -180 AND 180 AND (lat <> 0 OR lon <> 0)
    THEN floor((lat + 90) * 111.195 / km)::BIGINT || ':' || (floor((lon + 180) / 360 *
        greatest(1, floor(360 * 111.195 * cos(radians((floor((lat + 90) * 111.195 / km) + 0.5) * km / 111.195 - 90))
        / km)))::BIGINT) END"""
"""The SQL macro `cell`: the grid cell of a place, NULL for impossible coordinates and for 0, 0."""


def add_trait_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Give SQL the functions that `trait_value` needs."""
    connection.execute(CELL_MACRO)
    add_date_functions(connection)


@dataclass(frozen=True)
class Grouping:
    """What images of one split share: entries of group_by. Each entry connects images to groups.

    An entry is a trait, several traits joined by `+` that must all agree, NEAR_DUPLICATES or OCCURRENCE. `place_km` is
    the length of a side of the grid cells, in kilometres.

    Raises:
        ParameterError: an entry is unknown, or `place_km` is out of range.
    """

    by: tuple[str, ...] = ()
    place_km: float = 1.0

    def __post_init__(self) -> None:
        for entry in self.by:
            if entry not in (OCCURRENCE, NEAR_DUPLICATES) and not set(entry.split("+")) <= TRAITS.keys():
                choices = ", ".join((OCCURRENCE, *TRAITS, NEAR_DUPLICATES))
                raise ParameterError(
                    f"--SplitDataset-group-by {','.join(self.by)}: unknown entry {entry!r}; give one or more of "
                    f"{choices}, separated by commas, or traits that must all agree, such as observer+date"
                )
        if not 0.001 <= self.place_km <= 10_000:
            raise ParameterError(
                f"--SplitDataset-place-km {self.place_km}: out of range; give kilometres from 0.001 to 10000"
            )

    @property
    def links(self) -> tuple[str, ...]:
        """The entries that connect occurrences, or images of several occurrences."""
        return tuple(entry for entry in self.by if entry != OCCURRENCE)


def check_columns(grouping: Grouping, columns: Collection[str]) -> None:
    """Return if an archive with these columns has the columns of all traits.

    Raises:
        SelectionError: a column is missing.
    """
    for entry in grouping.links:
        if entry != NEAR_DUPLICATES and (missing := find_missing_columns(entry, columns)):
            raise SelectionError(
                f"--SplitDataset-group-by {','.join(grouping.by)}: the archive has no column {', '.join(missing)}; "
                f"leave out {entry}"
            )


def find_missing_columns(entry: str, columns: Collection[str]) -> list[str]:
    """The columns that a trait, or several joined by `+`, needs and `columns` lacks."""
    return sorted({name for trait in entry.split("+") for name in TRAITS[trait]} - set(columns))


def trait_value(entry: str, place_km: float) -> str:
    """The SQL of the value of a trait, or of several joined by `+`, in a row of `clean`. NULL if it is unknown.

    A date is the recording session that eventDate states. The SQL needs `add_trait_functions`.
    """
    return " || '|' || ".join(_single_trait_value(trait, place_km) for trait in entry.split("+"))


def _single_trait_value(trait: str, place_km: float) -> str:
    texts = [f"nullif(trim(clean.{tables.quote_name(column)}::VARCHAR), '')" for column in TRAITS[trait]]
    if trait == "place":
        latitude, longitude = (f"TRY_CAST({text} AS DOUBLE)" for text in texts)
        return f"cell({latitude}, {longitude}, {place_km!r})"
    if trait == "date":
        return f"event_session({texts[0]})"
    if trait == "observer":
        return f"lower({texts[0]})"
    return " || '|' || ".join(texts)
