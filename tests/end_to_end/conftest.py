"""What the tests on a cluster share."""

from collections.abc import Iterator

import pytest

from sample.server import PhotoServer
from tests.support.slurm_cluster import Cluster, why_not


@pytest.fixture(scope="module")
def the_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("cluster") / "slurm") as cluster:
        yield cluster


@pytest.fixture
def cluster(the_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster without a job, before and after."""
    yield the_cluster
    the_cluster.cancel_all()


@pytest.fixture
def slow_photos(photos: PhotoServer) -> Iterator[PhotoServer]:
    yield photos
    photos.delay = 0
