import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gbif_webdataset.read.hash_partitions import HashPartitions, scale_hashes


@pytest.mark.parametrize("memory", [0, 1 << 10, 1 << 30])
@pytest.mark.parametrize("count", [1, 7, 64])
def test_each_row_is_in_one_partition_and_partitions_are_ranges_of_the_hash(
    tmp_path: Path, count: int, memory: int
) -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, 1000, dtype=np.uint64)
    hashes[:4] = [0, 1, 2**64 - 1, 2**63]
    table = pa.table({"hash": hashes, "n": np.arange(1000)})
    with HashPartitions(tmp_path / "partitions", table.schema, count, memory) as partitions:
        for begin in range(0, 1000, 90):
            partitions.add(table.slice(begin, 90), hashes[begin : begin + 90])
        partitions.close()
        assert (tmp_path / "partitions").exists() == (memory < 1 << 30)
        found = [partitions.read_partition(number) for number in range(count)]
    assert sorted(n for part in found for n in part.column("n").to_pylist()) == list(range(1000))
    ends = [
        (min(part.column("hash").to_pylist()), max(part.column("hash").to_pylist())) for part in found if part.num_rows
    ]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))
    for number, part in enumerate(found):
        assert set(scale_hashes(part.column("hash").to_numpy(), count).tolist()) <= {number}
        assert part.column("n").to_pylist() == sorted(part.column("n").to_pylist())


def test_rows_that_fit_in_memory_are_read_in_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    table = pa.table({"n": [3, 1, 2]})
    with HashPartitions(tmp_path / "partitions", table.schema, 2, 1 << 20) as partitions:
        assert partitions.read_partition(1).num_rows == 0
        partitions.add(table, np.array([2**63, 0, 2**64 - 1], np.uint64))
        partitions.close()
        assert [partitions.read_partition(number).column("n").to_pylist() for number in (0, 1)] == [[1], [3, 2]]
        assert not (tmp_path / "partitions").exists()
