"""Read and decode images ahead of the tar writer, with a limit on memory.

Samples are in random order, so reading nearly every file waits for the disk or the network. Reading and decoding
release the GIL, so threads do both.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from gbif_webdataset.shards.sample import Sample, read_image
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.pack_places import Place

READERS = 4
MAX_BATCH_BYTES = 1 << 20  # a thread reads one batch at a time; the last image may exceed this
MAX_BATCH_IMAGES = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`work(item)` for each item, in the order of the items, computed by several threads.

    At most `threads` + 1 results are in memory. If calls fail, the error of the first of these items is raised.
    """
    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def prefetch_images(samples: Iterable[Sample], images: ImageReader) -> Iterator[tuple[Sample, bytes]]:
    """Each sample with the bytes of its image, in order.

    Raises:
        MissingPieceError: an image is missing, or its size has changed since it was verified.
    """
    for batch in map_in_order(partial(_read_batch, images), _make_batches(samples), READERS):
        yield from batch


def _make_batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    size = 0
    for sample in samples:
        batch.append(sample)
        size += sample.file_size
        if size >= MAX_BATCH_BYTES or len(batch) == MAX_BATCH_IMAGES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_batch(images: ImageReader, batch: list[Sample]) -> list[tuple[Sample, bytes]]:
    """The images of a batch, which are read in the order of the disk."""
    places = [Place.parse(sample.place) if sample.place else () for sample in batch]
    order = sorted(range(len(batch)), key=places.__getitem__)
    read = {position: read_image(batch[position], images) for position in order}
    return [(sample, read[position]) for position, sample in enumerate(batch)]
