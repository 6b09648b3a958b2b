"""Facets: what DuckDB counts in one pass is what a plain count finds, and everything adds up."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbif_webdataset.report import facets
from gbif_webdataset.report.facets import FACETS, LONGEST, OF_SAMPLES, Bar, Breakdown, Facet, breakdown, count, numbers
from tests.support.published import HOSTILE

Row = Mapping[str, str | int | None]
NUMBERS = ("width", "height", "file_size")
HOSTS = (
    "https://photos.example/1.jpg", "HTTP://Photos.EXAMPLE/2.jpg", "https://photos.example:8443/1.jpg",
    "https://ada:secret@photos.example/1.jpg", "https://a@b@photos.example?x", "http://photos.example#@elsewhere",
    "http://[2001:db8::1]:80/x", "http://photos.example", "https://", "ftp://photos.example/1", "photos.example/1", "",
    "https://münchen.example/ä", "see https://photos.example/1",
)  # fmt: skip
WORDS = (*HOSTILE, "a", "A", " a ", "b", "", " ", "x" * LONGEST + "1", "x" * LONGEST + "2", "ж" * 300, "NULL", "f0")
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
    of: Mapping[str, Facet] = FACETS,
    of_samples: Collection[str] = (),
) -> duckdb.DuckDBPyConnection:
    """A database in which these rows are counted; the samples have the columns `of_samples` besides."""
    connection = duckdb.connect()
    connection.register("manifest", table(manifest, columns))
    connection.register("samples", table(samples, [*columns, *of_samples]))
    count(connection, dict(of), "manifest", "samples")
    return connection


def told(name: str, row: Row) -> str | None:
    """The value of a facet, in plain Python."""
    texts = {column: str(row.get(column) or "") for column in COLUMNS}
    if name == "host":
        found = re.match("https?://(?:[^/?#]*@)?([^/?#]*)", texts["identifier"], re.IGNORECASE)
        value = found[1].lower() if found else ""
    elif name in ("year", "month"):
        pattern, least, most = ("([0-9]{4})", 1600, 2199) if name == "year" else ("[0-9]{4}-([0-9]{2})", 1, 12)
        of_date = re.match(pattern, texts["eventDate"])
        numbers = [int(t) for t in (texts[name], of_date[1] if of_date else "") if is_number(t)]
        value = next((str(number) for number in numbers if least <= number <= most), "")
    else:
        column = {
            "dataset": "datasetKey",
            "licence": "licenseCode",
            "country": "countryCode",
            "life stage": "lifeStage",
        }
        value = texts[column[name]].strip(" ")
        value = value.upper() if name == "country" else value.lower() if name == "life stage" else value
    return value[:LONGEST] or None


def is_number(text: str) -> bool:
    return bool(re.fullmatch(" *-?[0-9]{1,9} *", text))


def recounted(name: str, manifest: Sequence[Row], samples: Sequence[Row], most: int) -> Breakdown:
    """A breakdown, in plain Python."""
    images, kept = (Counter(told(name, row) for row in rows) for rows in (manifest, samples))
    order = sorted((v for v in images | kept if v is not None), key=lambda v: (-images[v], -kept[v], v))
    bars = tuple(Bar(value, images[value], kept[value]) for value in order[:most])
    others = Bar("", sum(images[v] for v in order[most:]), sum(kept[v] for v in order[most:]))
    return Breakdown(bars, others, len(order[most:]), Bar("", images[None], kept[None]))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_count_in_one_pass_is_a_plain_count(data: st.DataObject) -> None:
    manifest = data.draw(st.lists(ROW, min_size=1, max_size=60))
    samples = data.draw(st.lists(st.sampled_from(manifest), max_size=40))
    columns = [name for name in COLUMNS if name in data.draw(st.sets(st.sampled_from(COLUMNS), min_size=4))]
    most = data.draw(st.integers(1, 6))
    manifest, samples = ([{name: row[name] for name in columns} for row in rows] for rows in (manifest, samples))
    with counted(manifest, samples, columns) as connection:
        for name, facet in FACETS.items():
            found = breakdown(connection, name, most)
            if (any if facet.any_of else all)(column in columns for column in facet.columns):
                assert found == recounted(name, manifest, samples, most), name
                assert (found.images, found.samples) == (len(manifest), len(samples))
            else:
                assert found == Breakdown()


def test_the_sums_hold_of_many_values_too() -> None:
    manifest = [
        {"lifeStage": f"stage {n % 977 * n % 131}", "datasetKey": f"{n % 29}" if n % 7 else None} for n in range(9_000)
    ]
    samples = manifest[::3]
    with counted(manifest, samples, ["lifeStage", "datasetKey"]) as connection:
        for name in ("life stage", "dataset"):
            found = breakdown(connection, name, FACETS[name].most)
            assert found == recounted(name, manifest, samples, FACETS[name].most)
            assert len(found.bars) == FACETS[name].most
            assert found.other_values > 0
            assert (found.images, found.samples) == (9_000, 3_000)


@pytest.mark.parametrize("url", HOSTS)
def test_a_host_is_told_in_lower_case_with_its_port_and_without_its_user(url: str) -> None:
    told_of = {
        "https://photos.example:8443/1.jpg": "photos.example:8443", "http://[2001:db8::1]:80/x": "[2001:db8::1]:80",
        "https://münchen.example/ä": "münchen.example",
    }  # fmt: skip
    none = {"https://", "ftp://photos.example/1", "photos.example/1", "", "see https://photos.example/1"}
    with counted([{"identifier": url}], [], ["identifier"]) as connection:
        found = breakdown(connection, "host", 12)
    host = told_of.get(url, "photos.example")
    assert found == (Breakdown(missing=Bar("", 1, 0)) if url in none else Breakdown((Bar(host, 1, 0),)))


@pytest.mark.parametrize(
    ("row", "year", "month"),
    [
        ({"year": "1999", "month": "2", "eventDate": "2001-05-06"}, "1999", "2"),
        ({"year": "", "month": None, "eventDate": "2001-05-06"}, "2001", "5"),
        ({"eventDate": "2001-05-06/2001-06-01"}, "2001", "5"),
        ({"eventDate": "2001"}, "2001", None),
        ({"year": "1999"}, "1999", None),
        ({"month": "09"}, None, "9"),
        ({"year": "99", "month": "0"}, None, None),
        ({"year": "0", "month": "13", "eventDate": "2001-05-06"}, "2001", "5"),
        ({"eventDate": "May 2001"}, None, None),
    ],
)
def test_a_year_or_month_is_that_of_its_column_or_else_of_the_date(row: Row, year: str, month: str) -> None:
    whole = {column: row.get(column) for column in ("year", "month", "eventDate")}
    for columns in (tuple(row), tuple(whole)):
        with counted([row], [row], columns) as connection:
            for name, value in (("year", year), ("month", month)):
                found = [bar.value for bar in breakdown(connection, name, 9).bars]
                assert found == ([value] if value else [])


def test_values_that_are_alike_in_their_first_letters_are_one() -> None:
    long = "z" * LONGEST
    rows = [{"lifeStage": long + end} for end in ("", "a", "b" * 1000)] + [{"lifeStage": long[1:]}]
    with counted(rows, rows[:1], ["lifeStage"]) as connection:
        assert breakdown(connection, "life stage", 9).bars == (Bar(long, 3, 1), Bar(long[1:], 1, 0))


def test_a_column_of_the_samples_alone_is_counted_of_them_alone() -> None:
    rows = [{"identifier": HOSTS[0], "width": 800, "height": 600, "file_size": 123_456}] * 3
    with counted(rows, rows[:2], ["identifier"], {**FACETS, **OF_SAMPLES}, NUMBERS) as connection:
        assert breakdown(connection, "host", 9).bars == (Bar("photos.example", 3, 2),)
        assert numbers(connection, "size") == {19018: 2}
        assert numbers(connection, "weight") == {100_000: 2}
        assert numbers(connection, "cell") == {}


def test_without_any_column_nothing_is_counted() -> None:
    with counted([{"other": "1"}], [{"other": "1"}], ["other"]) as connection:
        assert connection.execute("SELECT count(*) FROM counted").fetchone() == (0,)
        assert breakdown(connection, "host", 9) == Breakdown()
        assert numbers(connection, "size") == {}


def test_of_equally_frequent_values_the_first_by_its_text_is_shown() -> None:
    rows = [{"lifeStage": stage} for stage in ("pupa", "egg", "larva", "adult", "adult", "imago")]
    with counted(rows, [rows[2]], ["lifeStage"]) as connection:
        assert [bar.value for bar in breakdown(connection, "life stage", 3).bars] == ["adult", "larva", "egg"]


def test_weights_are_rounded_down_to_one_two_or_five_and_zeros() -> None:
    bounds = [digit * 10**power for power in range(11) for digit in (1, 2, 5)]
    sizes = sorted({bound + off for bound in bounds for off in (-1, 0, 1)} | {3, 7, 999, 1_234_567})
    rows = [{"file_size": size} for size in (*sizes, None, -1)]
    expected = Counter(max(bound for bound in bounds if bound <= size) for size in sizes if size)
    with counted([], rows, ["file_size"], OF_SAMPLES) as connection:
        assert numbers(connection, "weight") == expected


def test_sizes_are_half_octaves_of_both_sides() -> None:
    sides = [1, 2, 3, 4, 5, 6, 255, 256, 257, 361, 362, 363, 511, 512, 4095, 4096, 65_500, 0, None]
    rows = [{"width": side, "height": other} for side in sides for other in (1, 362, 0)]
    halves = {side: (side * side).bit_length() - 1 for side in sides if side}
    expected = Counter(halves[s] * 1000 + halves[o] for s in sides for o in (1, 362) if s)
    with counted([], rows, ["width", "height"], OF_SAMPLES) as connection:
        assert numbers(connection, "size") == expected
        assert list(numbers(connection, "size")) == sorted(expected)


def test_numbers_are_those_of_samples_and_of_no_image_that_was_lost() -> None:
    here, there = (
        {"decimalLatitude": "10", "decimalLongitude": "10"},
        {"decimalLatitude": "-10", "decimalLongitude": "9"},
    )
    with counted([here, there, there], [there], list(here), OF_SAMPLES) as connection:
        assert list(numbers(connection, "cell").values()) == [1]


def test_names_of_facets_and_values_are_texts_and_no_sql() -> None:
    mischief = "'; DROP TABLE counted; --"
    rows = [{'a"b': mischief}, {'a"b': "NULL"}, {'a"b': None}]
    of = {mischief: Facet(('a"b',), facets._said('a"b'))}
    with counted(rows, rows, ['a"b'], of) as connection:
        assert breakdown(connection, mischief, 1) == Breakdown((Bar(mischief, 1, 1),), Bar("", 1, 1), 1, Bar("", 1, 1))
