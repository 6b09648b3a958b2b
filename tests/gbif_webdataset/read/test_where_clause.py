from pathlib import Path

import pyarrow as pa
import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.read import containers
from gbif_webdataset.read.where_clause import Condition

COLUMNS = ("year", "basisOfRecord", "order", "class", "decimalLatitude", "lifeStage")
ROWS = pa.table(
    {
        "year": ["2015", None, "x", "1999"],
        "basisOfRecord": ["HUMAN_OBSERVATION", "HUMAN_OBSERVATION", None, "FOSSIL_SPECIMEN"],
        "order": ["Lepidoptera", "Aves", "", None],
        "class": ["Insecta", "Aves", "Aves", "it's"],
        "decimalLatitude": ["-3.5", "10", None, "abc"],
        "lifeStage": ["Adult", "Larva", "adult", None],
    },
    schema=pa.schema([(name, pa.string()) for name in COLUMNS]),
)


def holds(text: str) -> list[bool]:
    condition = Condition(text, COLUMNS)
    found: list[bool] = condition.holds(ROWS.select(condition.columns)).to_pylist()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("basisOfRecord = 'HUMAN_OBSERVATION' AND year >= '2015'", "1..."),
        ("YEAR = '2015'", "1..."),
        ("occurrence.year = '2015'", "1..."),
        ("\"order\" = 'Aves' OR class = 'it''s'", ".1.1"),
        ("year IS NULL", ".1.."),
        ("NOT (year = '2015')", "..11"),
        ("year IN ('2015', '1999')", "1..1"),
        ("year BETWEEN '1990' AND '2000'", "...1"),
        ("year LIKE '%9%'", "...1"),
        ("regexp_matches(year, '^[0-9]+$')", "1..1"),
        ("try_cast(decimalLatitude AS DOUBLE) < 0", "1..."),
        ("abs(try_cast(decimalLatitude AS DOUBLE)) < 5", "1..."),
        ("lower(lifeStage) = 'adult'", "1.1."),
        ("repeat(year, 2) = '19991999'", "...1"),
        ("coalesce(nullif(\"order\", ''), 'none') = 'none'", "..11"),
        ("CASE WHEN year = 'x' THEN true END", "..1."),
        ("year = '2015' -- the year", "1..."),
        ("year = '2015' /* the year */", "1..."),
        ("year = '2015'\n  OR year = 'x'", "1.1."),
        ("year = '2015; DROP TABLE occurrence'", "...."),
    ],
)
def test_a_condition_keeps_the_rows_for_which_it_is_true_and_null_is_not(text: str, expected: str) -> None:
    assert "".join("1" if held else "." for held in holds(text)) == expected


def test_only_the_columns_that_are_named_are_read() -> None:
    assert Condition("YEAR > '2' AND occurrence.class = 'Aves' OR year < '1'", COLUMNS).columns == ("class", "year")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("read_text('/etc/passwd') = ''", "the function read_text can't be used"),
        ("read_csv('/etc/passwd') = ''", "the function read_csv can't be used"),
        ("getenv('HOME') = ''", "the function getenv can't be used"),
        ("current_setting('home_directory') = ''", "the function current_setting can't be used"),
        ("getvariable('x') = ''", "the function getvariable can't be used"),
        ("year = current_database()", "the function current_database can't be used"),
        ("random() > 0.5", "the function random can't be used"),
        ("now() > '2020-01-01'", "the function now can't be used"),
        ("current_localtime() IS NULL", "can't be used"),
        ("pg_conf_load_time() IS NULL", "the function pg_conf_load_time can't be used"),
        ("pg_sleep(1) IS NULL", "the function pg_sleep can't be used"),
        ("nextval('x') = 1", "the function nextval can't be used"),
        ("count(*) > 1", "can't be used"),
        ("row_number() OVER () = 1", "a window function can't be used"),
        ("year = (SELECT min(year) FROM occurrence)", "a subquery can't be used"),
        ("EXISTS (FROM '/etc/passwd')", "a subquery can't be used"),
        ("year IN (FROM duckdb_settings() SELECT name)", "a subquery can't be used"),
        ("list_filter([year], x -> true) IS NULL", "a lambda can't be used"),
        ("year = ?", "a parameter can't be used"),
        ("year = $1", "a parameter can't be used"),
        ("#1 = 'x'", "a column's number can't be used"),
        ("COLUMNS(*) = 'x'", "a star can't be used"),
        ("true) GROUP BY (year", "more than a condition"),
        ("true) HAVING (true", "more than a condition"),
        ("true) QUALIFY (true", "more than a condition"),
        ("true) ORDER BY (year", "more than a condition"),
        ("true) LIMIT (1", "more than a condition"),
        ("true) USING SAMPLE (1", "more than a condition"),
        ("true) UNION SELECT 1 WHERE (true", "more than a condition"),
        ("true) WINDOW w AS (PARTITION BY year", "no condition"),
        ("true); ATTACH 'x.db'; SELECT (1", "no SQL condition"),
        ("true); COPY occurrence TO '/tmp/x'; SELECT (1", "no SQL condition|more than a condition"),
        ("year = '2015'; DROP TABLE occurrence", "no SQL condition"),
        ("/* year", "no SQL condition"),
        ("year = '2015", "no SQL condition"),
        ("(year = '2015'", "no SQL condition"),
        ("   ", "no condition"),
        ("year", "no condition"),
        ("year > 2000", "no condition.*cast"),
        ("yaer = '2015'", "no column yaer; did you mean year?"),
        ("year = Adult", "no column Adult"),
        ("rowid = 1", "no column rowid"),
        ("current_user = 'x'", "no column current_user"),
    ],
)
def test_what_reads_more_than_columns_or_is_no_condition_is_one_sentence(text: str, what: str) -> None:
    with pytest.raises(ParameterError, match=f"^where: .*{what}") as raised:
        Condition(text, COLUMNS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["year::DATE > '2000-01-01'", "decimalLatitude::DOUBLE < 0", "year = 2015"])
def test_a_cast_that_fails_on_the_archives_text_says_what_to_do(text: str) -> None:
    with pytest.raises(
        ParameterError, match=r"^where: .* fails on the archive's text: .*; every column is text, .*try_cast"
    ):
        holds(text)


def test_each_of_a_real_downloads_columns_may_be_named() -> None:
    archive = Path(__file__).parents[3].parent / "shared" / "archives" / "gbif-2024-dl.npd2js.zip"
    if not archive.exists():
        pytest.skip("the real archives (../shared/archives) are not here")
    with containers.opened(archive, 200) as files, files.open("occurrence.txt") as file:
        names = file.read().decode().split("\n", 1)[0].split("\t")
    assert len(names) == 223
    text = " OR ".join(f"\"{name}\" = 'x'" for name in names)
    assert Condition(text, names).columns == tuple(sorted(names))
