"""What the tests of fetching share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faulty_server import FaultyServer
from tests.support.plan_run import PlanRun


@pytest.fixture
def plan_run(tmp_path: Path) -> PlanRun:
    return PlanRun(tmp_path / "dataset")


@pytest.fixture
def other() -> Iterator[FaultyServer]:
    """A second host."""
    with FaultyServer() as server:
        yield server
