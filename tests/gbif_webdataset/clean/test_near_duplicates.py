from pathlib import Path

import numpy as np
import pytest

from gbif_webdataset.clean import near_duplicates
from gbif_webdataset.clean.near_duplicates import find_near_pairs
from gbif_webdataset.storage import tables


def make_hashes(count: int, distance: int, seed: int) -> np.ndarray:
    """Random hashes, with as many again that differ from one of them in up to `distance` + 2 bits."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 1 << 64, count, np.uint64, endpoint=False)
    near = hashes.copy()
    for number in range(count):
        for bit in random.choice(64, random.integers(1, distance + 3), replace=False):
            near[number] ^= np.uint64(1 << int(bit))
    return np.unique(np.concatenate([hashes, near]))


def compare_all_pairs(hashes: np.ndarray, distance: int) -> set[tuple[int, int]]:
    found = set()
    for place, one in enumerate(hashes):
        near = np.flatnonzero(np.bitwise_count(hashes[place + 1 :] ^ one) <= distance) + place + 1
        found |= {(int(one), int(hashes[other])) for other in near}
    return found


def search_pairs(hashes: np.ndarray, distance: int) -> set[tuple[int, int]]:
    return {
        (min(pair), max(pair))
        for one, other in find_near_pairs(hashes, distance)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    }


@pytest.mark.parametrize("distance", [0, 1, 3, 6, 9, 12])
def test_every_pair_within_the_distance_is_found_and_no_other(distance: int) -> None:
    hashes = make_hashes(3000, distance, distance)
    assert search_pairs(hashes, distance) == compare_all_pairs(hashes, distance)


def test_long_runs_are_searched_by_their_other_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_RUN_HASHES", 50)
    random = np.random.default_rng(1)
    hashes = np.unique(random.integers(0, 1 << 22, 2000, np.uint64) << np.uint64(21))
    assert search_pairs(hashes, 3) == compare_all_pairs(hashes, 3)


def test_pairs_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "BLOCK_HASHES", 500)
    hashes = make_hashes(2000, 4, 5)
    assert search_pairs(hashes, 4) == compare_all_pairs(hashes, 4)


def test_each_linked_hash_has_the_smallest_hash_of_its_group(tmp_path: Path) -> None:
    hashes = [0b0, 0b11, 0b1111, 1 << 40, 1 << 63, (1 << 63) + 1, 0b0]
    with tables.open_database(tmp_path) as connection:
        values = ", ".join(f"({value}::UBIGINT)" for value in hashes)
        near_duplicates.link_near_hashes(connection, f"VALUES {values}", 2)
        linked = dict(tables.fetch_rows(connection, "SELECT hash, smallest FROM linked"))
    assert linked == {0: 0, 3: 0, 15: 0, 1 << 40: 0, 1 << 63: 0, (1 << 63) + 1: 0}


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_hashes_have_no_pair(count: int, tmp_path: Path) -> None:
    assert search_pairs(np.arange(count, dtype=np.uint64), 6) == set()
    with tables.open_database(tmp_path) as connection:
        near_duplicates.link_near_hashes(connection, f"SELECT * FROM (VALUES (7::UBIGINT)) LIMIT {count}", 6)
        assert tables.fetch_rows(connection, "SELECT * FROM linked") == []
