import math
from typing import Any

import duckdb
import pytest

from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.split.traits import Grouping, add_trait_functions, check_columns, find_missing_columns, trait_value


def value_of(entry: str, place_km: float = 1.0, **columns: Any) -> Any:
    """The value of a trait in a row with these columns."""
    names = ", ".join(f'? AS "{name}"' for name in columns)
    with duckdb.connect() as connection:
        add_trait_functions(connection)
        query = f"SELECT {trait_value(entry, place_km)} FROM (SELECT {names}) AS clean"
        return connection.execute(query, list(columns.values())).fetchall()[0][0]


@pytest.mark.parametrize("by", ["observers", "observer+", ""])
def test_an_unknown_entry_of_group_by_is_refused(by: str) -> None:
    with pytest.raises(ParameterError, match=r"^--SplitDataset-group-by .*: unknown entry "):
        Grouping((by,))


@pytest.mark.parametrize("place_km", [0, -1, 10_001, float("nan")])
def test_a_cell_size_out_of_range_is_refused(place_km: float) -> None:
    with pytest.raises(ParameterError, match=rf"^--SplitDataset-place-km {place_km}: out of range"):
        Grouping(("place",), place_km)


def test_a_missing_column_is_named() -> None:
    assert find_missing_columns("observer+event", ["recordedBy", "eventID"]) == ["datasetKey"]
    with pytest.raises(SelectionError, match=r"--SplitDataset-group-by occurrence,observer: .* no column recordedBy; "):
        check_columns(Grouping(("occurrence", "observer")), ["eventDate"])
    check_columns(Grouping(("occurrence", "near-duplicates", "date")), ["eventDate"])


@pytest.mark.parametrize("text", ["", " ", None])
def test_an_empty_value_is_unknown(text: str | None) -> None:
    assert value_of("observer", recordedBy=text) is None
    assert value_of("observer+date", recordedBy=text, eventDate="2024-05-01") is None


def test_observers_are_compared_without_case_and_spaces() -> None:
    assert value_of("observer", recordedBy=" A. Moth ") == value_of("observer", recordedBy="a. moth")


@pytest.mark.parametrize(
    ("text", "day"),
    [("2024-05-01", "2024-05-01"), ("2024-05-01T10:00:00Z", "2024-05-01"), ("2024-05", None)],
)
def test_a_date_is_one_day(text: str, day: str | None) -> None:
    assert value_of("date", eventDate=text) == day


def test_equal_intervals_are_one_session_and_an_interval_within_a_day_is_that_day() -> None:
    nights = "2024-05-01T21:15:00/2024-05-02T04:45:00", "2024-05-01/02", "2024-05-01 / 2024-05-02"
    assert {value_of("date", eventDate=night) for night in nights} == {"2024-05-01/2024-05-02"}
    assert value_of("date", eventDate="2024-05-01T21:15/2024-05-01T23:45") == "2024-05-01"


@pytest.mark.parametrize(("latitude", "longitude"), [("0", "0"), ("91", "0"), ("1", "181"), ("x", "1"), ("", "1")])
def test_an_impossible_place_is_unknown(latitude: str, longitude: str) -> None:
    assert value_of("place", decimalLatitude=latitude, decimalLongitude=longitude) is None


def count_cells(latitude: float, kilometres_east: float) -> int:
    """The cells of 1 km that 21 points on a line to the east are in."""
    degrees = kilometres_east / 111.195 / math.cos(math.radians(latitude))
    points = f'SELECT {latitude} AS "decimalLatitude", 10 + {degrees} * range / 20 AS "decimalLongitude" FROM range(21)'
    with duckdb.connect() as connection:
        add_trait_functions(connection)
        query = f"SELECT count(DISTINCT {trait_value('place', 1.0)}) FROM ({points}) AS clean"
        return connection.execute(query).fetchall()[0][0]


@pytest.mark.parametrize("latitude", [0.5, 60.5, -80.0])
def test_a_cell_is_about_place_km_wide_at_every_latitude(latitude: float) -> None:
    assert count_cells(latitude, 0.1) <= 2
    assert count_cells(latitude, 10) in (10, 11)
