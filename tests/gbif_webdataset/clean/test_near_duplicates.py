"""Near hashes: all that an all-pairs comparison finds, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbif_webdataset.clean import near_duplicates
from gbif_webdataset.clean.near_duplicates import pairs_within
from gbif_webdataset.storage import tables
from gbif_webdataset.union_find import Forest


def planted(count: int, distance: int, seed: int) -> np.ndarray:
    """Random hashes, with as many again that differ from one of them in up to `distance` + 2 bits."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 1 << 64, count, np.uint64, endpoint=False)
    near = hashes.copy()
    for number in range(count):
        for bit in random.choice(64, random.integers(1, distance + 3), replace=False):
            near[number] ^= np.uint64(1 << int(bit))
    return np.unique(np.concatenate([hashes, near]))


def all_pairs(hashes: np.ndarray, distance: int) -> set[tuple[int, int]]:
    found = set()
    for place, one in enumerate(hashes):
        near = np.flatnonzero(np.bitwise_count(hashes[place + 1 :] ^ one) <= distance) + place + 1
        found |= {(int(one), int(hashes[other])) for other in near}
    return found


def found_by_search(hashes: np.ndarray, distance: int) -> set[tuple[int, int]]:
    return {
        (min(pair), max(pair))
        for one, other in pairs_within(hashes, distance)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    }


@pytest.mark.parametrize("distance", [0, 1, 3, 6, 9, 12])
def test_every_pair_within_the_distance_is_found_and_no_other(distance: int) -> None:
    hashes = planted(3000, distance, distance)
    assert found_by_search(hashes, distance) == all_pairs(hashes, distance)


def test_hashes_that_agree_in_most_bits_are_searched_by_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "LARGE", 50)
    random = np.random.default_rng(1)
    hashes = np.unique(random.integers(0, 1 << 22, 4000, np.uint64) << np.uint64(21))
    assert found_by_search(hashes, 3) == all_pairs(hashes, 3)


def test_hashes_of_several_blocks_are_found_across_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "BLOCK", 500)
    hashes = planted(2000, 4, 5)
    assert found_by_search(hashes, 4) == all_pairs(hashes, 4)


def test_linked_hashes_name_the_smallest_of_their_chain(tmp_path) -> None:
    hashes = [0b0, 0b11, 0b1111, 1 << 40, 1 << 63, (1 << 63) + 1, 0b0]
    with tables.open_database(tmp_path) as connection:
        values = ", ".join(f"({value}::UBIGINT)" for value in hashes)
        near_duplicates.link(connection, f"VALUES {values}", 2)
        linked = dict(tables.fetch_rows(connection, "SELECT hash, first FROM linked"))
    assert linked == {0: 0, 3: 0, 15: 0, 1 << 40: 0, 1 << 63: 0, (1 << 63) + 1: 0}


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_hashes_have_no_pair(count: int, tmp_path) -> None:
    assert found_by_search(np.arange(count, dtype=np.uint64), 6) == set()
    with tables.open_database(tmp_path) as connection:
        near_duplicates.link(connection, f"SELECT * FROM (VALUES (7::UBIGINT)) LIMIT {count}", 6)
        assert tables.fetch_rows(connection, "SELECT * FROM linked") == []


def naive(size: int, joins: list[tuple[int, int]]) -> list[int]:
    labels = list(range(size))
    for one, other in joins:
        low, high = sorted((labels[one], labels[other]))
        labels = [low if label == high else label for label in labels]
    return labels


@settings(max_examples=200, deadline=None)
@given(data=st.data(), size=st.integers(1, 40))
def test_what_is_joined_through_others_has_one_root_the_smallest(data: st.DataObject, size: int) -> None:
    things = st.integers(0, size - 1)
    batches = data.draw(st.lists(st.lists(st.tuples(things, things), max_size=20), max_size=4))
    forest = Forest(size)
    for batch in batches:
        one, other = np.array(batch, np.int64).reshape(-1, 2).T
        forest.join(one, other)
    joins = [pair for batch in batches for pair in batch]
    assert forest.all_roots().tolist() == naive(size, joins)
    assert forest.roots(np.arange(size)).tolist() == naive(size, joins)
