"""The parameters `where` and `media_where`: SQL conditions that can read the columns of a table and nothing else.

Functions are those of an allow-list whose result is hardly longer than their arguments, so that a condition cannot use
much time or memory. For functions that lengthen texts, such as repeat, the length of the result is estimated.
"""

import contextlib
import difflib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.storage.tables import quote_name

FORBIDDEN = {
    "SUBQUERY": "a subquery", "WINDOW": "a window function", "PARAMETER": "a parameter", "LAMBDA": "a lambda",
    "STAR": "a star", "POSITIONAL_REFERENCE": "a column's number",
}  # fmt: skip
"""Classes of SQL expressions that read more than the columns of a row."""
EVALUATE = "SELECT coalesce(({}\n), false) AS is_true FROM {}"
MAX_DEPTH, MAX_TEXT_BYTES, COLUMN_BYTES = 100, 1_000_000, 1_000
"""Levels of parentheses; bytes of a text that a function makes, if a column has COLUMN_BYTES."""
FUNCTION_NAMES = """
+ - * / // % ^ ** & | ~ abs ceil ceiling exp floor greatest least ln log log10 log2 mod pow power round sign sqrt
trunc isfinite isinf isnan
|| ascii char_length character_length chr concat concat_ws contains ends_with hash instr lcase left length
like_escape ilike_escape lower ltrim md5 nfc_normalize not_ilike_escape not_like_escape ord position prefix reverse
right rtrim sha256 split split_part starts_with str_split string_split strip_accents strlen strpos substr substring
suffix trim ucase unicode upper ^@ ~~ !~~ ~~* !~~* ~~~
regexp_extract regexp_full_match regexp_matches
array_contains array_extract array_length array_slice len list_contains list_extract list_has list_slice
coalesce if ifnull nullif
date_diff date_part date_trunc datediff datepart datetrunc day dayname dayofmonth dayofweek dayofyear decade
epoch hour last_day make_date minute month monthname quarter second strptime try_strptime week weekday year
lpad regexp_replace repeat replace rpad strftime translate
"""
PURE_FUNCTIONS = frozenset(FUNCTION_NAMES.split())
"""Functions whose value depends on their arguments alone. The last line has those that lengthen texts."""
CLAUSES = ("modifiers", "group_expressions", "group_sets", "having", "qualify", "sample")
NUMBER = r"-?\d+(?:\.\d+)?"
NUMERIC_COMPARISON = re.compile(
    rf"""(?<![\w.'"]) ( [a-z_]\w* | "[^"]+" ) \s*
    ( (?: <= | >= | <> | != | = | < | > ) \s* {NUMBER} | BETWEEN \s+ {NUMBER} \s+ AND \s+ {NUMBER} ) (?![\w.'])""",
    re.IGNORECASE | re.VERBOSE,
)
"""A column compared with a number, such as `year >= 2015`: the column, then the comparison."""
TEXT_HINT = "every column is text, so compare with a text in single quotes, or as a number: {}"
EXAMPLE = "TRY_CAST(year AS DOUBLE) >= 2015"


@dataclass(frozen=True)
class Subject:
    """What a condition is about: the parameter that gives it, the SQL name of the table, and the rows in words."""

    parameter: str
    table: str
    rows: str


OCCURRENCES = Subject("--ReadArchive-where", "occurrence", "occurrences")
MEDIA_ROWS = Subject("--ReadArchive-media-where", "medium", "media")


class WhereClause:
    """A condition on the rows of a table. `columns` are those that it reads.

    Raises:
        ParameterError: the text is not a condition, or names a column that is not one of `columns`.
    """

    def __init__(self, text: str, columns: Sequence[str], subject: Subject = OCCURRENCES) -> None:
        self.text, self._subject = text, subject
        with contextlib.closing(_connect_locked()) as connection:
            tree = self._parse(connection)
            by_lower_case = {name.lower(): name for name in columns}
            named = {self._match_column(name, by_lower_case) for name in self._find_columns(tree)}
            self.columns = tuple(sorted(named))
            if estimate_bytes(tree) > MAX_TEXT_BYTES:
                raise self._make_error("a function in it may make a text of more than 1 MB; give it shorter texts")
            types = ", ".join(f"{quote_name(name)} VARCHAR" for name in columns)
            connection.execute(f"CREATE TABLE {subject.table} ({types})")
            try:
                connection.execute(EVALUATE.format(text, subject.table))
            except duckdb.Error as error:
                hint = (
                    self._suggest_cast() if "explicit" in str(error) else f"give an SQL condition on the {subject.rows}"
                )
                raise self._make_error(f"is not a condition ({_first_line(error)}); {hint}") from error

    def evaluate(self, rows: pa.Table) -> pa.Array:
        """For each row whether the condition is true; false for null. `rows` has the columns in `columns`."""
        with contextlib.closing(_connect_locked()) as connection:
            connection.register(self._subject.table, rows)
            try:
                query = connection.sql(EVALUATE.format(self.text, self._subject.table))
                return query.to_arrow_table().column("is_true").combine_chunks()
            except duckdb.Error as error:
                raise self._make_error(
                    f"cannot be computed for a text of the archive ({_first_line(error)}); {self._suggest_cast()}"
                ) from error

    def _suggest_cast(self) -> str:
        """What to do if a text is compared with a number, with the condition in its correct form if it is simple."""
        corrected = NUMERIC_COMPARISON.sub(r"TRY_CAST(\1 AS DOUBLE) \2", self.text)
        return TEXT_HINT.format(corrected if corrected != self.text else EXAMPLE)

    def _make_error(self, problem: str) -> ParameterError:
        return ParameterError(f'{self._subject.parameter} "{self.text}": {problem}')

    def _parse(self, connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        """DuckDB's syntax tree of the condition."""
        query = f"SELECT 1 FROM {self._subject.table} WHERE ({self.text}\n)"
        if not self.text.strip():
            raise self._make_error("is not a condition, because it is empty; give an SQL condition")
        try:
            [(serialized,)] = connection.execute("SELECT json_serialize_sql($1)", [query]).fetchall()
            tree: dict[str, Any] = json.loads(serialized)
        except (duckdb.Error, RecursionError) as error:
            raise self._make_error(f"has too many levels of parentheses ({_first_line(error)}); simplify it") from error
        if tree["error"]:
            problem = _first_line(tree.get("error_message", ""))
            raise self._make_error(f"is not an SQL condition ({problem}); write what follows WHERE in SQL")
        statements = tree["statements"]
        node = statements[0]["node"] if len(statements) == 1 else {}
        is_select = node.get("type") == "SELECT_NODE" and node["from_table"]["type"] == "BASE_TABLE"
        if not is_select or any(map(node.get, CLAUSES)):
            raise self._make_error("is more than a condition; write only what follows WHERE in SQL")
        return node["where_clause"]  # type: ignore[no-any-return]

    def _find_columns(self, tree: Any, depth: int = 0) -> Iterator[str]:
        """The columns that an expression names.

        Raises:
            ParameterError: it reads something else, or may take much time or memory.
        """
        if depth > 4 * MAX_DEPTH:
            raise self._make_error(f"has more than {MAX_DEPTH} levels of parentheses; simplify it")
        if isinstance(tree, dict):
            self._check_expression(tree)
            if tree.get("class") == "COLUMN_REF":
                yield tree["column_names"][-1]
            tree = list(tree.values())
        if isinstance(tree, list):
            for value in tree:
                yield from self._find_columns(value, depth + 1)

    def _check_expression(self, tree: dict[str, Any]) -> None:
        """Raise ParameterError for an expression that reads more than columns, or may make a long text."""
        kind = tree.get("class")
        for part in (tree, *(_list_parts(tree) if kind == "FUNCTION" else ())):
            if part.get("class") in FORBIDDEN:
                part_name = FORBIDDEN[part["class"]]
                raise self._make_error(f"{part_name} cannot be used; compare only columns and values")
        if kind == "FUNCTION":
            name = tree["function_name"].lower()
            if name not in PURE_FUNCTIONS:
                raise self._make_error(
                    f"the function {name} cannot be used; use functions of a text, number or date, such as lower, "
                    "regexp_matches, abs or year"
                )

    def _match_column(self, name: str, by_lower_case: dict[str, str]) -> str:
        """The column with this name in any case."""
        if name.lower() not in by_lower_case:
            similar = difflib.get_close_matches(name, by_lower_case.values(), 3, 0.5)
            hint = f"did you mean {' or '.join(similar)}?" if similar else "write texts in single quotes"
            raise self._make_error(f"the {self._subject.rows} have no column {name}; {hint}")
        return by_lower_case[name.lower()]


def estimate_bytes(tree: dict[str, Any]) -> float:
    """The bytes of the longest text that an expression or a part of it may make. Columns have COLUMN_BYTES."""
    kind, parts = tree["class"], _list_parts(tree)
    if kind == "CONSTANT":
        return len(_read_constant(tree).encode())
    if kind == "COLUMN_REF":
        return COLUMN_BYTES
    sizes = [estimate_bytes(part) for part in parts]
    name = tree.get("function_name", "").lower()
    if len(parts) > 1 and name in ("repeat", "lpad", "rpad"):
        count = _read_constant(parts[1])
        length = int(count) if re.fullmatch(r"\d{1,18}", count) else math.inf
        return max(length, 1) * max(*sizes, 1) if name == "repeat" else length + sum(sizes)
    if len(parts) > 1 and name in ("replace", "regexp_replace", "concat_ws", "strftime"):
        return (1 + sizes[0]) * max(*sizes[1:], len(sizes))
    return sum(sizes) + 64


def _list_parts(tree: Any) -> list[dict[str, Any]]:
    """The expressions that an expression is directly made of."""
    values = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    parts: list[dict[str, Any]] = []
    for value in values:
        is_expression = isinstance(value, dict) and "class" in value
        parts += [value] if is_expression else _list_parts(value)
    return parts


def _read_constant(tree: dict[str, Any]) -> str:
    """The text of a constant; empty for other expressions. Versions of DuckDB write constants in two ways."""
    if tree["class"] != "CONSTANT":
        return ""
    return str(tree["literal"].get("text", "") if "literal" in tree else tree["value"].get("value", ""))


def _connect_locked() -> duckdb.DuckDBPyConnection:
    """A database without access to files, the network and settings."""
    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _first_line(error: object) -> str:
    return str(error).split("\n", 1)[0]
