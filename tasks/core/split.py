"""Dealing the clean images out to train, val and test: within each class, and no occurrence to two of them."""

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core import tables
from tasks.core.clean import MEMORY_LIMIT
from tasks.core.errors import MissingPieceError, ParameterError, SelectionError
from tasks.core.files import whole_file

SPLITS = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
RANKS = (
    *("kingdom", "phylum", "class", "order", "superfamily", "family", "subfamily", "tribe", "subtribe"),
    *("genus", "subgenus", "species"),
)
NO_LABEL, OVER, UNDER = "no-label", "over-max-instances", "under-min-instances"


@dataclass(frozen=True)
class Fractions:
    """Shares of each class's images for test and val, from 0 to below 1; ParameterError for anything else."""

    test: float
    val: float

    def __post_init__(self) -> None:
        for name, value in (("test_frac", self.test), ("val_frac", self.val)):
            if not 0 <= value < 1:
                raise ParameterError(f"{name} is {value}: give a fraction from 0 to below 1")
        if exact(self.test) + exact(self.val) >= 1:
            raise ParameterError(
                f"test_frac {self.test} and val_frac {self.val} leave nothing to train: give less than 1 together"
            )


@dataclass(frozen=True)
class Limits:
    """Images of a class in train, at most and at least; 0 is no limit; ParameterError for less."""

    max_instances: int = 0
    min_instances: int = 0

    def __post_init__(self) -> None:
        for name, value in (("max_instances", self.max_instances), ("min_instances", self.min_instances)):
            if value < 0:
                raise ParameterError(f"{name} is {value}: give a number of images, or 0 for no limit")


def exact(fraction: float) -> Fraction:
    """The fraction that was typed: 0.1 is a tenth, not the binary number next to it."""
    return Fraction(str(fraction))


def goal(images: int, fraction: float) -> int:
    """How many of a class's images a split should get: rounded half up, and none where that is less than one image."""
    share = images * exact(fraction)
    return math.floor(share + Fraction(1, 2)) if share >= 1 else 0


def deal_class(sizes: Sequence[int], fractions: Fractions) -> bytearray:
    """Deal the groups of one class, given by their sizes in order of their hashes; each one's index in `SPLITS`.

    Test, then val, take the groups that fit their goal, in order; where none fits, the smallest if that is nearer to
    the goal than nothing. One group at least stays in train.
    """
    dealt = bytearray(len(sizes))
    images, left = sum(sizes), len(sizes)
    for split, fraction in ((TEST, fractions.test), (VAL, fractions.val)):
        wanted = missing = goal(images, fraction)
        for place, size in enumerate(sizes):
            if not missing or left == 1:
                break
            if dealt[place] == TRAIN and size <= missing:
                dealt[place] = split
                missing -= size
                left -= 1
        if missing == wanted and wanted and left > 1:
            smallest = min((place for place, taken in enumerate(dealt) if taken == TRAIN), key=sizes.__getitem__)
            if sizes[smallest] < 2 * wanted:
                dealt[smallest] = split
                left -= 1
    return dealt


def deal(
    clean: Path,
    folder: Path,
    category_key: str,
    fractions: Fractions,
    limits: Limits,
    by_occurrence: bool,
    seed: int,
    scratch: Path,
) -> dict[str, int]:
    """Write train.csv, val.csv, test.csv and dropped.csv into `folder`; the images of each split and of each reason.

    `clean` is a Parquet file of one row per image with `image_path`, `identifier`, `coreid` and the column
    `category_key`. The splits have all its columns, dropped.csv has `stage,reason,image_path,identifier,coreid`; all
    are sorted by `image_path` and are read back with `tables.csv`. The order of rows in `clean` does not matter.

    Raises SelectionError where `category_key` is no column or nothing is left, MissingPieceError where the rows
    written are not the rows read.
    """
    _check_category(clean, category_key)
    with tables.database(scratch, MEMORY_LIMIT) as connection:
        order = tables.order_of(connection, clean)
        connection.execute(f"CREATE VIEW clean AS SELECT file_row_number AS place, * FROM {tables.parquet([clean])}")
        _group(connection, category_key, by_occurrence, seed)
        _deal_groups(connection, fractions)
        _limit(connection, fractions, limits, seed)
        counts = _counts(connection, limits)
        if not any(counts[split] for split in SPLITS):
            raise SelectionError(_emptied(clean, category_key, limits, counts))
        _write(connection, clean, folder, order)
    return counts


def _check_category(clean: Path, category_key: str) -> None:
    names = pq.read_schema(clean).names
    if category_key not in names:
        choices = [name for name in names if name.endswith("Key") or name in RANKS]
        raise SelectionError(
            f"category_key {category_key!r} is not a column of the archive: choose "
            + (f"one of {', '.join(choices)}" if choices else "another; there is none that names a taxon")
        )


def _group(connection: duckdb.DuckDBPyConnection, category_key: str, by_occurrence: bool, seed: int) -> None:
    """Make `images` (place, image_path, key, class) and `groups` (key, class, size).

    `place` is the image's row in the file, `key` its group's; classes are numbered in the order of their text. The
    groups lie by class and seeded hash.
    """
    category = f"clean.{tables.quoted(category_key)}::VARCHAR"
    connection.execute(
        f"""CREATE TABLE classes AS SELECT category, row_number() OVER (ORDER BY category) AS class
        FROM (SELECT DISTINCT {category} AS category FROM clean WHERE trim({category}) <> '')"""
    )
    connection.execute(
        f"""CREATE TABLE images AS
        SELECT place, image_path, {"coreid" if by_occurrence else "place"} AS key, classes.class AS class
        FROM clean LEFT JOIN classes ON classes.category = {category}"""
    )
    if by_occurrence:
        name, columns = "key", "key, min(class) AS class, count(*) AS size"
    else:
        name, columns = "image_path", "key, image_path, class, 1 AS size"
    groups = f"SELECT {columns} FROM images WHERE class IS NOT NULL {'GROUP BY key' if by_occurrence else ''}"
    connection.execute(
        f"CREATE TABLE groups AS SELECT key, class, size FROM ({groups}) ORDER BY class, {_hash(seed, name)}, {name}"
    )


def _hash(seed: int, column: str) -> str:
    return f"md5_number_lower({tables.text(f'{seed}|')} || {column})"


def _deal_groups(connection: duckdb.DuckDBPyConnection, fractions: Fractions) -> None:
    """Make `dealt` (split), a row for each of `groups`, in its order; holds the groups of one class at a time."""
    connection.execute("CREATE TABLE dealt (split UTINYINT)")
    with connection.cursor() as cursor:
        held = bytearray()
        for sizes in _sizes_by_class(tables.select(cursor, "SELECT class, size FROM groups")):
            held += deal_class(sizes, fractions)
            if len(held) >= tables.ROW_GROUP:
                _append(connection, held)
                held = bytearray()
        _append(connection, held)


def _sizes_by_class(batches: Iterable[pa.RecordBatch]) -> Iterator[Sequence[int]]:
    pairs = (
        pair
        for batch in batches
        for pair in zip(batch.column("class").to_pylist(), batch.column("size").to_pylist(), strict=True)
    )
    for _, groups in groupby(pairs, key=itemgetter(0)):
        yield array("q", (size for _, size in groups))


def _append(connection: duckdb.DuckDBPyConnection, splits: bytearray) -> None:
    values = pa.Array.from_buffers(pa.uint8(), len(splits), [None, pa.py_buffer(splits)])
    connection.register("batch", pa.record_batch([values], names=["split"]))
    connection.execute("INSERT INTO dealt SELECT split FROM batch")


def _limit(connection: duckdb.DuckDBPyConnection, fractions: Fractions, limits: Limits, seed: int) -> None:
    """Make `fates` (fate), a row for each of the file's, in its order: a split or why it is dropped."""
    names = ", ".join(tables.text(split) for split in SPLITS)
    over = "false"
    if limits.max_instances:
        caps = [limits.max_instances] * len(SPLITS)
        for split, fraction in ((VAL, fractions.val), (TEST, fractions.test)):
            caps[split] = max(1, math.floor(limits.max_instances * exact(fraction)))
        order = f"PARTITION BY groups.class, split ORDER BY {_hash(seed, 'image_path')}, image_path"
        over = f"row_number() OVER ({order}) > {caps}[split + 1]"
    connection.execute(
        f"""CREATE TABLE limited AS SELECT place, groups.class AS class, split, {over} AS over
        FROM images JOIN (SELECT * FROM groups POSITIONAL JOIN dealt) AS groups USING (key)
        WHERE images.class IS NOT NULL"""
    )
    connection.execute(
        f"""CREATE TABLE small AS SELECT class, true AS under FROM limited GROUP BY class
        HAVING count(*) FILTER (split = {TRAIN} AND NOT over) < {limits.min_instances}"""
    )
    connection.execute(
        f"""CREATE TABLE fates AS SELECT fate FROM (
        SELECT place, CASE WHEN over THEN '{OVER}' WHEN under THEN '{UNDER}' ELSE [{names}][split + 1] END AS fate
        FROM limited LEFT JOIN small USING (class)
        UNION ALL SELECT place, '{NO_LABEL}' FROM images WHERE class IS NULL
        ) ORDER BY place"""
    )


def _counts(connection: duckdb.DuckDBPyConnection, limits: Limits) -> dict[str, int]:
    found: dict[str, int] = dict(tables.rows(connection, "SELECT fate, count(*) FROM fates GROUP BY fate"))
    names = [*SPLITS, NO_LABEL]
    names += [OVER] if limits.max_instances else []
    names += [UNDER] if limits.min_instances else []
    return {name: found.get(name, 0) for name in names}


def _emptied(clean: Path, category_key: str, limits: Limits, counts: dict[str, int]) -> str:
    """The sentence that says which rule took the last image."""
    if not sum(counts.values()):
        return f"{clean} holds no images: loosen the filters of CleanDataset"
    if counts[NO_LABEL] == sum(counts.values()):
        return f"{category_key} is empty for all {counts[NO_LABEL]} images: choose another category_key"
    numbers = ", ".join(f"{name} {images}" for name, images in counts.items() if name not in SPLITS)
    return f"no class has {limits.min_instances} images for train (dropped: {numbers}): lower min_instances"


def _write(connection: duckdb.DuckDBPyConnection, clean: Path, folder: Path, order: str) -> None:
    source = f"FROM {tables.parquet([clean])} AS images POSITIONAL JOIN fates WHERE fate"
    queries = {split: f"SELECT images.* {source} = '{split}'{order}" for split in SPLITS}
    columns = "'split' AS stage, fate AS reason, image_path, identifier, coreid"
    queries["dropped"] = f"SELECT {columns} {source} NOT IN {SPLITS}{order}"
    written = 0
    with ExitStack() as stack:
        for name, query in queries.items():
            written += _copy(connection, query, stack.enter_context(whole_file(folder / f"{name}.csv")))
        images = pq.read_metadata(clean).num_rows
        if written != images:
            raise MissingPieceError(
                f"{clean} has {images} rows, but {written} were dealt out or dropped: "
                "a row without coreid stands in it; clean the images again"
            )


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Write a query's rows as CSV; return how many."""
    options = "FORMAT csv, HEADER true, DELIMITER ',', QUOTE '\"', ESCAPE '\"', NULLSTR '', USE_TMP_FILE false"
    copied = tables.rows(connection, f"COPY ({query}) TO {tables.text(str(path))} ({options})")
    return int(copied[0][0])
