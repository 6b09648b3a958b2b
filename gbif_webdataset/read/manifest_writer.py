"""The manifest's chunks, written while their images are found."""

import contextlib
import itertools
import queue
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa

from gbif_webdataset.read.hash_partitions import scale_hashes
from gbif_webdataset.read.select_media import SelectedImages
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.chunks import chunk_name

WRITERS = 2
Piece = tuple[int, SelectedImages]


class ManifestWriter:
    """Writes `folder`/chunk-NNNNN.parquet for `chunks` chunks. A chunk is a range of the hashes of the records' ids."""

    def __init__(self, folder: Path, chunks: int) -> None:
        self.folder, self.chunks = folder, chunks

    def write(self, schema: pa.Schema, partitions: Iterable[SelectedImages]) -> list[int]:
        """Write all chunks, two at a time; the number of images in each.

        Partitions are in the order of their hashes. Few are in memory at once, however many a chunk spans.
        """
        return self._write_pieces(schema, self._cut_into_pieces(partitions))

    def _cut_into_pieces(self, partitions: Iterable[SelectedImages]) -> Iterator[Piece]:
        """The images of each partition, cut where a chunk ends, each piece with the number of its chunk."""
        for images in partitions:
            chunks = scale_hashes(images.hashes, self.chunks)
            bounds = np.searchsorted(chunks, np.arange(self.chunks + 1))
            for chunk in np.flatnonzero(np.diff(bounds)).tolist():
                yield chunk, images.slice(int(bounds[chunk]), int(bounds[chunk + 1]))

    def _write_pieces(self, schema: pa.Schema, pieces: Iterator[Piece]) -> list[int]:
        counts: list[Future[int]] = []
        with ThreadPoolExecutor(WRITERS, "chunk") as pool:
            by_chunk = itertools.groupby(pieces, key=itemgetter(0))
            chunk, pieces_of_chunk = next(by_chunk, (self.chunks, iter(())))
            for number in range(self.chunks):
                feed = _PieceQueue()
                counts.append(pool.submit(_write_chunk, self.folder / chunk_name(number), schema, feed))
                try:
                    if chunk == number:
                        for _, piece in pieces_of_chunk:
                            feed.put(piece, counts[-1])
                        chunk, pieces_of_chunk = next(by_chunk, (self.chunks, iter(())))
                    feed.put(None, counts[-1])
                except BaseException as error:
                    feed.fail(error)
                    raise
                wait(counts[:-WRITERS])
        return [count.result() for count in counts]


class _PieceQueue:
    """Passes the pieces of a chunk, one at a time, from the thread that finds them to the thread that writes them."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[SelectedImages | BaseException | None] = queue.Queue(1)

    def put(self, piece: SelectedImages | None, writer: Future[int]) -> None:
        """Pass a piece, or None after the last. Raises the writer's error if it has failed."""
        while True:
            with contextlib.suppress(queue.Full):
                self._pieces.put(piece, timeout=0.1)
                return
            if writer.done():
                writer.result()

    def fail(self, error: BaseException) -> None:
        """Make the writer fail with this error."""
        with contextlib.suppress(queue.Empty):
            self._pieces.get_nowait()
        self._pieces.put(error)

    def __iter__(self) -> Iterator[SelectedImages]:
        while (piece := self._pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


def _write_chunk(path: Path, schema: pa.Schema, pieces: Iterable[SelectedImages]) -> int:
    batches = (batch for piece in pieces for batch in piece.make_rows().to_batches())
    return arrow.write_parquet(batches, path, schema)
