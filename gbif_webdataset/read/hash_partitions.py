"""Rows in partitions by a hash: in memory if they are few, otherwise in a file per partition."""

import contextlib
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from gbif_webdataset.storage import arrow

TABLES_AT_ONCE = 3
"""Tables that are divided at a time. More take more memory; fewer take more time, because they give smaller batches."""
Hashes = np.ndarray[Any, np.dtype[np.uint64]]


class HashPartitions:
    """Tables of one schema, divided into `count` partitions.

    They are kept in memory until they have more than `memory` bytes. From then on all go to files.

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
            if len(self._in_memory) >= TABLES_AT_ONCE if self._writers else self._bytes > self._memory:
                self._spill()

    def close(self) -> None:
        """Complete the files after the last row was added."""
        if self._writers:
            self._spill()
        self._files.close()
        self._writers.clear()  # they keep the dictionaries that they wrote last

    def read_partition(self, partition: int) -> pa.Table:
        """The rows of a partition."""
        if self._path(partition).exists():
            with pa.OSFile(str(self._path(partition))) as file, pa.ipc.open_stream(file) as stream:
                return stream.read_all()
        parts = [rows.filter(arrow.to_array(partitions == partition)) for rows, partitions in self._in_memory]
        return pa.concat_tables(parts) if parts else arrow.make_empty_table(self._schema)

    def _spill(self) -> None:
        while pending := self._in_memory[:TABLES_AT_ONCE]:
            del self._in_memory[:TABLES_AT_ONCE]
            tables, partitions = zip(*pending, strict=True)
            self._write_rows(pa.concat_tables(tables), np.concatenate(partitions))

    def _write_rows(self, rows: pa.Table, partitions: "np.ndarray[Any, Any]") -> None:
        order = np.argsort(partitions, kind="stable")
        rows = rows.combine_chunks().take(arrow.to_array(order))
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
