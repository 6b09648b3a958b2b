import threading
from collections.abc import Iterator

import pytest

from gbif_webdataset.read_ahead import read_ahead


def test_the_items_come_in_their_order() -> None:
    assert list(read_ahead(iter(range(100)))) == list(range(100))
    assert list(read_ahead(iter(()))) == []


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = read_ahead(fail())
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_closing_ends_the_thread_early() -> None:
    made = []
    items = read_ahead((made.append(number) or number for number in range(1_000)), 2)
    assert next(items) == 0
    items.close()
    assert len(made) < 10
    assert "read-ahead" not in {thread.name for thread in threading.enumerate()}
