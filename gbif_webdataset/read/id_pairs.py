"""Pairs of ids in a file, sorted by a hash, so that a look-up reads a few of its pages only."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from gbif_webdataset.read.hash_partitions import Hashes
from gbif_webdataset.storage import arrow

SCHEMA = pa.schema(
    [
        ("hash", pa.uint64()),
        ("space", pa.int32()),
        ("id", pa.string()),
        ("first_space", pa.int32()),
        ("first_id", pa.string()),
    ]
)


class IdPairs:
    """Pairs with the columns of SCHEMA. The file is mapped into memory: the system may drop its pages at any time."""

    def __init__(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches = map(reader.get_batch, range(reader.num_record_batches))
        self._batches = [batch for batch in batches if batch.num_rows]
        self._hashes = [arrow.to_numpy(batch.column("hash")) for batch in self._batches]

    @classmethod
    def write(cls, path: Path, batches: Iterable[pa.RecordBatch]) -> Self:
        """Write pairs, which are in the order of their hashes, to a new file and open it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(SCHEMA))
        return cls(path)

    def find(
        self, space: int, hashes: Hashes, ids: pa.ChunkedArray
    ) -> tuple["np.ndarray[Any, np.dtype[np.int64]]", pa.Table]:
        """Return the places of ids of a space that have a pair, in their order, and their pairs.

        `hashes` are those of the ids.
        """
        order = np.argsort(hashes)
        in_order, ids = hashes[order], ids.take(arrow.to_array(order))
        places, found = [np.zeros(0, np.int64)], [arrow.make_empty_table(SCHEMA)]
        for batch, of_batch in zip(self._batches, self._hashes, strict=True):
            first = np.searchsorted(in_order, of_batch[0], "left")
            last = np.searchsorted(in_order, of_batch[-1], "right")
            pairs = np.searchsorted(of_batch, in_order[first:last])
            own = np.flatnonzero(of_batch[pairs] == in_order[first:last])
            candidates = pa.table(batch.take(arrow.to_array(pairs[own])))
            is_same = pc.equal(candidates.column("id"), ids.take(arrow.to_array(first + own)))
            is_same = pc.and_(is_same, pc.equal(candidates.column("space"), pa.array([space], pa.int32())[0]))
            is_same = pc.fill_null(is_same, arrow.to_scalar(False))
            found.append(candidates.filter(is_same))
            places.append(order[first + own[arrow.to_numpy(is_same.combine_chunks().cast(pa.int8())).astype(bool)]])
        joined = np.concatenate(places)
        by_place = np.argsort(joined)
        return joined[by_place], pa.concat_tables(found).take(arrow.to_array(by_place))
