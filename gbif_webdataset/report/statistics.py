"""The numbers of the page, from tables of any size, and the images that it shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import duckdb
import pandas as pd
import pyarrow.parquet as pq

from gbif_webdataset.account.shared_images import SharedImages, read_shared_images
from gbif_webdataset.publish.description import ClassCounts
from gbif_webdataset.report import facets
from gbif_webdataset.report.equal_earth import CELL, Cell, decode_cell, make_cell_key
from gbif_webdataset.report.facets import FACETS, SAMPLE_FACETS, Breakdown
from gbif_webdataset.report.map_view import WORLD, View, choose_view
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.label_names import select_frequent_names, select_label_name
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.outcomes import Status
from gbif_webdataset.terms.splits import split_paths

MEMORY_LIMIT = "1GB"
MAX_FAILURE_LINES = 50
MAX_BALANCE_LINES = 8
PICTURED_CLASSES = 24
CANDIDATES = 24  # images of a class or a reason: the files of some may be gone
EXAMPLES = f"min_by(image_path, md5_number_lower(image_path), {CANDIDATES})"


class DuplicateGroups(NamedTuple):
    """Groups of `exact` or `near` duplicates, the images in them, and how many of these were kept."""

    kind: str
    groups: int
    images: int
    kept: int


class HostFailures(NamedTuple):
    """Images of a host that were not downloaded because of an error; an empty host stands for all other hosts."""

    host: str
    error: str
    images: int


class DroppedImages(NamedTuple):
    """Images that were dropped for one reason after they were fetched, and the paths of some, below images/."""

    stage: str
    reason: str
    images: int
    paths: tuple[str, ...]


class ClassBalance(NamedTuple):
    """A class and its images in val and test. `val_off` and `test_off` are the differences from the request."""

    label: str
    images: int
    val: int
    test: int
    val_off: float
    test_off: float


@dataclass(frozen=True)
class DatasetStatistics:
    """All that the page shows of the tables.

    breakdowns: by name, for each of FACETS whose columns exist.
    cells: samples by cell of the map; columns and rows count from the corner of `view`.
    dimensions: samples by half octaves of (width, height).
    file_sizes: samples by bytes of their file, rounded down to 1, 2 or 5 times a power of ten.
    class_examples: by label, paths of samples of the largest classes.
    balance: the classes furthest from the requested fractions.
    fetched_bytes: bytes of all downloaded images.
    """

    breakdowns: dict[str, Breakdown]
    cells: dict[Cell, int]
    dimensions: dict[tuple[int, int], int]
    file_sizes: dict[int, int]
    failures: tuple[HostFailures, ...]
    classes: tuple[ClassCounts, ...]
    leakage: tuple[SharedImages, ...]
    balance: tuple[ClassBalance, ...]
    duplicates: tuple[DuplicateGroups, ...]
    class_examples: dict[str, tuple[str, ...]]
    dropped: tuple[DroppedImages, ...]
    fetched_bytes: int
    view: View = WORLD


def collect_statistics(paths: DatasetPaths, classes: Sequence[ClassCounts], label_column: str) -> DatasetStatistics:
    """Read the tables a few columns at a time. Classes without names get the most frequent name of their images.

    The examples are the images with the smallest hashes of their paths, so they do not depend on the order of rows.
    """
    with tables.open_database(paths.scratch, MEMORY_LIMIT) as connection:
        _create_views(connection, paths, label_column)
        facets.count_facets(connection, {**FACETS, **SAMPLE_FACETS}, "fetched", "samples")
        counted = {name for (name,) in tables.fetch_rows(connection, "SELECT DISTINCT facet FROM counted")}
        if not any(one.name for one in classes):
            names = _find_names(connection, label_column)
            classes = [replace(one, name=names.get(one.label, "")) for one in classes]
        pictured = [one.label for one in classes[:PICTURED_CLASSES]]
        dimensions = facets.read_numbers(connection, "dimensions")
        view, cells = _count_places(connection)
        return DatasetStatistics(
            breakdowns={
                name: facets.read_breakdown(connection, name, facet.max_values)
                for name, facet in FACETS.items()
                if name in counted
            },
            cells=cells,
            dimensions={divmod(key, 1000): images for key, images in dimensions.items()},
            file_sizes=facets.read_numbers(connection, "file size"),
            failures=tuple(_count_failures(connection)),
            classes=tuple(classes),
            leakage=tuple(read_shared_images(paths.leakage)),
            balance=tuple(_read_balance(paths.balance)),
            duplicates=tuple(_count_duplicates(connection, paths.duplicates)),
            class_examples=_choose_class_examples(connection, label_column, pictured),
            dropped=tuple(_count_dropped(connection)),
            fetched_bytes=_sum_fetched_bytes(connection),
            view=view,
        )


def _create_views(connection: duckdb.DuckDBPyConnection, paths: DatasetPaths, label_column: str) -> None:
    """Create the views `fetched`, `clean`, `dropped`, `samples` (clean images that were not dropped later), and
    `labelled` (samples with the column of their labels).
    """
    later = [tables.csv_source(path) for path in (paths.split_dropped, paths.shards_dropped)]
    dropped_later = " UNION ALL ".join(f"SELECT stage, reason, image_path FROM {source}" for source in later)
    dropped_before = f"SELECT stage, reason, image_path FROM {tables.parquet_source([paths.clean_dropped])}"
    connection.execute(f"CREATE VIEW fetched AS SELECT * FROM {tables.parquet_source(paths.list_chunks('fetched'))}")
    connection.execute(f"CREATE VIEW clean AS SELECT * FROM {tables.parquet_source([paths.clean])}")
    connection.execute(f"CREATE VIEW dropped AS {dropped_before} UNION ALL {dropped_later}")
    connection.execute(f"CREATE TABLE dropped_later AS SELECT image_path FROM ({dropped_later})")
    is_any_dropped = tables.fetch_rows(connection, "SELECT 1 FROM dropped_later LIMIT 1")
    without_dropped = "ANTI JOIN dropped_later USING (image_path)" if is_any_dropped else ""
    connection.execute(f"CREATE VIEW samples AS SELECT clean.* FROM clean {without_dropped}")
    if label_column in pq.read_schema(paths.clean).names:
        connection.execute("CREATE VIEW labelled AS SELECT * FROM samples")
        return
    splits = map(tables.csv_source, split_paths(paths.splits).values())
    labels = " UNION ALL ".join(f"SELECT image_path, {tables.quote_name(label_column)} FROM {csv}" for csv in splits)
    connection.execute(f"CREATE TABLE labels AS {labels}")
    connection.execute("CREATE VIEW labelled AS SELECT * FROM samples JOIN labels USING (image_path)")


def _count_places(connection: duckdb.DuckDBPyConnection) -> tuple[View, dict[Cell, int]]:
    """The part of the world with all samples, and the samples by cell of it."""
    cells = {decode_cell(key): samples for key, samples in facets.read_numbers(connection, "cell").items()}
    view = choose_view(cells)
    if view.cell < CELL:
        query = f"""SELECT key, count(*) FROM (SELECT {make_cell_key(view.cell)} AS key FROM samples)
            WHERE key IS NOT NULL GROUP BY key ORDER BY key"""
        cells = {decode_cell(key): samples for key, samples in tables.fetch_rows(connection, query)}
    return view, view.move_cells(cells)


def _find_names(connection: duckdb.DuckDBPyConnection, label_column: str) -> dict[str, str]:
    """By label, the most frequent name of its images; empty if there is no column with names for these labels."""
    columns = [name for name, *_ in tables.fetch_rows(connection, "DESCRIBE labelled")]
    label = f"clean.{tables.quote_name(label_column)}"
    name = select_label_name(label_column, label, columns)
    if not name:
        return {}
    return dict(tables.fetch_rows(connection, select_frequent_names("labelled", label, name)))


def _count_failures(connection: duckdb.DuckDBPyConnection) -> Iterator[HostFailures]:
    """By host and error, the most frequent first; those beyond MAX_FAILURE_LINES by error only."""
    counted = f"""SELECT left(lower({facets.HOST}), {facets.MAX_VALUE_CHARACTERS}) AS host, error, count(*) AS images
        FROM fetched WHERE status = '{Status.FAILED}' GROUP BY ALL"""
    position = "row_number() OVER (ORDER BY images DESC, host, error)"
    shown = f"CASE WHEN position <= {MAX_FAILURE_LINES} THEN host ELSE '' END AS shown"
    query = f"""SELECT {shown}, error, sum(images)::BIGINT FROM (SELECT *, {position} AS position FROM ({counted}))
        GROUP BY shown, error ORDER BY shown = '', 3 DESC, shown, error"""
    yield from (HostFailures(*row) for row in tables.fetch_rows(connection, query))


def _sum_fetched_bytes(connection: duckdb.DuckDBPyConnection) -> int:
    query = f"SELECT coalesce(sum(bytes), 0)::BIGINT FROM fetched WHERE status <> '{Status.FAILED}'"
    return int(tables.fetch_rows(connection, query)[0][0])


def _count_duplicates(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[DuplicateGroups]:
    if path.exists():
        query = f"""SELECT kind, count(DISTINCT "group"), count(*), count(*) FILTER (kept)
            FROM {tables.parquet_source([path])} GROUP BY kind ORDER BY kind"""
        yield from (DuplicateGroups(*row) for row in tables.fetch_rows(connection, query))


def _choose_class_examples(
    connection: duckdb.DuckDBPyConnection, label_column: str, labels: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    listed = ", ".join(tables.quote_text(label) for label in labels)
    label = f"{tables.quote_name(label_column)}::VARCHAR"
    query = f"SELECT {label} AS label, {EXAMPLES} FROM labelled WHERE {label} IN ({listed}) GROUP BY 1"
    examples = dict(tables.fetch_rows(connection, query)) if labels else {}
    return {label: tuple(examples.get(label, ())) for label in labels}


def _count_dropped(connection: duckdb.DuckDBPyConnection) -> Iterator[DroppedImages]:
    query = f"SELECT stage, reason, count(*) AS images, {EXAMPLES} FROM dropped GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
    for stage, reason, images, paths in tables.fetch_rows(connection, query):
        yield DroppedImages(stage, reason, images, tuple(paths))


def _read_balance(path: Path) -> Iterator[ClassBalance]:
    columns = list(ClassBalance._fields)
    table = pd.read_csv(path, usecols=columns, dtype={"label": str}, keep_default_na=False, nrows=MAX_BALANCE_LINES)
    for label, images, val, test, val_off, test_off in table[columns].itertuples(index=False):
        yield ClassBalance(label, int(images), int(val), int(test), float(val_off), float(test_off))
