import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbif_webdataset.report.facets import (
    FACETS,
    MAX_VALUE_CHARACTERS,
    SAMPLE_FACETS,
    Breakdown,
    Facet,
    ValueCount,
    count_facets,
    read_breakdown,
    read_numbers,
    trim,
)
from gbif_webdataset.terms.dates import parse_event_date
from tests.support.published import HOSTILE

Row = Mapping[str, str | int | None]
NUMBERS = ("width", "height", "file_size")
HOSTS = (
    "https://photos.example/1.jpg", "HTTP://Photos.EXAMPLE/2.jpg", "https://photos.example:8443/1.jpg",
    "https://ada:secret@photos.example/1.jpg", "https://a@b@photos.example?x", "http://photos.example#@elsewhere",
    "http://[2001:db8::1]:80/x", "http://photos.example", "https://", "ftp://photos.example/1", "photos.example/1", "",
    "https://münchen.example/ä", "see https://photos.example/1",
)  # fmt: skip
WORDS = (
    *HOSTILE,
    "a",
    "A",
    " a ",
    "b",
    "",
    " ",
    "x" * MAX_VALUE_CHARACTERS + "1",
    "x" * MAX_VALUE_CHARACTERS + "2",
    "ж" * 300,
    "NULL",
    "f0",
)
DATES = ("2019-07-04", "2019-07-04T12:00:00", "2019-07", "2019", "1850-01-31/1850-02-02", "1066-10-14", "7 July 2019",
         "2019-13-01", "2300-01-01", "", "2018-00-10")  # fmt: skip
VALUES = {
    "identifier": HOSTS, "datasetKey": WORDS, "licenseCode": WORDS, "countryCode": ("de", "DE", " De", *WORDS),
    "lifeStage": WORDS, "year": ("2019", " 2019", "1600", "1599", "2199", "2200", "-5", "", "about 1900", "9" * 30),
    "month": ("7", "07", "0", "12", "13", "", "July"), "eventDate": DATES,
}  # fmt: skip
COLUMNS = tuple(VALUES)
ROW = st.fixed_dictionaries({name: st.sampled_from((None, *values)) for name, values in VALUES.items()})


def table(rows: Sequence[Row], columns: Collection[str]) -> pa.Table:
    types = {name: pa.int64() if name in NUMBERS else pa.string() for name in columns}
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()})


def counted(
    manifest: Sequence[Row],
    samples: Sequence[Row],
    columns: Collection[str] = COLUMNS,
    facets: Mapping[str, Facet] = FACETS,
    sample_columns: Collection[str] = (),
) -> duckdb.DuckDBPyConnection:
    """A database in which these rows are counted; the samples have the columns `sample_columns` besides."""
    connection = duckdb.connect()
    connection.register("manifest", table(manifest, columns))
    connection.register("samples", table(samples, [*columns, *sample_columns]))
    count_facets(connection, facets, "manifest", "samples")
    return connection


def value_of(name: str, row: Row) -> str | None:
    """The value of a facet, in plain Python."""
    texts = {column: str(row.get(column) or "") for column in COLUMNS}
    if name == "host":
        found = re.match("https?://(?:[^/?#]*@)?([^/?#]*)", texts["identifier"], re.IGNORECASE)
        value = found[1].lower() if found else ""
    elif name in ("year", "month"):
        minimum, maximum = (1600, 2199) if name == "year" else (1, 12)
        date = parse_event_date(texts["eventDate"])
        of_date = (date.year if name == "year" else date.month) if date else None
        numbers = [int(t) for t in (texts[name], str(of_date)) if is_number(t)]
        value = next((str(number) for number in numbers if minimum <= number <= maximum), "")
    else:
        column = {
            "dataset": "datasetKey",
            "licence": "licenseCode",
            "country": "countryCode",
            "life stage": "lifeStage",
        }
        value = texts[column[name]].strip(" ")
        value = value.upper() if name == "country" else value.lower() if name == "life stage" else value
    return value[:MAX_VALUE_CHARACTERS] or None


def is_number(text: str) -> bool:
    return bool(re.fullmatch(" *-?[0-9]{1,9} *", text))


def recounted(name: str, manifest: Sequence[Row], samples: Sequence[Row], max_values: int) -> Breakdown:
    """A breakdown, in plain Python."""
    images, kept = (Counter(value_of(name, row) for row in rows) for rows in (manifest, samples))
    order = sorted((v for v in images | kept if v is not None), key=lambda v: (-images[v], -kept[v], v))
    values = tuple(ValueCount(value, images[value], kept[value]) for value in order[:max_values])
    others = ValueCount("", sum(images[v] for v in order[max_values:]), sum(kept[v] for v in order[max_values:]))
    return Breakdown(values, others, len(order[max_values:]), ValueCount("", images[None], kept[None]))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_counting_in_one_pass_gives_the_same_as_counting_each_facet(data: st.DataObject) -> None:
    manifest = data.draw(st.lists(ROW, min_size=1, max_size=60))
    samples = data.draw(st.lists(st.sampled_from(manifest), max_size=40))
    columns = [name for name in COLUMNS if name in data.draw(st.sets(st.sampled_from(COLUMNS), min_size=4))]
    max_values = data.draw(st.integers(1, 6))
    manifest, samples = ([{name: row[name] for name in columns} for row in rows] for rows in (manifest, samples))
    with counted(manifest, samples, columns) as connection:
        for name, facet in FACETS.items():
            found = read_breakdown(connection, name, max_values)
            if (any if facet.any_of else all)(column in columns for column in facet.columns):
                assert found == recounted(name, manifest, samples, max_values), name
                assert (found.images, found.samples) == (len(manifest), len(samples))
            else:
                assert found == Breakdown()


def test_breakdowns_of_many_values_add_up() -> None:
    manifest = [
        {"lifeStage": f"stage {n % 977 * n % 131}", "datasetKey": f"{n % 29}" if n % 7 else None} for n in range(9_000)
    ]
    samples = manifest[::3]
    with counted(manifest, samples, ["lifeStage", "datasetKey"]) as connection:
        for name in ("life stage", "dataset"):
            found = read_breakdown(connection, name, FACETS[name].max_values)
            assert found == recounted(name, manifest, samples, FACETS[name].max_values)
            assert len(found.values) == FACETS[name].max_values
            assert found.other_values > 0
            assert (found.images, found.samples) == (9_000, 3_000)


@pytest.mark.parametrize("url", HOSTS)
def test_a_host_is_in_lower_case_with_its_port_and_without_its_user(url: str) -> None:
    hosts = {
        "https://photos.example:8443/1.jpg": "photos.example:8443", "http://[2001:db8::1]:80/x": "[2001:db8::1]:80",
        "https://münchen.example/ä": "münchen.example",
    }  # fmt: skip
    none = {"https://", "ftp://photos.example/1", "photos.example/1", "", "see https://photos.example/1"}
    with counted([{"identifier": url}], [], ["identifier"]) as connection:
        found = read_breakdown(connection, "host", 12)
    host = hosts.get(url, "photos.example")
    assert found == (Breakdown(missing=ValueCount("", 1, 0)) if url in none else Breakdown((ValueCount(host, 1, 0),)))


@pytest.mark.parametrize(
    ("row", "year", "month"),
    [
        ({"year": "1999", "month": "2", "eventDate": "2001-05-06"}, "1999", "2"),
        ({"year": "", "month": None, "eventDate": "2001-05-06"}, "2001", "5"),
        ({"eventDate": "2001-05-06/2001-06-01"}, "2001", None),
        ({"eventDate": "2001"}, "2001", None),
        ({"year": "1999"}, "1999", None),
        ({"month": "09"}, None, "9"),
        ({"year": "99", "month": "0"}, None, None),
        ({"year": "0", "month": "13", "eventDate": "2001-05-06"}, "2001", "5"),
        ({"eventDate": "May 2001"}, None, None),
    ],
)
def test_a_year_or_month_is_from_its_column_or_else_from_the_date(row: Row, year: str, month: str) -> None:
    whole = {column: row.get(column) for column in ("year", "month", "eventDate")}
    for columns in (tuple(row), tuple(whole)):
        with counted([row], [row], columns) as connection:
            for name, value in (("year", year), ("month", month)):
                found = [count.value for count in read_breakdown(connection, name, 9).values]
                assert found == ([value] if value else [])


def test_long_values_with_the_same_beginning_are_counted_as_one() -> None:
    long = "z" * MAX_VALUE_CHARACTERS
    rows = [{"lifeStage": long + end} for end in ("", "a", "b" * 1000)] + [{"lifeStage": long[1:]}]
    with counted(rows, rows[:1], ["lifeStage"]) as connection:
        assert read_breakdown(connection, "life stage", 9).values == (
            ValueCount(long, 3, 1),
            ValueCount(long[1:], 1, 0),
        )


def test_a_column_that_only_samples_have_is_counted_for_samples() -> None:
    rows = [{"identifier": HOSTS[0], "width": 800, "height": 600, "file_size": 123_456}] * 3
    with counted(rows, rows[:2], ["identifier"], {**FACETS, **SAMPLE_FACETS}, NUMBERS) as connection:
        assert read_breakdown(connection, "host", 9).values == (ValueCount("photos.example", 3, 2),)
        assert read_numbers(connection, "dimensions") == {19018: 2}
        assert read_numbers(connection, "file size") == {100_000: 2}
        assert read_numbers(connection, "cell") == {}


def test_tables_without_the_columns_give_empty_breakdowns() -> None:
    with counted([{"other": "1"}], [{"other": "1"}], ["other"]) as connection:
        assert connection.execute("SELECT count(*) FROM counted").fetchone() == (0,)
        assert read_breakdown(connection, "host", 9) == Breakdown()
        assert read_numbers(connection, "dimensions") == {}


def test_equally_frequent_values_are_in_the_order_of_their_texts() -> None:
    rows = [{"lifeStage": stage} for stage in ("pupa", "egg", "larva", "adult", "adult", "imago")]
    with counted(rows, [rows[2]], ["lifeStage"]) as connection:
        assert [count.value for count in read_breakdown(connection, "life stage", 3).values] == [
            "adult",
            "larva",
            "egg",
        ]


def test_file_sizes_are_rounded_down_to_one_two_or_five_times_a_power_of_ten() -> None:
    bounds = [digit * 10**power for power in range(11) for digit in (1, 2, 5)]
    sizes = sorted({bound + off for bound in bounds for off in (-1, 0, 1)} | {3, 7, 999, 1_234_567})
    rows = [{"file_size": size} for size in (*sizes, None, -1)]
    expected = Counter(max(bound for bound in bounds if bound <= size) for size in sizes if size)
    with counted([], rows, ["file_size"], SAMPLE_FACETS) as connection:
        assert read_numbers(connection, "file size") == expected


def test_dimensions_are_half_octaves_of_both_sides() -> None:
    sides = [1, 2, 3, 4, 5, 6, 255, 256, 257, 361, 362, 363, 511, 512, 4095, 4096, 65_500, 0, None]
    rows = [{"width": side, "height": other} for side in sides for other in (1, 362, 0)]
    halves = {side: (side * side).bit_length() - 1 for side in sides if side}
    expected = Counter(halves[s] * 1000 + halves[o] for s in sides for o in (1, 362) if s)
    with counted([], rows, ["width", "height"], SAMPLE_FACETS) as connection:
        assert read_numbers(connection, "dimensions") == expected
        assert list(read_numbers(connection, "dimensions")) == sorted(expected)


def test_numbers_count_samples_only() -> None:
    here, there = (
        {"decimalLatitude": "10", "decimalLongitude": "10"},
        {"decimalLatitude": "-10", "decimalLongitude": "9"},
    )
    with counted([here, there, there], [there], list(here), SAMPLE_FACETS) as connection:
        assert list(read_numbers(connection, "cell").values()) == [1]


def test_names_and_values_with_quotes_are_not_executed_as_sql() -> None:
    mischief = "'; DROP TABLE counted; --"
    rows = [{'a"b': mischief}, {'a"b': "NULL"}, {'a"b': None}]
    of = {mischief: Facet(('a"b',), trim('a"b'))}
    with counted(rows, rows, ['a"b'], of) as connection:
        assert read_breakdown(connection, mischief, 1) == Breakdown(
            (ValueCount(mischief, 1, 1),), ValueCount("", 1, 1), 1, ValueCount("", 1, 1)
        )
