"""Rows that are sorted by a key: which ids are of one occurrence.

The key is in the columns `high` and `low`. Rows with equal keys, a group, are in the order of the column `archive`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from gbif_webdataset.read.media_decisions import Numbers
from gbif_webdataset.read.record_slots import Truths
from gbif_webdataset.storage import arrow


def cut_at_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables that end where a group ends.

    Of more than two rows of a group with the same archive two are left, so that no table is large.
    """
    rest: list[pa.RecordBatch] = []
    for batch in batches:
        rows = pa.Table.from_batches([*rest, batch])
        is_start = _find_starts(rows)
        is_repeat = ~(is_start | _find_changes(rows, "archive"))
        is_third = is_repeat & np.append(False, is_repeat[:-1])[: len(is_repeat)]
        rows, starts = rows.filter(arrow.to_array(~is_third)), np.flatnonzero(is_start[~is_third])
        last = int(starts[-1]) if len(starts) else 0
        if last:
            yield rows.slice(0, last)
        rest = rows.slice(last).to_batches()
    if rest:
        yield pa.Table.from_batches(rest)


def find_single_rows(rows: pa.Table) -> Numbers:
    """The values of the column `row` of each group's first row, without groups that have two rows of an archive."""
    is_start = _find_starts(rows)
    groups = np.cumsum(is_start) - 1
    has_repeat = np.zeros(int(is_start.sum()), bool)
    has_repeat[groups[~(is_start | _find_changes(rows, "archive"))]] = True
    return _read(rows, "row")[np.flatnonzero(is_start)[~has_repeat]]


def pair_rows(rows: pa.Table) -> pa.Table:
    """Pairs of different ids in a group: space, id, and the space and id of the first archive with this key.

    In each space the ids of the first archive count. If this archive has several, they say nothing.
    """
    is_start = _find_starts(rows)
    starts = np.flatnonzero(is_start | _find_changes(rows, "archive"))  # of the rows of an archive in a group
    groups, spaces = (np.cumsum(is_start) - 1)[starts], _read(rows, "space")[starts].astype(np.int64)
    is_single = np.diff(starts, append=rows.num_rows) == 1
    _, firsts = np.unique(groups * (int(spaces.max(initial=0)) + 1) + spaces, return_index=True)
    kept = np.sort(firsts[is_single[firsts]])
    is_first = np.append(True, np.diff(groups[kept]) != 0)[: len(kept)]
    owners = kept[is_first][np.cumsum(is_first) - 1]
    is_pair = spaces[kept] != spaces[owners]
    pairs, firsts = (rows.take(arrow.to_array(starts[which[is_pair]])) for which in (kept, owners))
    columns = [*pairs.select(["space", "id"]).columns, *firsts.select(["space", "id"]).columns]
    return pa.table(columns, ["space", "id", "first_space", "first_id"])


def _find_starts(rows: pa.Table) -> Truths:
    """Whether each row is the first of its group."""
    return _find_changes(rows, "high") | _find_changes(rows, "low")


def _find_changes(rows: pa.Table, name: str) -> Truths:
    """Whether each row has another value than the row before it; the first row has."""
    values = _read(rows, name)
    return np.append(True, values[1:] != values[:-1])[: len(values)]


def _read(rows: pa.Table, name: str) -> "np.ndarray[Any, Any]":
    return arrow.to_numpy(rows.column(name).combine_chunks())
