"""What the tests of fetching share."""

from collections.abc import Iterator

import pytest

from tests.support.faulty_server import MisbehavingServer


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    """A server of the test's own, with a log of its own."""
    with MisbehavingServer() as server:
        yield server
