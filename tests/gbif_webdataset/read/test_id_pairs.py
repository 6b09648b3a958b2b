from pathlib import Path

import numpy as np
import pyarrow as pa

from gbif_webdataset.read.id_pairs import SCHEMA, IdPairs


def write(path: Path, rows: list[tuple[int, int, str]], size: int = 2) -> IdPairs:
    """Pairs of these hashes, spaces and ids, in batches of `size` rows."""
    columns = [*zip(*rows, strict=True)] if rows else [[], [], []]
    batch = pa.record_batch([*columns, [0] * len(rows), [f"first {row[2]}" for row in rows]], SCHEMA)
    return IdPairs.write(path / "new" / "pairs", (batch.slice(n, size) for n in range(0, len(rows), size)))


def find(pairs: IdPairs, space: int, asked: list[tuple[int, str | None]]) -> list[tuple[int, str]]:
    hashes = np.array([number for number, _ in asked], np.uint64)
    places, table = pairs.find(space, hashes, pa.chunked_array([[name for _, name in asked]], pa.string()))
    return [*zip(places.tolist(), table.column("first_id").to_pylist(), strict=True)]


def test_pairs_are_found_by_hash_space_and_id_in_the_order_of_the_look_up(tmp_path: Path) -> None:
    largest = 2**64 - 1
    pairs = write(tmp_path, [(3, 1, "a"), (5, 1, "b"), (9, 2, "c"), (largest, 1, "d"), (largest, 1, "e")])
    asked = [(largest, "d"), (4, "x"), (5, "b"), (5, "other id"), (9, "c"), (3, "a"), (3, "a"), (5, None)]
    assert find(pairs, 1, asked) == [(0, "first d"), (2, "first b"), (5, "first a"), (6, "first a")]
    assert find(pairs, 2, asked) == [(4, "first c")]


def test_without_pairs_or_ids_nothing_is_found(tmp_path: Path) -> None:
    assert find(write(tmp_path, []), 1, [(1, "a")]) == []
    assert find(write(tmp_path, [(1, 1, "a")]), 1, []) == []
