"""Dates of events: what Darwin Core's `eventDate` states, and how precisely.

`eventDate` is an ISO 8601 date, a date and time, or an interval of them; GBIF has published intervals since September
2023. A day is the local day as written: a time zone does not change it. Other notations, impossible dates such as
2023-02-30, and intervals that end before they begin are unknown: they neither prove nor exclude a shared day.
"""

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
from duckdb.func import ARROW, SPECIAL

from gbif_webdataset.storage.arrow import to_typed_array

_CLOCK = r"\d\d(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)? ?(?:Z|[+-]\d\d(?::?\d\d)?)?"
_MOMENT = re.compile(rf"(\d{{4}}(?:-\d\d(?:-\d\d)?)?)(?:[T ]{_CLOCK})?", re.ASCII)
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)", re.ASCII)
_SHORT_END = re.compile(rf"((?:\d\d-)?\d\d)(?:[T ]{_CLOCK})?", re.ASCII)
_TIME = re.compile(rf"T?(?=.*:){_CLOCK}", re.ASCII)

YEARS = (1600, 2199)
"""The first and last year that an image can have been taken; others are errors."""


class EventDate(NamedTuple):
    """A date or interval. `begin` <= `end`, both `2023-06-10`, both `2023-06` or both `2023`."""

    begin: str
    end: str

    @property
    def session(self) -> str | None:
        """The recording session: the day, or the interval of days (`2023-06-10/2023-06-11`); None if less precise."""
        if len(self.begin) < 10:
            return None
        return self.begin if self.begin == self.end else f"{self.begin}/{self.end}"

    @property
    def year(self) -> int | None:
        """The year, if begin and end lie in the same one."""
        return int(self.begin[:4]) if self.begin[:4] == self.end[:4] else None

    @property
    def month(self) -> int | None:
        """The month, 1 to 12, if begin and end lie in the same one."""
        return int(self.begin[5:7]) if len(self.begin) >= 7 and self.begin[:7] == self.end[:7] else None


@lru_cache(maxsize=65_536)
def parse_event_date(text: str | None) -> EventDate | None:
    """The date or interval that `eventDate` states; None if it is unknown."""
    first, is_interval, last = (text or "").partition("/")
    begin = _parse_moment(first.strip())
    if begin is None:
        return None
    end = _parse_end(begin, last.strip()) if is_interval else begin
    return EventDate(begin, end) if end and len(end) == len(begin) and end >= begin else None


def _parse_moment(text: str) -> str | None:
    if found := _COMPACT.fullmatch(text):
        return _existing("-".join(found.groups()))
    found = _MOMENT.fullmatch(text)
    return _existing(found[1]) if found else None


def _parse_end(begin: str, text: str) -> str | None:
    """The end of an interval, which may omit what it shares with the beginning: `2023-06-10/11`."""
    if _TIME.fullmatch(text):
        return begin if len(begin) == 10 else None
    if (found := _SHORT_END.fullmatch(text)) and len(begin) > len(found[1]) + 1:
        return _existing(begin[: -len(found[1])] + found[1])
    return _parse_moment(text)


def _existing(text: str) -> str | None:
    """The date, if the calendar has it."""
    try:
        date.fromisoformat(f"{text}-01-01"[:10])
    except ValueError:
        return None
    return text


def add_date_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Give SQL the functions event_session(text), event_year(text) and event_month(text); NULL is unknown."""
    for name, kind, sql_type in (
        ("session", pa.string(), "VARCHAR"),
        ("year", pa.int32(), "INTEGER"),
        ("month", pa.int32(), "INTEGER"),
    ):
        function = _column_function(attrgetter(name), kind)
        connection.create_function(f"event_{name}", function, ["VARCHAR"], sql_type, type=ARROW, null_handling=SPECIAL)


def make_part_of_date(part: str, minimum: int, maximum: int) -> str:
    """The SQL expression of the `year` or `month` in the column of this name, or else in eventDate, if possible.

    It needs the functions of `add_date_functions`.
    """
    numbers = (f'try_cast("{part}" AS INTEGER)', f'event_{part}("eventDate")')
    possible = [f"CASE WHEN {number} BETWEEN {minimum} AND {maximum} THEN {number} END" for number in numbers]
    return f"coalesce({', '.join(possible)})"


def _column_function(get: Callable[[EventDate], Any], kind: pa.DataType) -> Callable[[pa.ChunkedArray], pa.Array]:
    def values_of(texts: pa.ChunkedArray) -> pa.Array:
        dates = map(parse_event_date, texts.to_pylist())
        return to_typed_array([get(date) if date else None for date in dates], kind)

    return values_of
