"""Fixtures that the tests of several stages share."""

from collections.abc import Iterator

import pytest

from tests.support.faulty_server import FaultyServer


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """A server for one test, with its own log."""
    with FaultyServer() as server:
        yield server
