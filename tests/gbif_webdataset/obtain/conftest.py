"""What the tests of obtaining archives share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gbif_api import GbifApi
from tests.support.obtain_run import ObtainRun


@pytest.fixture
def server() -> Iterator[GbifApi]:
    """GBIF's API."""
    with GbifApi() as server:
        yield server


@pytest.fixture
def run(server: GbifApi, tmp_path: Path) -> ObtainRun:
    return ObtainRun(server, tmp_path / "archive")
