import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.fetch.journal import journal_path, read_journal
from gbif_webdataset.storage.free_space import CHECK_INTERVAL_SECONDS, free_bytes
from gbif_webdataset.storage.image_store import FILES, PACKED
from tests.support.faulty_server import FaultyServer
from tests.support.fetch_run import FetchRun, limits
from tests.support.small_disk import mount_disk
from tests.support.visits import JPEG, Visit

SIZE = 3_000_000
BODY = JPEG + bytes(100_000)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    with mount_disk(tmp_path / "disk", SIZE) as folder:
        yield folder


@pytest.fixture(params=[FILES, PACKED])
def run(disk: Path, request: pytest.FixtureRequest) -> FetchRun:
    return FetchRun(disk / "dataset", request.param)


def slow_images(server: FaultyServer, number: int, seconds: float) -> dict[str, str]:
    """The rows of so many images of 100 kB, each of which takes a while."""

    def behave(visit: Visit) -> None:
        time.sleep(seconds)
        visit.answer(BODY)

    server.behaviours |= {f"slow/{name}": behave for name in range(number)}
    return {f"d/{name}.jpg": f"{server.url}/slow/{name}" for name in range(number)}


def recorded(run: FetchRun) -> set[str]:
    """The images that the journal says are there; each of its lines is whole."""
    path = journal_path(run.folder, 0)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    return {outcome.image_path for outcome in read_journal(path) if outcome.has_bytes}


def test_fetching_stops_before_the_disk_is_full_and_goes_on_later(
    run: FetchRun, server: FaultyServer, disk: Path
) -> None:
    urls = slow_images(server, 26, 0.25)
    second = 2 / 0.25 * len(BODY)  # bytes that come in a second
    with pytest.raises(FetchError) as raised:
        run.fetch(urls, workers=2, min_free_bytes=1_500_000)
    assert re.fullmatch(
        rf"--FetchChunk-min-free-bytes 1500000: only [\d,.]+ [kM]B are free in {run.images}; free some space or "
        "lower the value, and run the same command again: it continues where it stopped",
        str(raised.value),
    )
    assert 1_500_000 - 1.5 * CHECK_INTERVAL_SECONDS * second - 2 * len(BODY) < free_bytes(disk) < 1_500_000
    assert recorded(run) == run.list_images()
    assert server.count_requests() == len(run.list_images())
    assert not (run.folder / "chunk-00000.parquet").exists()
    assert run.fetch(workers=2) == {"fetched": 26}
    assert server.count_requests() == 26


def test_images_under_way_end_when_the_disk_fills_up(run: FetchRun, server: FaultyServer, disk: Path) -> None:
    urls = slow_images(server, 40, 0.2)

    def fill(visit: Visit) -> None:
        (disk / "ballast").write_bytes(bytes(SIZE // 2))
        time.sleep(2 * CHECK_INTERVAL_SECONDS + 0.5)
        visit.answer(BODY)

    server.behaviours["slow/0"] = fill
    patient = limits(request_timeout=10, max_seconds=10)
    with pytest.raises(FetchError, match="min-free-bytes"):
        run.fetch(urls, workers=2, min_free_bytes=SIZE // 2, limits=patient)
    assert "d/0.jpg" in recorded(run) == run.list_images()
    assert server.count_requests() == len(run.list_images()) < 15
    (disk / "ballast").unlink()
    run.fetch({name: urls[name] for name in run.list_images()})
    assert server.count_requests() == len(run.list_images())


def test_copies_from_an_older_tree_stop_as_well(run: FetchRun, server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "older/d").mkdir(parents=True)
    (tmp_path / "older/d/1.jpg").write_bytes(JPEG)
    urls = {"d/1.jpg": f"{server.url}/good"}
    with pytest.raises(FetchError, match="min-free-bytes"):
        run.fetch(urls, cache=tmp_path / "older", min_free_bytes=2 * SIZE)
    assert run.list_images() == set()
    assert run.fetch(urls, cache=tmp_path / "older") == {"cached": 1}


def test_images_that_move_are_not_copied_to_a_full_disk(run: FetchRun, server: FaultyServer) -> None:
    one, two = f"{server.url}/photo/1", f"{server.url}/photo/2"
    run.fetch({"d/1.jpg": one, "d/2.jpg": two})
    with pytest.raises(FetchError, match="min-free-bytes"):
        run.fetch({"d/1.jpg": two, "d/2.jpg": one}, min_free_bytes=2 * SIZE)
    assert run.fetch() == {"fetched": 2}
    assert server.count_requests() == 2


def test_where_all_is_there_no_room_is_needed(run: FetchRun, server: FaultyServer) -> None:
    run.fetch({"d/1.jpg": f"{server.url}/good"})
    assert run.fetch(min_free_bytes=2 * SIZE) == {"fetched": 1}


def test_a_disk_with_no_room_for_the_journal_loses_nothing_that_is_in_it(
    run: FetchRun, server: FaultyServer, disk: Path
) -> None:
    """Images that are not found take no room but their lines'."""
    urls = {f"d/{number}.jpg": f"{server.url}/404?{number}" for number in range(150)}
    run.write_manifest(urls)
    run.images.joinpath("d").mkdir(parents=True)
    full = disk / "ballast"
    full.write_bytes(bytes(free_bytes(disk) - 6 * os.sysconf("SC_PAGESIZE")))
    with pytest.raises(OSError, match="No space left on device"):
        run.fetch(workers=4)
    journal = journal_path(run.folder, 0)
    kept = len(list(read_journal(journal)))
    assert 10 < kept < 140
    full.unlink()
    server.log.clear()
    assert run.fetch(workers=4) == {"not-found": 150}
    assert server.count_requests() <= 150 - kept
    assert set(run.read_ledger()) == set(urls)


def test_a_folder_that_is_not_there_yet_has_the_room_of_where_it_will_be(disk: Path) -> None:
    assert 0 < free_bytes(disk / "dataset" / "images") == free_bytes(disk) <= SIZE + 8192


def test_a_disk_is_looked_at_about_once_a_second(
    run: FetchRun, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    lock = threading.Lock()

    def look(folder: Path) -> int:
        with lock:
            looks.append(1)
        return SIZE

    monkeypatch.setattr("gbif_webdataset.storage.free_space.free_bytes", look)
    begun = time.monotonic()
    run.fetch(slow_images(server, 24, 0.2), workers=2, min_free_bytes=1)
    assert 2 <= len(looks) <= 2 * (time.monotonic() - begun) / CHECK_INTERVAL_SECONDS + 2


def test_a_disk_that_is_full_keeps_what_is_recorded(run: FetchRun, server: FaultyServer, disk: Path) -> None:
    urls = slow_images(server, 20, 0)
    run.write_manifest(urls)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(SIZE - 6 * len(BODY)))
    with pytest.raises(OSError, match="No space left on device"):
        run.fetch(workers=4)
    kept = recorded(run)
    assert 0 < len(kept) < 20
    assert all(run.read_image(name) == BODY for name in kept)
    ballast.unlink()
    asked = server.count_requests()
    assert run.fetch(workers=4) == {"fetched": 20}
    assert server.count_requests() - asked <= 20 - len(kept)
    assert all(run.read_image(name) == BODY for name in urls)
    assert run.list_images() == set(urls)
