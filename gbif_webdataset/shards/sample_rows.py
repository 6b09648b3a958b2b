"""The rows of the splits that become samples: their label, name and JSON text."""

import csv
from collections.abc import Collection, Mapping
from pathlib import Path

import duckdb

from gbif_webdataset.errors import MissingPieceError, SelectionError
from gbif_webdataset.shards.check_request import check_columns
from gbif_webdataset.shards.recipe import Recipe, format_option
from gbif_webdataset.shards.sample_keys import check_keys, select_with_keys
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.label_names import select_label_name
from gbif_webdataset.storage.tables import csv_source, fetch_rows, quote_name, quote_text, read_header, select_batches
from gbif_webdataset.terms import columns
from gbif_webdataset.terms.ranks import KEY_COLUMNS, LADDERS, MAIN_NAME_COLUMNS, RANKS, is_label_column, ranks_from
from gbif_webdataset.terms.reasons import DropReason
from gbif_webdataset.terms.splits import LABEL, SPLITS, split_path, split_paths
from gbif_webdataset.terms.value_types import find_value_type

NUMBER = r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?"
WHOLE_NUMBER = r"[+-]?[0-9]+([.]0*)?"


def load_rows(connection: duckdb.DuckDBPyConnection, splits: Path, folder: Path, recipe: Recipe) -> dict[str, int]:
    """Load the rows with a label into the table `keyed`, and write the rows without one to dropped.csv in `folder`.

    `keyed` has split (its index in SPLITS), image_path, label, width, height, file_size, sha256 (NULL if the splits
    lack it), format, json, caption (the values of the template's columns; NULL without one) and key. The table `names`
    counts the images by label and name; the table `ranks` has the rank of labels. Return the number of dropped rows by
    reason.

    Raises:
        SelectionError: a column is unknown, no row has a label, or two rows have the same key.
        MissingPieceError: a row lacks its size or format.
    """
    paths = split_paths(splits)
    for path in paths.values():
        check_columns(recipe, read_header(path), str(path))
    _load_labelled(connection, paths, recipe)
    _load_names(connection, paths, recipe)
    _load_ranks(connection, paths, recipe)
    dropped = _write_dropped(connection, paths, folder / "dropped.csv", recipe)
    _check_rows(connection, splits, recipe)
    connection.execute(f"CREATE TABLE keyed AS {select_with_keys('labelled')}")
    connection.execute("DROP TABLE labelled")
    check_keys(connection, splits)
    return {str(DropReason.NO_LABEL): dropped} if dropped else {}


def _load_labelled(connection: duckdb.DuckDBPyConnection, paths: Mapping[str, Path], recipe: Recipe) -> None:
    connection.execute(
        "CREATE TABLE labelled (split TINYINT, image_path VARCHAR, label VARCHAR, width BIGINT, height BIGINT, "
        "file_size BIGINT, sha256 VARCHAR, format VARCHAR, json VARCHAR, caption VARCHAR[])"
    )
    label = quote_name(recipe.label_column)
    for split, path in paths.items():
        header = read_header(path)
        sha256 = "sha256" if "sha256" in header else "NULL"
        connection.execute(
            f"INSERT INTO labelled SELECT {SPLITS.index(split)}, image_path, {label}, TRY_CAST(width AS BIGINT), "
            f"TRY_CAST(height AS BIGINT), TRY_CAST(file_size AS BIGINT), {sha256}, format, "
            f"{_select_json(recipe, header)}, {_select_caption_values(recipe)} "
            f"FROM {csv_source(path)} WHERE {label} IS NOT NULL"
        )


def _select_json(recipe: Recipe, header: Collection[str]) -> str:
    """The SQL expression of a sample's JSON text.

    Measurements and numeric terms are numbers, or booleans; they are null if they cannot be read as such. All other
    values are text. An empty field, and a rank that the archive lacks, is null.
    """
    if not recipe.json_columns:
        return "NULL"
    pairs = []
    for name in recipe.json_columns:
        pairs += [quote_text(name), _select_value(name) if name in header else "NULL"]
    return f"CAST(json_object({', '.join(pairs)}) AS VARCHAR)"


def _select_value(name: str) -> str:
    """The SQL expression of a column's value with its type."""
    value, kind = quote_name(name), find_value_type(name)
    if kind == columns.TRUTH:
        return f"TRY_CAST({value} AS BOOLEAN)"
    if kind == columns.INT64:
        is_number = f"regexp_full_match(trim({value}), {quote_text(WHOLE_NUMBER)})"
        return f"CASE WHEN {is_number} THEN TRY_CAST({value} AS BIGINT) END"
    if kind == columns.REAL:
        number = f"TRY_CAST({value} AS DOUBLE)"
        is_number = f"regexp_full_match(trim({value}), {quote_text(NUMBER)}) AND isfinite({number})"
        return f"CASE WHEN {is_number} THEN {number} END"
    return value


def _select_caption_values(recipe: Recipe) -> str:
    """The SQL expression of the values of the caption's columns."""
    if recipe.caption is None:
        return "NULL"
    return f"[{', '.join(quote_name(column) for _, column in recipe.caption.parts)}]"


def _load_names(connection: duckdb.DuckDBPyConnection, paths: Mapping[str, Path], recipe: Recipe) -> None:
    connection.execute("CREATE TABLE names (label VARCHAR, name VARCHAR, images BIGINT)")
    label = f"clean.{quote_name(recipe.label_column)}"
    for path in paths.values():
        name = _select_name(recipe, read_header(path))
        if name:
            connection.execute(
                f"INSERT INTO names SELECT {label}, {name}, count(*) FROM {csv_source(path)} AS clean "
                f"WHERE {label} IS NOT NULL AND {name} IS NOT NULL GROUP BY ALL"
            )


def _select_name(recipe: Recipe, header: Collection[str]) -> str:
    """The SQL expression of the name of an image's label; empty if there is none."""
    if not recipe.label_name:
        return select_label_name(recipe.label_column, f"clean.{quote_name(recipe.label_column)}", header)
    ranks = ranks_from(recipe.label_name, header) or [recipe.label_name]
    return f"coalesce({', '.join(f'clean.{quote_name(name)}' for name in ranks)})"


def _load_ranks(connection: duckdb.DuckDBPyConnection, paths: Mapping[str, Path], recipe: Recipe) -> None:
    """Create `ranks` (label, rank): the most frequent rank of each label."""
    connection.execute("CREATE TABLE label_ranks (label VARCHAR, rank VARCHAR, images BIGINT)")
    label = quote_name(recipe.label_column)
    for path in paths.values():
        if rank := rank_value(recipe.label_column, read_header(path)):
            connection.execute(
                f"INSERT INTO label_ranks SELECT {label}, {rank}, count(*) FROM {csv_source(path)} "
                f"WHERE {label} IS NOT NULL AND {rank} IS NOT NULL GROUP BY ALL"
            )
    connection.execute(
        "CREATE TABLE ranks AS SELECT label, rank FROM label_ranks GROUP BY label, rank "
        "QUALIFY row_number() OVER (PARTITION BY label ORDER BY sum(images) DESC, rank) = 1"
    )
    connection.execute("DROP TABLE label_ranks")


def rank_value(label_column: str, columns: Collection[str]) -> str:
    """The SQL of the rank of a row's label: that of the column with the same value, or else taxonRank.

    It is empty if nothing states the rank.
    """
    if label_column in MAIN_NAME_COLUMNS or label_column in KEY_COLUMNS:
        ladder = KEY_COLUMNS if label_column in KEY_COLUMNS else MAIN_NAME_COLUMNS
        return quote_text(RANKS[ladder.index(label_column)])
    if not is_label_column(label_column) and label_column != LABEL:
        return ""
    label = quote_name(label_column)
    cases = [
        f"WHEN {label} = {quote_name(column)} THEN '{rank}'"
        for ladder in LADDERS
        for rank, column in zip(RANKS, ladder, strict=True)
        if column in columns
    ]
    other = "nullif(lower(taxonRank), '')" if "taxonRank" in columns else "NULL"
    return f"CASE {' '.join(cases)} ELSE {other} END" if cases else other


def _write_dropped(
    connection: duckdb.DuckDBPyConnection, paths: Mapping[str, Path], dropped: Path, recipe: Recipe
) -> int:
    """Write the rows without a label to `dropped`; return their number."""
    count = 0
    names = [column.name for column in columns.DROPPED]
    label = quote_name(recipe.label_column)
    with atomic_file(dropped) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for path in paths.values():
            header = read_header(path)
            selected = [quote_name(name) if name in header else "NULL" for name in names[2:]]
            query = f"SELECT {', '.join(selected)} FROM {csv_source(path)} WHERE {label} IS NULL ORDER BY image_path"
            for batch in select_batches(connection, query):
                rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
                writer.writerows(["shards", DropReason.NO_LABEL, *row] for row in rows)
                count += batch.num_rows
    return count


def _check_rows(connection: duckdb.DuckDBPyConnection, splits: Path, recipe: Recipe) -> None:
    if not fetch_rows(connection, "SELECT 1 FROM labelled LIMIT 1"):
        raise SelectionError(
            f"{format_option('label_column', recipe.label_column)}: the column is empty in all rows of {splits}; "
            "choose another column"
        )
    unmeasured = fetch_rows(
        connection,
        "SELECT split, image_path FROM labelled WHERE image_path IS NULL OR format IS NULL OR width IS NULL OR "
        "height IS NULL OR file_size IS NULL ORDER BY ALL LIMIT 1",
    )
    if unmeasured:
        split, image_path = unmeasured[0]
        raise MissingPieceError(
            f"{split_path(splits, SPLITS[split])}: the row of {image_path} lacks width, height, file_size or format; "
            "run SplitDataset again"
        )
