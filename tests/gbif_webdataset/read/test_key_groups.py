import random

import numpy as np
import pyarrow as pa
import pytest

from gbif_webdataset.read.key_groups import cut_at_groups, find_single_rows, pair_rows

Rows = list[tuple[int, int, int, str]]  # key, archive, space, id


def to_batch(rows: Rows) -> pa.RecordBatch:
    keys, archives, spaces, ids = zip(*rows, strict=True)
    columns = {
        "high": pa.array([key // 10 for key in keys], pa.uint64()),
        "low": pa.array([key % 10 for key in keys], pa.uint64()),
        "archive": pa.array(archives, pa.int32()),
        "space": pa.array(spaces, pa.int32()),
        "row": pa.array(range(len(rows)), pa.int64()),
        "id": pa.array(ids),
    }
    return pa.record_batch(columns)


def to_table(rows: Rows) -> pa.Table:
    return pa.Table.from_batches([to_batch(rows)])


def test_tables_end_where_a_group_ends() -> None:
    rng = random.Random(1)
    rows = to_batch(sorted((rng.randrange(40), rng.randrange(3), 0, "") for _ in range(200)))
    cuts = sorted(rng.sample(range(200), 30))
    ranges = zip([0, *cuts], [*cuts, 200], strict=True)
    found = list(cut_at_groups(rows.slice(start, end - start) for start, end in ranges))
    assert len(found) > 10
    groups = [{(row["high"], row["low"]) for row in table.to_pylist()} for table in found]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40
    assert {list_keys(row) for table in found for row in table.to_pylist()} == set(map(list_keys, rows.to_pylist()))


def list_keys(row: dict[str, int]) -> tuple[int, ...]:
    return row["high"], row["low"], row["archive"]


def test_of_a_large_group_two_rows_of_an_archive_are_left() -> None:
    batches = [to_batch([(7, archive, 0, "x")] * 1000) for archive in (0, 0, 0, 1, 1)]
    [table] = cut_at_groups(iter(batches))
    assert table.column("archive").to_pylist() == [0, 0, 1, 1]


@pytest.mark.parametrize("batches", [[], [to_batch([(1, 0, 0, "a")]).slice(1)]], ids=["none", "empty"])
def test_without_rows_there_are_no_tables(batches: list[pa.RecordBatch]) -> None:
    assert not list(cut_at_groups(batches))


def test_the_first_row_of_each_group_counts_unless_an_archive_has_two() -> None:
    rows = to_table([(1, 0, 0, "a"), (1, 2, 0, "a"), (2, 0, 0, "b"), (2, 0, 0, "b"), (13, 1, 0, "c"), (23, 1, 0, "d")])
    assert find_single_rows(rows).tolist() == [0, 4, 5]


def test_ids_are_paired_with_the_id_of_the_first_archive() -> None:
    rows: Rows = [(1, 0, 0, "g"), (1, 1, 1, "p"), (1, 2, 0, "old"), (1, 3, 3, "q"), (2, 0, 0, "alone"), (2, 2, 0, "x")]
    assert pair_rows(to_table(rows)).to_pylist() == [
        {"space": 1, "id": "p", "first_space": 0, "first_id": "g"},
        {"space": 3, "id": "q", "first_space": 0, "first_id": "g"},
    ]


def test_a_key_that_the_first_archive_of_a_space_has_twice_pairs_none_of_its_ids() -> None:
    rows: Rows = [(1, 0, 0, "g"), (1, 0, 0, "h"), (1, 1, 1, "p"), (1, 2, 0, "g"), (1, 3, 3, "q"), (2, 1, 1, "alone")]
    assert pair_rows(to_table(rows)).to_pylist() == [{"space": 3, "id": "q", "first_space": 1, "first_id": "p"}]


def test_pairs_of_random_rows_are_those_of_a_plain_loop() -> None:
    rng = random.Random(2)
    rows = sorted((rng.randrange(300), rng.randrange(5), 0, f"{number}") for number in range(900))
    spaces = [0, 1, 0, 3, 4]
    rows = [(key, archive, spaces[archive], name) for key, archive, _, name in rows]
    expected = []
    for key in range(300):
        kept: list[tuple[int, str]] = []
        seen = set()
        for archive in range(5):
            ids = [row[3] for row in rows if row[:2] == (key, archive)]
            if ids and spaces[archive] not in seen:
                seen.add(spaces[archive])
                kept += [(spaces[archive], ids[0])] if len(ids) == 1 else []
        expected += [(*pair, *kept[0]) for pair in kept[1:]]
    found = [tuple(row.values()) for row in pair_rows(to_table(rows)).to_pylist()]
    assert sorted(found) == sorted(expected)
    assert len(found) > 100
    assert np.unique([row[0] for row in found]).size > 1
