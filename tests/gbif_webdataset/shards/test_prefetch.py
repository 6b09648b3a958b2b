"""Reading and decoding ahead: order, errors and the limit on memory."""

import threading
import time
from pathlib import Path

import pytest

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.shards.prefetch import MAX_BATCH_IMAGES, map_in_order, prefetch_images
from gbif_webdataset.shards.sample import Sample
from gbif_webdataset.storage.image_reader import ImageReader


def write_samples(folder: Path, count: int) -> list[Sample]:
    samples = []
    for number in range(count):
        data = b"x" * number
        (folder / f"{number}.jpg").write_bytes(data)
        samples.append(Sample(str(number), f"{number}.jpg", 0, "JPEG", len(data), 1, None, None, None))
    return samples


def test_results_are_in_the_order_of_the_items_whichever_ends_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number

    assert list(map_in_order(work, range(20), 4)) == list(range(20))


def test_at_most_one_result_more_than_threads_is_in_memory() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            started.append(number)
        return number

    results = map_in_order(work, iter(range(100)), 3)
    for number in range(5):
        assert next(results) == number
        time.sleep(0.01)
        assert max(started) <= number + 3
    results.close()  # type: ignore[attr-defined]


def test_the_error_of_the_first_failed_item_is_raised() -> None:
    def work(number: int) -> int:
        if number >= 5:
            time.sleep(0.01 if number == 5 else 0)
            raise ValueError(str(number))
        return number

    results = map_in_order(work, range(20), 4)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match=r"^5$"):
        next(results)


def test_images_are_read_in_the_order_of_the_samples(tmp_path: Path) -> None:
    samples = write_samples(tmp_path, 3 * MAX_BATCH_IMAGES + 1)
    read = list(prefetch_images(samples, ImageReader(tmp_path)))
    assert [sample for sample, _ in read] == samples
    assert all(len(data) == sample.file_size for sample, data in read)


def test_a_missing_image_is_an_error_after_the_batches_before_it(tmp_path: Path) -> None:
    samples = write_samples(tmp_path, 2 * MAX_BATCH_IMAGES)
    (tmp_path / samples[-1].image_path).unlink()
    images = prefetch_images(samples, ImageReader(tmp_path))
    assert [next(images)[0] for _ in range(MAX_BATCH_IMAGES)] == samples[:MAX_BATCH_IMAGES]
    with pytest.raises(MissingPieceError, match=samples[-1].image_path):
        next(images)
