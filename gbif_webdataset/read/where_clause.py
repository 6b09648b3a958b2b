"""The parameter `where`: a user's SQL condition that can read the columns of the occurrences and nothing else."""

import contextlib
import difflib
import functools
import json
import re
from collections.abc import Iterator, Sequence
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
EVALUATE = "SELECT coalesce(({}\n), false) AS is_true FROM occurrence"
CLOCKS = {"current_timestamp", "current_localtime", "current_localtimestamp"}  # DuckDB lists these as CONSISTENT
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


class WhereClause:
    """A condition on the occurrences. `columns` are those that it reads.

    Raises:
        ParameterError: the text is not a condition, or names a column that is not one of `columns`.
    """

    def __init__(self, text: str, columns: Sequence[str]) -> None:
        self.text = text
        with contextlib.closing(_connect_locked()) as connection:
            tree = _parse(connection, text)
            by_lower_case = {name.lower(): name for name in columns}
            self.columns = tuple(sorted({_match_column(text, n, by_lower_case) for n in _find_columns(text, tree)}))
            types = ", ".join(f"{quote_name(name)} VARCHAR" for name in columns)
            connection.execute(f"CREATE TABLE occurrence ({types})")
            try:
                connection.execute(EVALUATE.format(text))
            except duckdb.Error as error:
                hint = self._suggest_cast() if "explicit" in str(error) else "give an SQL condition on the occurrences"
                raise _make_error(text, f"is not a condition ({_first_line(error)}); {hint}") from error

    def evaluate(self, rows: pa.Table) -> pa.Array:
        """For each row whether the condition is true; false for null. `rows` has the columns in `columns`."""
        with contextlib.closing(_connect_locked()) as connection:
            connection.register("occurrence", rows)
            try:
                query = connection.sql(EVALUATE.format(self.text))
                return query.to_arrow_table().column("is_true").combine_chunks()
            except duckdb.Error as error:
                raise _make_error(
                    self.text, f"fails on the archive's text ({_first_line(error)}); {self._suggest_cast()}"
                ) from error

    def _suggest_cast(self) -> str:
        """What to do if a text is compared with a number, with the condition in its correct form if it is simple."""
        corrected = NUMERIC_COMPARISON.sub(r"TRY_CAST(\1 AS DOUBLE) \2", self.text)
        return TEXT_HINT.format(corrected if corrected != self.text else EXAMPLE)


def _connect_locked() -> duckdb.DuckDBPyConnection:
    """A database without access to files, the network and settings."""
    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _make_error(text: str, problem: str) -> ParameterError:
    return ParameterError(f'--ReadArchive-where "{text}": {problem}')


def _parse(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    """DuckDB's syntax tree of a condition."""
    query = f"SELECT 1 FROM occurrence WHERE ({text}\n)"
    [(serialized,)] = connection.execute("SELECT json_serialize_sql($1)", [query]).fetchall()
    tree: dict[str, Any] = json.loads(serialized)
    if tree["error"]:
        problem = _first_line(tree.get("error_message", ""))
        raise _make_error(text, f"is not an SQL condition ({problem}); write what follows WHERE in SQL")
    statements = tree["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    if node.get("type") != "SELECT_NODE" or node["from_table"]["type"] != "BASE_TABLE" or any(map(node.get, CLAUSES)):
        raise _make_error(text, "is more than a condition; write only what follows WHERE in SQL")
    return node["where_clause"]  # type: ignore[no-any-return]


def _find_columns(text: str, tree: Any) -> Iterator[str]:
    """The columns that an expression names.

    Raises:
        ParameterError: it reads something else.
    """
    if isinstance(tree, dict):
        kind = tree.get("class")
        if kind in FORBIDDEN:
            raise _make_error(text, f"{FORBIDDEN[kind]} cannot be used; compare only columns and values")
        if kind == "FUNCTION" and tree["function_name"].lower() not in _list_pure_functions():
            raise _make_error(
                text,
                f"the function {tree['function_name']} cannot be used, because it reads more than columns; remove it",
            )
        if kind == "COLUMN_REF":
            yield tree["column_names"][-1]
        for value in tree.values():
            yield from _find_columns(text, value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _find_columns(text, value)


@functools.cache
def _list_pure_functions() -> frozenset[str]:
    """DuckDB's functions whose value depends on their arguments alone."""
    with contextlib.closing(_connect_locked()) as connection:
        functions = connection.execute(
            "SELECT function_name, function_type, coalesce(stability, 'CONSISTENT'), coalesce(macro_definition, '') "
            "FROM duckdb_functions()"
        ).fetchall()
    impure = CLOCKS | {name for name, _, stability, _ in functions if stability != "CONSISTENT"}
    macros = {name: set(re.findall(r"\w+", definition)) for name, kind, _, definition in functions if kind == "macro"}
    while found := {name for name, words in macros.items() if words & impure} - impure:
        impure |= found
    return frozenset(name for name, kind, _, _ in functions if kind in ("scalar", "macro")) - impure


def _match_column(text: str, name: str, by_lower_case: dict[str, str]) -> str:
    """The column with this name in any case."""
    if name.lower() not in by_lower_case:
        similar = difflib.get_close_matches(name, by_lower_case.values(), 3, 0.5)
        hint = f"did you mean {' or '.join(similar)}?" if similar else "write texts in single quotes"
        raise _make_error(text, f"the occurrences have no column {name}; {hint}")
    return by_lower_case[name.lower()]


def _first_line(error: object) -> str:
    return str(error).split("\n", 1)[0]
