"""Search for 64-bit hashes within a Hamming distance of each other, without comparing all pairs.

If the bits are cut into m bands, two hashes that differ in at most d bits are equal in at least m - d bands (the
pigeonhole principle; Norouzi, Punjani, Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", 2012). So for
each choice of m - d bands the hashes are sorted by these bands, and only hashes that are equal in all of them (a run)
are compared. The search uses the m with the lowest estimated cost.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.union_find import DisjointSets

BITS = 64
MAX_DISTANCE_BITS = 12  # beyond it hashes of different photos are near, and there are too many choices of bands
BLOCK_HASHES = 1 << 22  # hashes that are sorted at once
MAX_RUN_HASHES = 4096  # longer runs are not compared pair by pair, but searched by their other bits
SORT_COST, COMPARE_COST = 80, 8  # nanoseconds to sort one hash, and to compare one pair; only their ratio matters
Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Pairs = tuple[Hashes, Hashes]


def find_near_pairs(hashes: Hashes, distance: int) -> Iterator[Pairs]:
    """Every pair of these distinct hashes that differ in at most `distance` bits, in two arrays. Pairs may repeat."""
    yield from _search(hashes, range(BITS - 1, -1, -1), distance)


def link_near_hashes(connection: duckdb.DuckDBPyConnection, query: str, distance: int) -> None:
    """Create the table `linked` (hash, smallest): hashes that are near another, each with the smallest of its group.

    `query` selects one UBIGINT column. A group consists of hashes that are near each other directly or through others.
    The distinct hashes are in a file beside the database; memory: 4 bytes for each of them.
    """
    connection.execute("CREATE OR REPLACE TABLE linked (hash UBIGINT, smallest UBIGINT)")
    path = tables.spill_folder(connection) / "hashes"
    count = _store_hashes(connection, query, path)
    if count < 2:
        return
    hashes: Hashes = np.memmap(path, np.uint64, "r")
    groups = DisjointSets(count)
    for one, other in find_near_pairs(hashes, distance):
        groups.join(np.searchsorted(hashes, one), np.searchsorted(hashes, other))
    roots = groups.find_all_roots()
    members = np.flatnonzero(roots != np.arange(count, dtype=np.int32))
    members = np.concatenate([members, np.unique(roots[members])])
    for start in range(0, len(members), arrow.ROW_GROUP):
        batch = members[start : start + arrow.ROW_GROUP]
        columns = [arrow.to_array(np.asarray(hashes[indexes])) for indexes in (batch, roots[batch])]
        connection.register("batch", pa.record_batch(columns, names=["hash", "smallest"]))
        connection.execute("INSERT INTO linked SELECT * FROM batch")
        connection.unregister("batch")


def _store_hashes(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """The number of distinct hashes of the query, which are written to `path` in ascending order."""
    count = 0
    with path.open("wb") as file, connection.cursor() as cursor:
        distinct = f"SELECT DISTINCT hash FROM ({query}) AS hashes(hash) ORDER BY hash"
        for batch in tables.select_batches(cursor, distinct):
            file.write(arrow.to_numpy(batch.column(0)).tobytes())
            count += batch.num_rows
    return count


def _search(hashes: Hashes, open_bits: Sequence[int], distance: int) -> Iterator[Pairs]:
    """Near pairs of hashes that are equal in all bits but `open_bits`."""
    bands = _choose_bands(len(hashes), open_bits, distance)
    for chosen in combinations(bands, max(0, len(bands) - distance)):
        equal = [bit for band in chosen for bit in band]
        others = [bit for bit in open_bits if bit not in equal]
        order = [*equal, *others, *(bit for bit in range(BITS) if bit not in open_bits)]
        for arranged in _sort_arranged(hashes, order, len(equal)):
            for one, other in _compare_runs(arranged, len(equal), distance):
                yield _restore(one, order), _restore(other, order)
            for run in _long_runs(arranged, len(equal)) if equal else ():
                yield from _search(_restore(run, order), others, distance)


def _choose_bands(count: int, open_bits: Sequence[int], distance: int) -> list[Sequence[int]]:
    """The bands to cut the open bits into; [] if it costs least to compare all pairs."""
    bands, lowest_cost = 0, count * count / 2 * COMPARE_COST
    for number in range(distance + 1, min(len(open_bits), distance + 6) + 1):
        equal = len(open_bits) * (number - distance) / number
        cost = math.comb(number, distance) * count * (SORT_COST + count / 2 ** (equal + 1) * COMPARE_COST)
        if cost < lowest_cost:
            bands, lowest_cost = number, cost
    ends = [len(open_bits) * number // bands for number in range(bands + 1)] if bands else []
    return [open_bits[start:end] for start, end in pairwise(ends)]


def _sort_arranged(hashes: Hashes, order: Sequence[int], equal: int) -> Iterator[Hashes]:
    """The hashes with their bits in another order, sorted, in parts of about BLOCK_HASHES. No run is cut."""
    split = min(equal, max(0, math.ceil(math.log2(max(1, len(hashes)) / BLOCK_HASHES))))
    for part in range(1 << split):
        blocks = []
        for start in range(0, len(hashes), BLOCK_HASHES):
            block = _arrange(hashes[start : start + BLOCK_HASHES], order)
            blocks.append(block[block >> np.uint64(BITS - split) == part] if split else block)
        arranged = np.concatenate(blocks) if blocks else np.empty(0, np.uint64)
        arranged.sort()
        yield arranged


def _compare_runs(arranged: Hashes, equal: int, distance: int) -> Iterator[Pairs]:
    """Near pairs among hashes whose first `equal` bits are the same, without runs above MAX_RUN_HASHES."""
    starts, sizes = _find_runs(arranged, equal)
    small = (sizes > 1) & ((sizes <= MAX_RUN_HASHES) | (not equal))
    sizes_by_hash = np.repeat(sizes[small], sizes[small])
    first = np.repeat(starts[small], sizes[small])
    within = np.arange(len(first)) - np.repeat(np.cumsum(sizes[small]) - sizes[small], sizes[small])
    indexes, remaining = first + within, sizes_by_hash - within  # `remaining`: hashes from here to the end of the run
    step = 1
    while len(indexes := indexes[remaining > step]):
        remaining = remaining[remaining > step]
        one, other = arranged[indexes], arranged[indexes + step]
        near = np.bitwise_count(one ^ other) <= distance
        if near.any():
            yield one[near], other[near]
        step += 1


def _long_runs(arranged: Hashes, equal: int) -> Iterator[Hashes]:
    """The runs above MAX_RUN_HASHES."""
    starts, sizes = _find_runs(arranged, equal)
    for start, size in zip(starts[sizes > MAX_RUN_HASHES], sizes[sizes > MAX_RUN_HASHES], strict=True):
        yield arranged[start : start + size]


def _find_runs(arranged: Hashes, equal: int) -> tuple[Any, Any]:
    """Start and length of each run of hashes whose first `equal` bits are the same."""
    if not equal:
        return np.zeros(1, np.int64), np.full(1, len(arranged))
    prefix = arranged >> np.uint64(BITS - equal)
    starts = np.concatenate([np.zeros(min(1, len(arranged)), np.int64), np.flatnonzero(prefix[1:] != prefix[:-1]) + 1])
    return starts, np.diff(starts, append=len(arranged))


def _arrange(hashes: Hashes, order: Sequence[int]) -> Hashes:
    """The hashes with bit order[0] as their highest bit, order[1] as the next, and so on."""
    moved = np.zeros(len(hashes), np.uint64)
    for source, target, mask in _bit_moves(order):
        moved |= ((hashes >> np.uint64(source)) & np.uint64(mask)) << np.uint64(target)
    return moved


def _restore(hashes: Hashes, order: Sequence[int]) -> Hashes:
    """The original hashes of what `_arrange` returned."""
    moved = np.zeros(len(hashes), np.uint64)
    for source, target, mask in _bit_moves(order):
        moved |= ((hashes >> np.uint64(target)) & np.uint64(mask)) << np.uint64(source)
    return moved


def _bit_moves(order: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Groups of neighbouring bits that move together: their lowest bit before and after, and a mask of their width."""
    start = 0
    for end in range(1, BITS + 1):
        if end == BITS or order[end] != order[end - 1] - 1:
            yield order[end - 1], BITS - end, (1 << (end - start)) - 1
            start = end
