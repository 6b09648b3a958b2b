"""Fixtures of the tests of splitting."""

from pathlib import Path

import pytest

from tests.support.split_run import SplitRun


@pytest.fixture
def splitting(tmp_path: Path) -> SplitRun:
    """An empty folder in which images are split."""
    return SplitRun(tmp_path)
