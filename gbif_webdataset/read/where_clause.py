"""`where`: a user's SQL condition over the columns of the occurrences, which reads those columns and nothing else."""

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

REFUSED = {
    "SUBQUERY": "a subquery", "WINDOW": "a window function", "PARAMETER": "a parameter", "LAMBDA": "a lambda",
    "STAR": "a star", "POSITIONAL_REFERENCE": "a column's number",
}  # fmt: skip
HOLDS = "SELECT coalesce(({}\n), false) AS holds FROM occurrence"
CLOCKS = {"current_timestamp", "current_localtime", "current_localtimestamp"}  # which DuckDB calls consistent
CLAUSES = ("modifiers", "group_expressions", "group_sets", "having", "qualify", "sample")


class Condition:
    """A condition on occurrences. Raises ParameterError where it isn't one, or names a column that isn't there."""

    def __init__(self, text: str, columns: Sequence[str]) -> None:
        self.text = text
        with contextlib.closing(_locked()) as connection:
            tree = _parsed(connection, text)
            by_lower = {name.lower(): name for name in columns}
            self.columns = tuple(sorted({_known(name, by_lower) for name in _named(tree)}))
            typed = ", ".join(f"{quote_name(name)} VARCHAR" for name in columns)
            connection.execute(f"CREATE TABLE occurrence ({typed})")
            try:
                connection.execute(HOLDS.format(text))
            except duckdb.Error as error:
                raise ParameterError(f"where: {text!r} is no condition on the occurrences: {_first(error)}") from error

    def holds(self, rows: pa.Table) -> pa.Array:
        """For each row whether the condition holds; `rows` has `columns`."""
        with contextlib.closing(_locked()) as connection:
            connection.register("occurrence", rows)
            try:
                return connection.sql(HOLDS.format(self.text)).to_arrow_table().column("holds").combine_chunks()
            except duckdb.Error as error:
                raise ParameterError(
                    f"where: {self.text!r} fails on the archive's text: {_first(error)}; every column is text, so "
                    "compare with text or use try_cast"
                ) from error


def _locked() -> duckdb.DuckDBPyConnection:
    """A database that reaches no file, no network and no setting."""
    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _parsed(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    query = f"SELECT 1 FROM occurrence WHERE ({text}\n)"
    [(serialized,)] = connection.execute("SELECT json_serialize_sql($1)", [query]).fetchall()
    tree: dict[str, Any] = json.loads(serialized)
    if tree["error"]:
        raise ParameterError(f"where: {text!r} is no SQL condition: {_first(tree.get('error_message', ''))}")
    statements = tree["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    if node.get("type") != "SELECT_NODE" or node["from_table"]["type"] != "BASE_TABLE" or any(map(node.get, CLAUSES)):
        raise ParameterError(f"where: {text!r} is more than a condition; write what stands between WHERE and its end")
    return node["where_clause"]  # type: ignore[no-any-return]


def _named(tree: Any) -> Iterator[str]:
    """The columns that an expression names. Raises ParameterError for what reads anything else."""
    if isinstance(tree, dict):
        kind = tree.get("class")
        if kind in REFUSED:
            raise ParameterError(f"where: {REFUSED[kind]} can't be used in a condition; it reads only columns")
        if kind == "FUNCTION" and tree["function_name"].lower() not in _constant_functions():
            raise ParameterError(
                f"where: the function {tree['function_name']} can't be used; it reads more than columns"
            )
        if kind == "COLUMN_REF":
            yield tree["column_names"][-1]
        for value in tree.values():
            yield from _named(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _named(value)


@functools.cache
def _constant_functions() -> frozenset[str]:
    """DuckDB's functions whose value follows from their arguments alone."""
    with contextlib.closing(_locked()) as connection:
        listed = connection.execute(
            "SELECT function_name, function_type, coalesce(stability, 'CONSISTENT'), coalesce(macro_definition, '') "
            "FROM duckdb_functions()"
        ).fetchall()
    others = CLOCKS | {name for name, _, stability, _ in listed if stability != "CONSISTENT"}
    macros = {name: set(re.findall(r"\w+", definition)) for name, kind, _, definition in listed if kind == "macro"}
    while more := {name for name, words in macros.items() if words & others} - others:
        others |= more
    return frozenset(name for name, kind, _, _ in listed if kind in ("scalar", "macro")) - others


def _known(name: str, by_lower: dict[str, str]) -> str:
    if name.lower() not in by_lower:
        near = difflib.get_close_matches(name, by_lower.values(), 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "texts stand in single quotes."
        raise ParameterError(f"where: the occurrences have no column {name}; {hint}")
    return by_lower[name.lower()]


def _first(error: object) -> str:
    return str(error).split("\n", 1)[0]
