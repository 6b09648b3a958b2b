"""Images ahead of their need: read while others are decoded, and decoded side by side, within bounds on memory.

The order of samples is drawn by chance, so nearly every file is a wait, for the disk or for the network. Reading a
file and decoding a picture leave the interpreter to other threads.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from gbif_webdataset.shards.sample import Sample, read

READERS = 4
BATCH_BYTES = 1 << 20  # that a thread reads at a time, beside its last image
BATCH_IMAGES = 16

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(work: Callable[[Given], Made], given: Iterable[Given], threads: int) -> Iterator[Made]:
    """`work` of each thing given, in their order, by so many threads; one result more than threads is held at most.

    An error of `work` is raised here, the first in order.
    """
    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[Made]] = deque()
    try:
        for one in given:
            pending.append(pool.submit(work, one))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_ahead(samples: Iterable[Sample], images: Path) -> Iterator[tuple[Sample, bytes]]:
    """Each sample with its image's bytes, in order. Raises what `samples.read` does."""
    for batch in in_order(partial(_read_all, images), _batches(samples), READERS):
        yield from batch


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    filled = 0
    for sample in samples:
        batch.append(sample)
        filled += sample.file_size
        if filled >= BATCH_BYTES or len(batch) == BATCH_IMAGES:
            yield batch
            batch, filled = [], 0
    if batch:
        yield batch


def _read_all(images: Path, batch: list[Sample]) -> list[tuple[Sample, bytes]]:
    return [(sample, read(sample, images)) for sample in batch]
