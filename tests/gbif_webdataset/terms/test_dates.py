"""Dates of events: which day, session, year and month an eventDate states."""

import duckdb
import pytest

from gbif_webdataset.terms.dates import add_date_functions

NIGHT = "2023-06-10/2023-06-11"


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    add_date_functions(connection)
    return connection


@pytest.mark.parametrize(
    ("text", "session", "year", "month"),
    [
        ("2023-06-10", "2023-06-10", 2023, 6),
        (" 2023-06-10 ", "2023-06-10", 2023, 6),
        ("20230610", "2023-06-10", 2023, 6),
        ("2023-06-10T21:15", "2023-06-10", 2023, 6),
        ("2023-06-10T21:15:30.5", "2023-06-10", 2023, 6),
        ("2023-06-10 21:15:30", "2023-06-10", 2023, 6),
        ("2023-06-10T21Z", "2023-06-10", 2023, 6),
        ("2023-06-10T23:15:00+02:00", "2023-06-10", 2023, 6),
        ("2023-06-10T21:15:00/2023-06-11T04:45:00", NIGHT, 2023, 6),
        ("2023-06-10T21:15Z/2023-06-11T04:45Z", NIGHT, 2023, 6),
        ("2023-06-10 21:15/2023-06-11 04:45", NIGHT, 2023, 6),
        ("2023-06-10/2023-06-11", NIGHT, 2023, 6),
        ("2023-06-10/11", NIGHT, 2023, 6),
        ("2023-06-10 / 2023-06-11", NIGHT, 2023, 6),
        ("2023-06-10T21:15:00/2023-06-10T23:45:00", "2023-06-10", 2023, 6),
        ("2023-06-10/2023-06-10", "2023-06-10", 2023, 6),
        ("2023-06-10T21:15/23:45", "2023-06-10", 2023, 6),
        ("2023-06-30/07-01", "2023-06-30/2023-07-01", 2023, None),
        ("2023-12-31/2024-01-01", "2023-12-31/2024-01-01", None, None),
        ("2023-06", None, 2023, 6),
        ("2023-06/08", None, 2023, None),
        ("2023-06/2023-06", None, 2023, 6),
        ("2023", None, 2023, None),
        ("2022/2023", None, None, None),
        ("2024-02-29", "2024-02-29", 2024, 2),
    ],
)
def test_an_iso_date_or_interval_has_a_session_a_year_and_a_month(
    connection: duckdb.DuckDBPyConnection, text: str, session: str | None, year: int | None, month: int | None
) -> None:
    query = "SELECT event_session($1), event_year($1), event_month($1)"
    assert connection.execute(query, [text]).fetchone() == (session, year, month)


@pytest.mark.parametrize(
    "text",
    [
        "", "unknown", "10/06/2023", "6/10/23", "10.06.2023", "June 2023", "2023-02-30", "2023-13-01", "2023-13",
        "2023-06-11/2023-06-10", "2023-06-10/2023-06", "2023-06-10/2023-06-11/2023-06-12", "2023-06-10/", "/2023-06-10",
        "2010/11", "2023-6-1", "2023-06-10x", "x2023-06-10", "2023-06-10T", "2023-06-10T21:15/x", "0", "12345",
    ],
)  # fmt: skip
def test_other_notations_are_unknown(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    query = "SELECT event_session($1), event_year($1), event_month($1)"
    assert connection.execute(query, [text]).fetchone() == (None, None, None)


def test_a_missing_date_is_unknown(connection: duckdb.DuckDBPyConnection) -> None:
    assert connection.execute("SELECT event_session(NULL), event_year(NULL)").fetchone() == (None, None)
