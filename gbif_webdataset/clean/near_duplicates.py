"""Which of many 64-bit hashes are within a Hamming distance of each other, without comparing all pairs.

Cut into m bands, two hashes that differ in at most d bits agree in m - d bands at least (the pigeonhole principle;
Norouzi, Punjani, Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", 2012). So for each choice of m - d
bands the hashes are sorted by them, and only those that agree in all of them are compared; m is what costs least.
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
from gbif_webdataset.union_find import Forest

BITS = 64
MOST_DISTANCE = 12  # beyond it hashes of different photos meet, and there are too many choices of bands
BLOCK = 1 << 22  # hashes that are sorted at once
LARGE = 4096  # hashes that agree in the bands: more are searched by their other bits
SORTING, COMPARING = 80, 8  # what a hash costs to sort, and a pair to compare: nanoseconds, but only their ratio counts
Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Pairs = tuple[Hashes, Hashes]


def pairs_within(hashes: Hashes, distance: int) -> Iterator[Pairs]:
    """Every pair of these distinct hashes that differ in at most `distance` bits, in arrays; a pair may come twice."""
    yield from _search(hashes, range(BITS - 1, -1, -1), distance)


def link(connection: duckdb.DuckDBPyConnection, query: str, distance: int) -> None:
    """Make `linked` (hash, first): of the query's distinct hashes those near another, and their component's smallest.

    `query` gives one UBIGINT column. The hashes lie in a file beside the database, 4 bytes each in memory.
    """
    connection.execute("CREATE OR REPLACE TABLE linked (hash UBIGINT, first UBIGINT)")
    path = tables.spill_folder(connection) / "hashes"
    count = _store(connection, query, path)
    if count < 2:
        return
    hashes: Hashes = np.memmap(path, np.uint64, "r")
    forest = Forest(count)
    for one, other in pairs_within(hashes, distance):
        forest.join(np.searchsorted(hashes, one), np.searchsorted(hashes, other))
    roots = forest.all_roots()
    members = np.flatnonzero(roots != np.arange(count, dtype=np.int32))
    members = np.concatenate([members, np.unique(roots[members])])
    for start in range(0, len(members), arrow.ROW_GROUP):
        some = members[start : start + arrow.ROW_GROUP]
        columns = [arrow.to_array(np.asarray(hashes[places])) for places in (some, roots[some])]
        connection.register("batch", pa.record_batch(columns, names=["hash", "first"]))
        connection.execute("INSERT INTO linked SELECT * FROM batch")
        connection.unregister("batch")


def _store(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Write a query's distinct hashes to a file, in their order; return how many."""
    count = 0
    with path.open("wb") as file, connection.cursor() as cursor:
        distinct = f"SELECT DISTINCT hash FROM ({query}) AS hashes(hash) ORDER BY hash"
        for batch in tables.select_batches(cursor, distinct):
            file.write(batch.column(0).to_numpy().tobytes())
            count += batch.num_rows
    return count


def _search(hashes: Hashes, free: Sequence[int], distance: int) -> Iterator[Pairs]:
    """Pairs of hashes that may differ in the bits at the places `free`, and agree in all others."""
    bands = _bands(len(hashes), free, distance)
    for chosen in combinations(bands, max(0, len(bands) - distance)):
        common = [place for band in chosen for place in band]
        rest = [place for place in free if place not in common]
        order = [*common, *rest, *(place for place in range(BITS) if place not in free)]
        for arranged in _sorted(hashes, order, len(common)):
            for one, other in _in_runs(arranged, order, len(common), distance):
                yield _restored(one, order), _restored(other, order)
            for run in _large_runs(arranged, len(common)) if common else ():
                yield from _search(_restored(run, order), rest, distance)


def _bands(count: int, free: Sequence[int], distance: int) -> list[Sequence[int]]:
    """The bands to cut the free bits into; none where comparing all pairs costs least."""
    best, least = 0, count * count / 2 * COMPARING
    for number in range(distance + 1, min(len(free), distance + 6) + 1):
        common = len(free) * (number - distance) / number
        cost = math.comb(number, distance) * count * (SORTING + count / 2 ** (common + 1) * COMPARING)
        if cost < least:
            best, least = number, cost
    ends = [len(free) * number // best for number in range(best + 1)] if best else []
    return [free[start:end] for start, end in pairwise(ends)]


def _sorted(hashes: Hashes, order: Sequence[int], common: int) -> Iterator[Hashes]:
    """The hashes with their bits in another order, sorted, in parts of about BLOCK that no run crosses."""
    split = min(common, max(0, math.ceil(math.log2(max(1, len(hashes)) / BLOCK))))
    for part in range(1 << split):
        found = []
        for start in range(0, len(hashes), BLOCK):
            some = _arranged(hashes[start : start + BLOCK], order)
            found.append(some[some >> np.uint64(BITS - split) == part] if split else some)
        arranged = np.concatenate(found) if found else np.empty(0, np.uint64)
        arranged.sort()
        yield arranged


def _in_runs(arranged: Hashes, order: Sequence[int], common: int, distance: int) -> Iterator[Pairs]:
    """Pairs within the distance among hashes that agree in their first `common` bits; LARGE runs are left out."""
    starts, sizes = _runs(arranged, common)
    small = (sizes > 1) & ((sizes <= LARGE) | (not common))
    left = np.repeat(sizes[small], sizes[small])  # how many of its run come from here on
    first = np.repeat(starts[small], sizes[small])
    within = np.arange(len(left)) - np.repeat(np.cumsum(sizes[small]) - sizes[small], sizes[small])
    places, left = first + within, left - within
    step = 1
    while len(places := places[left > step]):
        left = left[left > step]
        one, other = arranged[places], arranged[places + step]
        near = np.bitwise_count(one ^ other) <= distance
        if near.any():
            yield one[near], other[near]
        step += 1


def _large_runs(arranged: Hashes, common: int) -> Iterator[Hashes]:
    starts, sizes = _runs(arranged, common)
    for start, size in zip(starts[sizes > LARGE], sizes[sizes > LARGE], strict=True):
        yield arranged[start : start + size]


def _runs(arranged: Hashes, common: int) -> tuple[Any, Any]:
    """Where the runs of equal first bits start, and how long they are."""
    if not common:
        return np.zeros(1, np.int64), np.full(1, len(arranged))
    prefix = arranged >> np.uint64(BITS - common)
    starts = np.concatenate([np.zeros(min(1, len(arranged)), np.int64), np.flatnonzero(prefix[1:] != prefix[:-1]) + 1])
    return starts, np.diff(starts, append=len(arranged))


def _arranged(hashes: Hashes, order: Sequence[int]) -> Hashes:
    """The hashes with the bit at order[0] as their highest, and so on."""
    moved = np.zeros(len(hashes), np.uint64)
    for source, target, mask in _moves(order):
        moved |= ((hashes >> np.uint64(source)) & np.uint64(mask)) << np.uint64(target)
    return moved


def _restored(hashes: Hashes, order: Sequence[int]) -> Hashes:
    """What `_arranged` was given."""
    moved = np.zeros(len(hashes), np.uint64)
    for source, target, mask in _moves(order):
        moved |= ((hashes >> np.uint64(target)) & np.uint64(mask)) << np.uint64(source)
    return moved


def _moves(order: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """The pieces that stay together: from which bit, to which bit, a mask as wide."""
    start = 0
    for end in range(1, BITS + 1):
        if end == BITS or order[end] != order[end - 1] - 1:
            yield order[end - 1], BITS - end, (1 << (end - start)) - 1
            start = end
