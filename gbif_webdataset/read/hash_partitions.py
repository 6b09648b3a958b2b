"""Rows in partitions by a hash: in memory while they are few, in a file per partition when they are many."""

import contextlib
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from gbif_webdataset.storage import arrow

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


class HashPartitions:
    """Tables of one schema, divided into `count` partitions; about `memory` bytes of them are kept in memory.

    A partition is a range of the hashes, so partitions taken in their order are in the order of the hashes.
    """

    def __init__(self, folder: Path, schema: pa.Schema, count: int, memory: int) -> None:
        self._folder, self._schema, self._count, self._memory = folder, schema, count, memory
        self._in_memory: list[tuple[pa.Table, np.ndarray[Any, Any]]] = []
        self._bytes = 0
        self._files = contextlib.ExitStack()
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, rows: pa.Table, hashes: Hashes) -> None:
        """Add rows, each with its 64-bit hash."""
        if rows.num_rows:
            self._in_memory.append((rows, scale_hashes(hashes, self._count)))
            self._bytes += rows.nbytes
            if self._bytes > self._memory:
                self._spill()

    def close(self) -> None:
        """Complete the files after the last row was added."""
        if self._writers and self._in_memory:
            self._spill()
        self._files.close()

    def read_partition(self, partition: int) -> pa.Table:
        """The rows of a partition."""
        if partition in self._writers:
            with pa.OSFile(str(self._path(partition))) as file, pa.ipc.open_stream(file) as stream:
                return stream.read_all()
        parts = [rows.filter(arrow.to_array(partitions == partition)) for rows, partitions in self._in_memory]
        return pa.concat_tables(parts) if parts else arrow.make_empty_table(self._schema)

    def _spill(self) -> None:
        rows = pa.concat_tables([rows for rows, _ in self._in_memory]).combine_chunks()
        partitions = np.concatenate([partitions for _, partitions in self._in_memory])
        self._in_memory, self._bytes = [], 0
        order = np.argsort(partitions, kind="stable")
        rows = rows.take(arrow.to_array(order))
        bounds = np.searchsorted(partitions[order], np.arange(self._count + 1))
        for partition in range(self._count):
            begin, end = int(bounds[partition]), int(bounds[partition + 1])
            if end > begin:
                self._get_writer(partition).write_table(arrow.compact_table(rows.slice(begin, end - begin)))

    def _get_writer(self, partition: int) -> pa.ipc.RecordBatchStreamWriter:
        if partition not in self._writers:
            self._folder.mkdir(parents=True, exist_ok=True)
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            file = self._files.enter_context(pa.OSFile(str(self._path(partition)), "wb"))
            writer = pa.ipc.new_stream(file, self._schema, options=options)
            self._writers[partition] = self._files.enter_context(writer)
        return self._writers[partition]

    def _path(self, partition: int) -> Path:
        return self._folder / f"{partition:04d}.arrow"


def scale_hashes(hashes: Hashes, count: int) -> "np.ndarray[Any, Any]":
    """For each 64-bit hash the number, from 0, of the one of `count` equal ranges that it is in."""
    return ((hashes >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)
