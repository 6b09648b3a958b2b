"""Rows dealt to buckets by a hash: in memory while they are few, in a file a bucket once they are many."""

import contextlib
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from gbif_webdataset.storage import arrow

Hashes = "np.ndarray[Any, np.dtype[np.uint64]]"


class Buckets:
    """Tables of one schema, cut into `count` buckets; at most about `memory` bytes of them are held in memory.

    A bucket holds a range of the hashes, so buckets taken in their order are in the order of the hashes.
    """

    def __init__(self, folder: Path, schema: pa.Schema, count: int, memory: int) -> None:
        self._folder, self._schema, self._count, self._memory = folder, schema, count, memory
        self._held: list[tuple[pa.Table, np.ndarray[Any, Any]]] = []
        self._size = 0
        self._files = contextlib.ExitStack()
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, rows: pa.Table, hashes: "np.ndarray[Any, np.dtype[np.uint64]]") -> None:
        """Put rows away, each by its 64-bit hash."""
        if rows.num_rows:
            self._held.append((rows, share_of(hashes, self._count)))
            self._size += rows.nbytes
            if self._size > self._memory:
                self._spill()

    def close(self) -> None:
        """Say that all rows are there."""
        if self._writers and self._held:
            self._spill()
        self._files.close()

    @property
    def spilled(self) -> bool:
        """Whether some rows are in files."""
        return bool(self._writers)

    def everything(self) -> pa.Table:
        """All rows, where none is in a file."""
        return pa.concat_tables([rows for rows, _ in self._held]) if self._held else self._schema.empty_table()

    def take(self, bucket: int) -> pa.Table:
        """The rows of a bucket."""
        if bucket in self._writers:
            with pa.OSFile(str(self._path(bucket))) as file, pa.ipc.open_stream(file) as stream:
                return stream.read_all()
        parts = [rows.filter(arrow.to_array(places == bucket)) for rows, places in self._held]
        return pa.concat_tables(parts) if parts else self._schema.empty_table()

    def _spill(self) -> None:
        rows = pa.concat_tables([rows for rows, _ in self._held]).combine_chunks()
        places = np.concatenate([places for _, places in self._held])
        self._held, self._size = [], 0
        order = np.argsort(places, kind="stable")
        rows = rows.take(arrow.to_array(order))
        bounds = np.searchsorted(places[order], np.arange(self._count + 1))
        for bucket in range(self._count):
            begin, end = int(bounds[bucket]), int(bounds[bucket + 1])
            if end > begin:
                self._writer(bucket).write_table(arrow.compact_table(rows.slice(begin, end - begin)))

    def _writer(self, bucket: int) -> pa.ipc.RecordBatchStreamWriter:
        if bucket not in self._writers:
            self._folder.mkdir(parents=True, exist_ok=True)
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            file = self._files.enter_context(pa.OSFile(str(self._path(bucket)), "wb"))
            writer = pa.ipc.new_stream(file, self._schema, options=options)
            self._writers[bucket] = self._files.enter_context(writer)
        return self._writers[bucket]

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket:04d}.arrow"


def share_of(hashes: "np.ndarray[Any, np.dtype[np.uint64]]", count: int) -> "np.ndarray[Any, Any]":
    """Which of `count` equal ranges each 64-bit hash is in, from 0."""
    return ((hashes >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)
