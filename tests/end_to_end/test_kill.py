"""A run that is killed goes on where it stopped, and ends as if nothing had happened."""

import hashlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.storage.atomic import TEMPORARY
from gbif_webdataset.storage.image_store import FILES, PACKED, open_store
from sample.server import PhotoServer
from tests.support.datasets import ROOT, Dataset, archive_of, digest
from tests.support.faulty_server import FaultyServer
from tests.support.visits import Visit

SEED = 20_240_711
LATEST = 60.0
SOON = 5.0
IMAGES, CONNECTIONS = 300, 16


@pytest.fixture
def slow_photos(photos: PhotoServer) -> Iterator[PhotoServer]:
    """The photos, each after a moment."""
    photos.delay = 0.15
    yield photos
    photos.delay = 0


@pytest.mark.parametrize("store", [FILES, PACKED])
def test_a_run_killed_at_five_random_moments_ends_as_one_that_was_not(
    made: Dataset, slow_photos: PhotoServer, tmp_path: Path, store: str
) -> None:
    rng = random.Random(SEED)
    dataset = Dataset(made.archive, tmp_path / "dataset")
    output, photos = dataset.output, slow_photos
    moments: list[tuple[Callable[[], bool], float]] = [
        (_answered(photos, rng.randint(5, 20)), rng.uniform(0, 0.3)),
        (_answered(photos, rng.randint(10, 25)), rng.uniform(0, 0.3)),
        (lambda: any(output.glob("verified/chunk-*.parquet")), rng.uniform(0, 0.3)),
        (lambda: (output / "verified.parquet").exists(), rng.uniform(0, 0.2)),
        (lambda: any(output.glob("shards/.parts/*group-*")), rng.uniform(0, 0.1)),
    ]
    kills: list[tuple[set[str], int]] = []
    for reached, further in moments:
        _run_and_kill(dataset, store, reached, further)
        _every_file_is_whole(dataset, made)
        kills.append((dataset.settled(), len(photos.requests)))
    dataset.make("--workers", "2", *_with_store(store))

    assert [len(settled) > 0 for settled, _ in kills] == [True] * 5
    for settled, requests in kills:
        assert not settled & {photos.url + path for path, _ in photos.requests[requests:]}
    _every_file_is_whole(dataset, made)
    assert dataset.shards() == made.shards()
    assert dataset.rows("accounting.csv") == made.rows("accounting.csv")


def _answered(photos: PhotoServer, further: int) -> Callable[[], bool]:
    """Whether the server has answered so many requests more than when it was first asked."""
    first: list[int] = []

    def reached() -> bool:
        first.append(len(photos.requests))
        return first[-1] - first[0] >= further

    return reached


def _with_store(store: str) -> tuple[str, ...]:
    return ("--store", store, "--FetchChunk-pack-bytes", "200000")


def _run_and_kill(dataset: Dataset, store: str, reached: Callable[[], bool], further: float) -> None:
    """Run with two workers until the moment is reached and `further` seconds more; then SIGKILL for all of it."""
    command = dataset.command("--workers", "2", "--CreateWebDataset-num-workers", "2", *_with_store(store))
    run = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + LATEST
        while not reached() and run.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(further)
        assert run.poll() is None, "the run ended before it could be killed"
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def _every_file_is_whole(dataset: Dataset, undisturbed: Dataset) -> None:
    """Whatever has its final name is what an undisturbed run writes, or a whole table."""
    wanted = {row["image_path"]: row["sha256"] for row in undisturbed.rows("fetched")}
    images = dataset.output / "images"
    for chunk in range(dataset.chunks):
        stored = open_store(images, chunk)
        for name in stored.list_paths():
            assert hashlib.sha256(stored.read(name)).hexdigest() == wanted[name]
    shards = undisturbed.shards()
    for path in dataset.output.glob("shards/*/*.tar"):
        if path.parent.name != ".parts":
            assert digest(path) == shards[path.relative_to(dataset.output / "shards").as_posix()]
    for path in dataset.output.rglob("*.parquet"):
        if not any(part.startswith(TEMPORARY) for part in path.parts):
            pq.read_table(path)


# Fetching alone: the requests that the host gets, and the processes that remain after the kill.


@pytest.mark.parametrize(
    ("workers", "ends"),
    [(1, (signal.SIGKILL, signal.SIGTERM)), (2, (signal.SIGKILL, signal.SIGTERM, signal.SIGTERM))],
)
def test_a_fetch_that_is_ended_at_random_moments_leaves_no_process_and_asks_for_nothing_twice(
    tmp_path: Path, workers: int, ends: tuple[signal.Signals, ...]
) -> None:
    rng = random.Random(SEED + workers)
    with FaultyServer() as server:
        server.photos = after_a_moment  # type: ignore[method-assign]
        urls = [f"{server.url}/photo/{number:03}" for number in range(IMAGES)]
        dataset = Dataset(archive_of(tmp_path / "a.zip", urls), tmp_path / "dataset", chunks=3)
        may_be_asked = Counter(urls)
        for end in ends:
            before = server.count_requests()
            _fetch_and_end(dataset, server, workers, rng.randint(20, 60), end)
            in_vain = {server.url + request.path for request in server.log[before:]} - dataset.settled()
            assert len(in_vain) <= CONNECTIONS, "more than what was under way"
            may_be_asked += Counter(in_vain)
        dataset.make("--workers", str(workers), task="FetchImages")
        assert Counter(server.url + request.path for request in server.log) <= may_be_asked
    rows = dataset.rows("fetched")
    assert {row["status"] for row in rows} == {"fetched"}
    assert {row["image_path"]: row["sha256"] for row in rows} == {
        path.relative_to(dataset.output / "images").as_posix(): digest(path)
        for path in dataset.output.glob("images/*/*.jpg")
    }
    assert len(rows) == IMAGES


def after_a_moment(visit: Visit) -> None:
    time.sleep(0.1)
    FaultyServer.photos(visit)


def _fetch_and_end(dataset: Dataset, server: FaultyServer, workers: int, further: int, end: signal.Signals) -> None:
    """Fetch until the server was asked so often; then signal the run, which has to be gone, its children too, soon."""
    enough = server.count_requests() + further
    command = dataset.command("--workers", str(workers), task="FetchImages")
    run = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        _wait_until(lambda: server.count_requests() >= enough or run.poll() is not None, LATEST)
        assert run.poll() is None, "the run ended before it could be killed"
        run.send_signal(end)
        run.wait(SOON)
        _wait_until(lambda: not _is_alive(run.pid), SOON)
    finally:
        if _is_alive(run.pid):
            os.killpg(run.pid, signal.SIGKILL)
    _wait_until(lambda: not server.open.now, SOON)


def _is_alive(group: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_until(reached: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)
