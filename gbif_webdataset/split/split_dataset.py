"""Dealing the clean images out to train, val and test: within each class, and no occurrence to two of them."""

import math
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.errors import MissingPieceError, ParameterError, SelectionError
from gbif_webdataset.split import balance, leakage, previous_splits
from gbif_webdataset.split.assignment import (
    FREE,
    HASHES,
    SPLITS,
    TEST,
    TRAIN,
    VAL,
    Elsewhere,
    Fractions,
    Mixed,
    MixedDeal,
    deal_class,
    exact,
    goal,
)
from gbif_webdataset.split.groups import Grouping, connect
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms.ranks import LADDERS, NAME_COLUMNS, ranks_from
from gbif_webdataset.terms.splits import LABEL

__all__ = ["SPLITS", "TEST", "TRAIN", "VAL", "Fractions", "How", "Limits", "deal", "deal_class", "goal"]

NO_LABEL, OVER, UNDER, HELD_OUT = "no-label", "over-max-instances", "under-min-instances", "holdout"
MEMORY_LIMIT = "700MB"  # of DuckDB, which spills beyond it


@dataclass(frozen=True)
class Limits:
    """Images of a class in train, at most and at least; 0 is no limit; ParameterError for less."""

    max_instances: int = 0
    min_instances: int = 0

    def __post_init__(self) -> None:
        for name, value in (("max_instances", self.max_instances), ("min_instances", self.min_instances)):
            if value < 0:
                raise ParameterError(f"{name} is {value}: give a number of images, or 0 for no limit")


@dataclass(frozen=True)
class How:
    """What else decides where images go.

    `to_the_image` meets the fractions of every class as nearly as its groups allow; without it a group goes where its
    own hash lies as far as the fractions bear it, so that new images move few old ones. `previous` is the folder of
    earlier splits, where images stay as they were. Of the column `holdout_key` a share `holdout_frac` of the values,
    one at least, is held out whole. `duplicates` is CleanDataset's table. With `roll_up` an image that `category_key`
    says nothing of is of the class of the nearest higher rank that is known of it.
    """

    grouping: Grouping = field(default_factory=Grouping)
    to_the_image: bool = True
    previous: Path | None = None
    holdout_key: str = ""
    holdout_frac: float = 0.1
    duplicates: Path | None = None
    roll_up: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.holdout_frac < 1:
            raise ParameterError(f"holdout_frac is {self.holdout_frac}: give a fraction above 0 and below 1")


def deal(
    clean: Path,
    folder: Path,
    category_key: str,
    fractions: Fractions,
    limits: Limits,
    by_occurrence: bool,
    seed: int,
    scratch: Path,
    how: How = How(),
) -> dict[str, int]:
    """Write train.csv, val.csv, test.csv and dropped.csv into `folder`; the images of each split and of each reason.

    `clean` is a Parquet file of one row per image with `image_path`, `identifier`, `coreid` and the column
    `category_key`. The splits have all its columns, dropped.csv has `stage,reason,image_path,identifier,coreid`; all
    are sorted by `image_path` and are read back with `tables.csv_source`. The order of rows in `clean` does not matter.
    With a roll-up the splits have the column `label`, too. balance.csv tells how far each class is from the fractions,
    leakage.csv what val and test share with train; what is held out goes to holdout.csv.

    Raises SelectionError where `category_key` or another column is missing or nothing is left, ParameterError where
    the previous splits can't be read, MissingPieceError where the rows written are not the rows read.
    """
    columns = _check_columns(clean, category_key, how.holdout_key)
    category = _category(category_key, columns) if how.roll_up else f"clean.{tables.quote_name(category_key)}::VARCHAR"
    with tables.open_database(scratch, MEMORY_LIMIT) as connection:
        order = tables.order_clause(connection, clean)
        source = tables.parquet_source([clean])
        connection.execute(f"CREATE VIEW clean AS SELECT file_row_number AS place, * FROM {source}")
        _label(connection, category, by_occurrence, how, seed)
        _group(connection, columns, by_occurrence, how, seed)
        _deal_groups(connection, fractions, how.to_the_image)
        _limit(connection, fractions, limits, seed)
        counts = _counts(connection, limits, how)
        if not any(counts[split] for split in SPLITS):
            raise SelectionError(_emptied(clean, category_key, limits, counts))
        every = "clean.*"
        if how.roll_up:
            every += f"{' EXCLUDE label' if LABEL in columns else ''}, {category} AS {LABEL}"
        _write(connection, clean, folder, order, bool(how.holdout_key), every)
        balance.write(connection, fractions, folder / "balance.csv")
        leakage.write(connection, columns, how.grouping.place_km, how.duplicates, folder / "leakage.csv")
    return counts


def _check_columns(clean: Path, category_key: str, holdout_key: str) -> list[str]:
    names = list(pq.read_schema(clean).names)
    for parameter, name in (("category_key", category_key), ("holdout_key", holdout_key or category_key)):
        if name not in names:
            choices = [name for name in names if name.endswith("Key") or name in NAME_COLUMNS]
            raise SelectionError(
                f"{parameter} {name!r} is not a column of the archive: choose "
                + (f"one of {', '.join(choices)}" if choices else "another; there is none that names a taxon")
            )
    return names


def _category(category_key: str, columns: list[str]) -> str:
    """The SQL of an image's class: what the first of `category_key` and the higher ranks that is known says."""
    ranks = ranks_from(category_key, columns)
    if not ranks:
        raise SelectionError(
            f"roll_up goes from a rank to higher ones, and category_key {category_key!r} is none: choose one of "
            f"{', '.join(name for ladder in LADDERS for name in ladder if name in columns)}"
        )
    known = [f"nullif(trim(clean.{tables.quote_name(name)}::VARCHAR), '')" for name in ranks]
    return f"coalesce({', '.join(known)})"


def _label(connection: duckdb.DuckDBPyConnection, category: str, by_occurrence: bool, how: How, seed: int) -> None:
    """Make `classes` (category, class) and `images` (place, image_path, key, class, held).

    `place` is the image's row in the file, `key` its occurrence or, where not `by_occurrence`, its place; classes are
    numbered in the order of their text. What is held out has no class.
    """
    connection.execute(
        f"""CREATE TABLE classes AS SELECT category, row_number() OVER (ORDER BY category) AS class
        FROM (SELECT DISTINCT {category} AS category FROM clean WHERE trim({category}) <> '')"""
    )
    held = "false"
    if how.holdout_key:
        value = f"clean.{tables.quote_name(how.holdout_key)}::VARCHAR"
        own = _hash(seed, "'holdout|' || value")
        connection.execute(
            f"""CREATE TABLE held AS SELECT value FROM (SELECT DISTINCT {value} AS value FROM clean
            WHERE trim({value}) <> '' AND trim({category}) <> '')
            QUALIFY {own} < {int(exact(how.holdout_frac) * HASHES)} OR row_number() OVER (ORDER BY {own}, value) = 1"""
        )
        held = f"classes.class IS NOT NULL AND coalesce({value} IN (SELECT value FROM held), false)"
    connection.execute(
        f"""CREATE TABLE images AS SELECT place, image_path, {"coreid" if by_occurrence else "place"} AS key,
        CASE WHEN NOT ({held}) THEN classes.class END AS class, {held} AS held
        FROM clean LEFT JOIN classes ON classes.category = {category}"""
    )


def _group(connection: duckdb.DuckDBPyConnection, columns: list[str], by_occurrence: bool, how: How, seed: int) -> None:
    """Make `units`, the occurrences or images (key, class, size), and of what stays together `groups` and `mixed`.

    `groups` (number, class, size, hash, earlier) lie by class and seeded hash; `mixed` are those of several classes, a
    row for each class, by hash. `home` is how an image is joined to its group.
    """
    name = "key" if by_occurrence else "min(image_path)"
    connection.execute(
        f"""CREATE TABLE units AS SELECT key, min(class) AS class, count(*) AS size, {name} AS name
        FROM images WHERE class IS NOT NULL AND key IS NOT NULL GROUP BY key"""
    )
    if how.previous is not None:
        previous_splits.load(connection, how.previous, by_occurrence)
    else:
        connection.execute(f"CREATE VIEW pins AS SELECT key, {FREE} AS earlier FROM units LIMIT 0")
    own = f"{_hash(seed, 'name')} AS hash"
    if how.grouping.ties:
        connect(connection, columns, how.grouping, how.duplicates)
        connection.execute(
            f"""CREATE TABLE parts AS SELECT *, {own}, count(*) OVER (PARTITION BY number) AS parts
            FROM (SELECT number, class, sum(size)::BIGINT AS size FROM units JOIN members USING (key) GROUP BY ALL)
            JOIN named USING (number)
            JOIN (SELECT number, coalesce(max(earlier), {FREE}) AS earlier
                FROM members LEFT JOIN pins USING (key) GROUP BY number) USING (number)"""
        )
    else:
        connection.execute(
            f"""CREATE VIEW parts AS SELECT key AS number, class, size, name, {own},
            coalesce(earlier, {FREE}) AS earlier, 1 AS parts FROM units LEFT JOIN pins USING (key)"""
        )
        connection.execute("CREATE VIEW members AS SELECT key, key AS number FROM units")
    fields = "SELECT number, class, size, hash, earlier::UTINYINT AS earlier FROM parts"
    connection.execute(f"CREATE TABLE groups AS {fields} WHERE parts = 1 ORDER BY class, hash, name")
    connection.execute(f"CREATE TABLE mixed AS {fields} WHERE parts > 1 ORDER BY hash, number, class")


def _hash(seed: int, column: str) -> str:
    return f"md5_number_lower({tables.quote_text(f'{seed}|')} || {column})"


def _deal_groups(connection: duckdb.DuckDBPyConnection, fractions: Fractions, to_the_image: bool) -> None:
    """Make `homes` (number, split); holds the groups of one class at a time."""
    elsewhere = _deal_mixed(connection, fractions, to_the_image)
    connection.execute("CREATE TABLE dealt (split UTINYINT)")
    with connection.cursor() as cursor:
        held = bytearray()
        batches = tables.select_batches(cursor, "SELECT * EXCLUDE number FROM groups")
        for number, sizes, hashes, earlier in _by_class(batches):
            own = None if to_the_image else hashes
            held += deal_class(sizes, fractions, own, earlier, elsewhere.get(number))
            if len(held) >= arrow.ROW_GROUP:
                _append(connection, held)
                held = bytearray()
        _append(connection, held)
    connection.execute("INSERT INTO homes SELECT number, split FROM groups POSITIONAL JOIN dealt")


def _deal_mixed(
    connection: duckdb.DuckDBPyConnection, fractions: Fractions, to_the_image: bool
) -> dict[int, Elsewhere]:
    """Deal the groups of several classes; what each class has of them."""
    connection.execute("CREATE TABLE homes AS SELECT number, 0::UTINYINT AS split FROM groups LIMIT 0")
    [(count,)] = tables.fetch_rows(connection, "SELECT count(DISTINCT number) FROM mixed")
    if not count:
        return {}
    out = f"earlier IN ({VAL}, {TEST})"
    sums = f"""SELECT class, sum(size), sum(size * size), count(*), count(*) FILTER ({out}),
        coalesce(sum(size) FILTER (earlier = {VAL}), 0), coalesce(sum(size) FILTER (earlier = {TEST}), 0)
        FROM parts GROUP BY class"""
    totals = np.zeros((7, 1 + tables.fetch_rows(connection, "SELECT max(class) FROM classes")[0][0]), np.int64)
    for row in tables.fetch_rows(connection, sums):
        totals[1:, row[0]] = row[1:]
    _, images, squares, groups, gone, val, test = totals
    deal = MixedDeal(images, squares, groups, np.stack([np.zeros_like(val), val, test]), gone)
    dealt = deal.deal(lambda: _mixed(connection), count, fractions, not to_the_image)
    found: dict[int, Elsewhere] = {}
    for (_, _, parts), split in zip(_mixed(connection), dealt, strict=True):
        for part, size in parts:
            found.setdefault(part, Elsewhere()).add(size, split)
    connection.execute("CREATE TABLE dealt (split UTINYINT)")
    for start in range(0, count, arrow.ROW_GROUP):
        _append(connection, dealt[start : start + arrow.ROW_GROUP])
    connection.execute(
        """INSERT INTO homes SELECT number, split FROM (SELECT DISTINCT hash, number FROM mixed ORDER BY hash, number)
        POSITIONAL JOIN dealt"""
    )
    connection.execute("DROP TABLE dealt")
    return found


def _mixed(connection: duckdb.DuckDBPyConnection) -> Iterator[Mixed]:
    """The groups of several classes, in the order of their hashes."""
    with connection.cursor() as cursor:
        rows = (
            row
            for batch in tables.select_batches(cursor, "SELECT number, hash, earlier, class, size FROM mixed")
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        )
        for _, parts in groupby(rows, key=itemgetter(0)):
            _, hashes, earlier, classes, sizes = zip(*parts, strict=True)
            yield hashes[0], earlier[0], list(zip(classes, sizes, strict=True))


def _by_class(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, "array[int]", "array[int]", "array[int]"]]:
    """Of each class its number, and its groups' sizes, hashes and earlier splits."""
    rows = (row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))
    for number, groups in groupby(rows, key=itemgetter(0)):
        columns = array("q"), array("Q"), array("B")
        for _, *values in groups:
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        yield number, *columns


def _append(connection: duckdb.DuckDBPyConnection, splits: bytearray) -> None:
    values = pa.Array.from_buffers(pa.uint8(), len(splits), [None, pa.py_buffer(splits)])
    connection.register("batch", pa.record_batch([values], names=["split"]))
    connection.execute("INSERT INTO dealt SELECT split FROM batch")


def _limit(connection: duckdb.DuckDBPyConnection, fractions: Fractions, limits: Limits, seed: int) -> None:
    """Make `fates` (fate), a row for each of the file's, in its order: a split or why it is dropped."""
    names = ", ".join(tables.quote_text(split) for split in SPLITS)
    over = "false"
    if limits.max_instances:
        caps = [limits.max_instances] * len(SPLITS)
        for split, fraction in ((VAL, fractions.val), (TEST, fractions.test)):
            caps[split] = max(1, math.floor(limits.max_instances * exact(fraction)))
        order = f"PARTITION BY units.class, split ORDER BY {_hash(seed, 'image_path')}, image_path"
        over = f"row_number() OVER ({order}) > {caps}[split + 1]"
    connection.execute(
        f"""CREATE TABLE limited AS SELECT place, units.class AS class, split, {over} AS over
        FROM images JOIN units USING (key) JOIN members USING (key) JOIN homes USING (number)
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
        UNION ALL SELECT place, CASE WHEN held THEN '{HELD_OUT}' ELSE '{NO_LABEL}' END FROM images WHERE class IS NULL
        ) ORDER BY place"""
    )


def _counts(connection: duckdb.DuckDBPyConnection, limits: Limits, how: How) -> dict[str, int]:
    found: dict[str, int] = dict(tables.fetch_rows(connection, "SELECT fate, count(*) FROM fates GROUP BY fate"))
    names = [*SPLITS, NO_LABEL]
    names += [OVER] if limits.max_instances else []
    names += [UNDER] if limits.min_instances else []
    names += [HELD_OUT] if how.holdout_key else []
    return {name: found.get(name, 0) for name in names}


def _emptied(clean: Path, category_key: str, limits: Limits, counts: dict[str, int]) -> str:
    """The sentence that says which rule took the last image."""
    if not sum(counts.values()):
        return f"{clean} holds no images: loosen the filters of CleanDataset"
    if counts[NO_LABEL] == sum(counts.values()):
        return f"{category_key} is empty for all {counts[NO_LABEL]} images: choose another category_key"
    numbers = ", ".join(f"{name} {images}" for name, images in counts.items() if name not in SPLITS)
    return f"no class has {limits.min_instances} images for train (dropped: {numbers}): lower min_instances"


def _write(
    connection: duckdb.DuckDBPyConnection, clean: Path, folder: Path, order: str, holdout: bool, every: str
) -> None:
    """Write the rows of each split with `every` column, and those that are in none."""
    source = f"FROM {tables.parquet_source([clean])} AS clean POSITIONAL JOIN fates WHERE fate"
    queries = {split: f"SELECT {every} {source} = '{split}'{order}" for split in SPLITS}
    columns = "'split' AS stage, fate AS reason, image_path, identifier, coreid"
    dealt = (*SPLITS, HELD_OUT)
    if holdout:
        queries[HELD_OUT] = f"SELECT {every} {source} = '{HELD_OUT}'{order}"
    queries["dropped"] = f"SELECT {columns} {source} NOT IN {dealt}{order}"
    written = 0
    with ExitStack() as stack:
        for name, query in queries.items():
            written += _copy(connection, query, stack.enter_context(atomic_file(folder / f"{name}.csv")))
        images = pq.read_metadata(clean).num_rows
        if written != images:
            raise MissingPieceError(
                f"{clean} has {images} rows, but {written} were dealt out or dropped: "
                "a row without coreid stands in it; clean the images again"
            )


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Write a query's rows as CSV; return how many."""
    options = "FORMAT csv, HEADER true, DELIMITER ',', QUOTE '\"', ESCAPE '\"', NULLSTR '', USE_TMP_FILE false"
    copied = tables.fetch_rows(connection, f"COPY ({query}) TO {tables.quote_text(str(path))} ({options})")
    return int(copied[0][0])
