import re
import time

import duckdb
import pyarrow as pa
import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.read.where_clause import MEDIA_ROWS, PURE_FUNCTIONS, WhereClause
from tests.support.archives import find_real_archive, read_zip

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


def evaluate(text: str) -> list[bool]:
    condition = WhereClause(text, COLUMNS)
    found: list[bool] = condition.evaluate(ROWS.select(condition.columns)).to_pylist()
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
def test_a_condition_selects_the_rows_for_which_it_is_true_and_not_null(text: str, expected: str) -> None:
    assert "".join("1" if is_true else "." for is_true in evaluate(text)) == expected


def test_a_condition_lists_the_columns_that_it_names() -> None:
    assert WhereClause("YEAR > '2' AND occurrence.class = 'Aves' OR year < '1'", COLUMNS).columns == ("class", "year")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("read_text('/etc/passwd') = ''", "the function read_text cannot be used"),
        ("read_csv('/etc/passwd') = ''", "the function read_csv cannot be used"),
        ("getenv('HOME') = ''", "the function getenv cannot be used"),
        ("current_setting('home_directory') = ''", "the function current_setting cannot be used"),
        ("getvariable('x') = ''", "the function getvariable cannot be used"),
        ("year = current_database()", "the function current_database cannot be used"),
        ("random() > 0.5", "the function random cannot be used"),
        ("now() > '2020-01-01'", "the function now cannot be used"),
        ("current_localtime() IS NULL", "cannot be used"),
        ("pg_conf_load_time() IS NULL", "the function pg_conf_load_time cannot be used"),
        ("pg_sleep(1) IS NULL", "the function pg_sleep cannot be used"),
        ("nextval('x') = 1", "the function nextval cannot be used"),
        ("count(*) > 1", "cannot be used"),
        ("row_number() OVER () = 1", "a window function cannot be used"),
        ("year = (SELECT min(year) FROM occurrence)", "a subquery cannot be used"),
        ("EXISTS (FROM '/etc/passwd')", "a subquery cannot be used"),
        ("year IN (FROM duckdb_settings() SELECT name)", "a subquery cannot be used"),
        ("list_filter([year], x -> true) IS NULL", "a lambda cannot be used"),
        ("year = ?", "a parameter cannot be used"),
        ("year = $1", "a parameter cannot be used"),
        ("#1 = 'x'", "a column's number cannot be used"),
        ("COLUMNS(*) = 'x'", "a star cannot be used"),
        ("true) GROUP BY (year", "more than a condition"),
        ("true) HAVING (true", "more than a condition"),
        ("true) QUALIFY (true", "more than a condition"),
        ("true) ORDER BY (year", "more than a condition"),
        ("true) LIMIT (1", "more than a condition"),
        ("true) USING SAMPLE (1", "more than a condition"),
        ("true) UNION SELECT 1 WHERE (true", "more than a condition"),
        ("true) WINDOW w AS (PARTITION BY year", "is not a condition"),
        ("true); ATTACH 'x.db'; SELECT (1", "not an SQL condition"),
        ("true); COPY occurrence TO '/tmp/x'; SELECT (1", "not an SQL condition|more than a condition"),
        ("year = '2015'; DROP TABLE occurrence", "not an SQL condition"),
        ("/* year", "not an SQL condition"),
        ("year = '2015", "not an SQL condition"),
        ("(year = '2015'", "not an SQL condition"),
        ("   ", "is not a condition"),
        ("year", "is not a condition"),
        ("year > 2000", "is not a condition.*every column is text"),
        ("yaer = '2015'", "no column yaer; did you mean year?"),
        ("year = Adult", "no column Adult"),
        ("rowid = 1", "no column rowid"),
        ("current_user = 'x'", "no column current_user"),
    ],
)
def test_a_text_that_reads_more_than_columns_or_is_not_a_condition_is_one_sentence(text: str, problem: str) -> None:
    with pytest.raises(ParameterError, match=f'^--ReadArchive-where "{re.escape(text)}": .*{problem}') as raised:
        WhereClause(text, COLUMNS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["year::DATE > '2000-01-01'", "decimalLatitude::DOUBLE < 0", "year = 2015"])
def test_a_cast_that_fails_on_the_archives_text_is_an_error_with_a_cast_that_works(text: str) -> None:
    with pytest.raises(
        ParameterError,
        match=r"^--ReadArchive-where .* cannot be computed for a text of the archive .*; every column is text, .*TRY_CAST",
    ):
        evaluate(text)


@pytest.mark.parametrize(
    ("text", "corrected"),
    [
        ("year >= 2015", "TRY_CAST(year AS DOUBLE) >= 2015"),
        (
            "2000 < 5 AND \"order\" = 'Aves' AND YEAR<2015",
            "2000 < 5 AND \"order\" = 'Aves' AND TRY_CAST(YEAR AS DOUBLE) <2015",
        ),
        ("decimalLatitude < -0.5", "TRY_CAST(decimalLatitude AS DOUBLE) < -0.5"),
        ("year BETWEEN 2000 AND 2010", "TRY_CAST(year AS DOUBLE) BETWEEN 2000 AND 2010"),
        ("abs(year) > 1", "TRY_CAST(year AS DOUBLE) >= 2015"),
    ],
)
def test_a_column_compared_with_a_number_is_an_error_that_gives_the_correct_form(text: str, corrected: str) -> None:
    with pytest.raises(ParameterError) as raised:
        WhereClause(text, COLUMNS)
    assert str(raised.value).endswith(
        f"; every column is text, so compare with a text in single quotes, or as a number: {corrected}"
    )
    assert len(evaluate(corrected)) == ROWS.num_rows


def test_a_condition_may_name_every_column_of_a_real_download() -> None:
    members = read_zip(find_real_archive("gbif-2024-dl.npd2js.zip"))
    names = members["occurrence.txt"].decode().split("\n", 1)[0].split("\t")
    assert len(names) == 223
    text = " OR ".join(f"\"{name}\" = 'x'" for name in names)
    assert WhereClause(text, names).columns == tuple(sorted(names))


@pytest.mark.parametrize(
    "text",
    [
        "repeat('a', 4000000000) = year",
        "repeat(year, 2000 * 2000 * 2000) = year",
        "repeat(repeat(repeat('aaaa', 1000), 1000), 1000) = year",
        "lpad(year, 4000000000, 'x') = year",
        "rpad('a', 1 + 3999999999, 'x') = year",
        "repeat('a', try_cast(year AS BIGINT)) = 'x'",
        "replace(replace(replace(year, 'a', repeat('a', 999)), 'a', repeat('a', 999)), 'a', repeat('a', 999)) = year",
        "regexp_replace(repeat('a', 99999), '.', repeat('b', 99999), 'g') = year",
        "len(range(4000000000)) = 1",
        "generate_series(1, 4000000000) IS NULL",
        "list_sum(range(4000000000)) = 1",
        "format('{:4000000000}', year) = 'x'",
        "printf('%4000000000d', 1) = 'x'",
        "list_resize([1], 4000000000) IS NULL",
        "array_to_string(range(1000000000), 'x') = year",
        "bitstring('1', 4000000000) IS NULL",
        "factorial(100000) = 1",
        "levenshtein(year, 'x') = 1",
    ],
)
def test_a_condition_that_may_take_much_memory_or_time_is_an_error_at_once(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ParameterError, match=r"cannot be used|may make a text of more than 1 MB"):
        WhereClause(text, COLUMNS)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "text",
    [
        "NOT (" * 60 + "year = '1'" + ")" * 60,
        "year = '1' AND " + "abs(" * 400 + "1" + ")" * 400 + " = 1",
        "(" * 2000 + "true" + ")" * 2000,
    ],
)
def test_a_condition_with_many_levels_is_an_error_or_evaluated(text: str) -> None:
    try:
        assert len(evaluate(text)) == ROWS.num_rows
    except ParameterError as error:
        assert re.search("levels of parentheses|expression depth|simplify", str(error))


def test_functions_of_the_list_exist_and_depend_on_their_arguments_alone() -> None:
    with duckdb.connect() as connection:
        query = "SELECT function_name, bool_or(stability = 'VOLATILE') FROM duckdb_functions() GROUP BY 1"
        volatile = dict(connection.execute(query).fetchall())
    syntax = {"coalesce", "if", "ifnull", "position"}
    assert PURE_FUNCTIONS - volatile.keys() <= syntax
    assert not [name for name in PURE_FUNCTIONS if volatile.get(name)]


def test_texts_of_ordinary_length_may_be_lengthened() -> None:
    assert evaluate("lpad(year, 6, '0') = '002015' AND replace(year, '20', 'twenty') = 'twenty15'")[0]
    assert evaluate("concat_ws('-', year, lifeStage) = '2015-Adult' AND year || 'x' = '2015x'")[0]


def test_a_condition_on_media_is_named_by_its_own_parameter() -> None:
    assert WhereClause("format = 'image/png'", ("format", "title"), MEDIA_ROWS).columns == ("format",)
    with pytest.raises(ParameterError, match=r"^--ReadArchive-media-where .* the media have no column titel; did you"):
        WhereClause("titel = 'x'", ("format", "title"), MEDIA_ROWS)
