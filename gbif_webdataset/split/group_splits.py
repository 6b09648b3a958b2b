"""The split of each group, from the tables of groups: the functions of `assignment` applied to them."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.split.assignment import (
    ClassTotals,
    MixedAssignment,
    MixedGroup,
    MixedGroupsOfClass,
    assign_class,
)
from gbif_webdataset.split.fractions import TEST_CODE, VAL_CODE
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.split.temporary_tables import create_table
from gbif_webdataset.storage import arrow, tables


def create_group_splits(connection: duckdb.DuckDBPyConnection, options: SplitOptions) -> None:
    """Create `group_splits`. The groups of one class at a time are in memory."""
    create_table(connection, "group_splits", "SELECT group_id, 0::UTINYINT AS split FROM single_class_groups LIMIT 0")
    mixed = _assign_mixed_groups(connection, options)
    connection.execute("CREATE TABLE assigned (split UTINYINT)")
    with connection.cursor() as cursor:
        codes = bytearray()
        query = "SELECT class, size, hash, previous_split FROM single_class_groups"
        for number, sizes, hashes, previous in _read_classes(tables.select_batches(cursor, query)):
            own_hashes = None if options.exact_fractions else hashes
            codes += assign_class(sizes, options.fractions, own_hashes, previous, mixed.get(number))
            if len(codes) >= arrow.ROW_GROUP:
                _insert_codes(connection, codes)
                codes = bytearray()
        _insert_codes(connection, codes)
    connection.execute(
        "INSERT INTO group_splits SELECT group_id, split FROM single_class_groups POSITIONAL JOIN assigned"
    )
    connection.execute("DROP TABLE assigned")


def _assign_mixed_groups(connection: duckdb.DuckDBPyConnection, options: SplitOptions) -> dict[int, MixedGroupsOfClass]:
    """Insert mixed groups into `group_splits`; for each class that has some, what their assignment gave each split."""
    [(count,)] = tables.fetch_rows(connection, "SELECT count(DISTINCT group_id) FROM mixed_groups")
    if not count:
        return {}
    assignment = MixedAssignment(_sum_classes(connection))
    exact = options.exact_fractions
    codes = assignment.assign(lambda reverse: _read_mixed_groups(connection, reverse), count, options.fractions, exact)
    by_class: dict[int, MixedGroupsOfClass] = {}
    for group, split in zip(_read_mixed_groups(connection, False), codes, strict=True):
        for number, size in group.parts:
            by_class.setdefault(number, MixedGroupsOfClass()).add(size, split)
    connection.execute("CREATE TABLE assigned (split UTINYINT)")
    for start in range(0, count, arrow.ROW_GROUP):
        _insert_codes(connection, codes[start : start + arrow.ROW_GROUP])
    connection.execute(
        """INSERT INTO group_splits SELECT group_id, split
        FROM (SELECT DISTINCT hash, group_id FROM mixed_groups ORDER BY hash, group_id) POSITIONAL JOIN assigned"""
    )
    connection.execute("DROP TABLE assigned")
    return by_class


def _sum_classes(connection: duckdb.DuckDBPyConnection) -> ClassTotals:
    [(highest,)] = tables.fetch_rows(connection, "SELECT max(class) FROM classes")
    sums = f"""SELECT class, sum(size), sum(size * size), count(*),
            count(*) FILTER (previous_split IN ({VAL_CODE}, {TEST_CODE})),
            coalesce(sum(size) FILTER (previous_split = {VAL_CODE}), 0),
            coalesce(sum(size) FILTER (previous_split = {TEST_CODE}), 0)
        FROM group_classes GROUP BY class"""
    totals = np.zeros((6, 1 + highest), np.int64)
    for number, *values in tables.fetch_rows(connection, sums):
        totals[:, number] = values
    images, squares, groups, outside_train, val, test = totals
    by_split = np.zeros((3, 1 + highest), np.int64)
    by_split[VAL_CODE], by_split[TEST_CODE] = val, test
    return ClassTotals(images, squares, groups, outside_train, by_split)


def _read_mixed_groups(connection: duckdb.DuckDBPyConnection, reverse: bool) -> Iterator[MixedGroup]:
    """The groups of several classes, in the order of their hashes or, with `reverse`, in the opposite one."""
    with connection.cursor() as cursor:
        query = "SELECT group_id, hash, previous_split, class, size FROM mixed_groups"
        query += " ORDER BY hash DESC, group_id DESC, class" if reverse else ""
        for _, rows in groupby(_read_rows(tables.select_batches(cursor, query)), key=itemgetter(0)):
            _, hashes, previous, classes, sizes = zip(*rows, strict=True)
            yield MixedGroup(hashes[0], previous[0], list(zip(classes, sizes, strict=True)))


def _read_classes(
    batches: Iterable[pa.RecordBatch],
) -> Iterator[tuple[int, "array[int]", "array[int]", "array[int]"]]:
    """The number of each class, and sizes, hashes and previous splits of its groups."""
    for number, groups in groupby(_read_rows(batches), key=itemgetter(0)):
        columns = array("q"), array("Q"), array("B")
        for _, *values in groups:
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        yield number, *columns


def _read_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, ...]]:
    for batch in batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _insert_codes(connection: duckdb.DuckDBPyConnection, codes: bytearray) -> None:
    values = pa.Array.from_buffers(pa.uint8(), len(codes), [None, pa.py_buffer(codes)])
    connection.register("batch", pa.record_batch([values], names=["split"]))
    connection.execute("INSERT INTO assigned SELECT split FROM batch")
    connection.unregister("batch")
