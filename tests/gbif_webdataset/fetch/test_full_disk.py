import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.fetch.ledger import journal_path, read_journal
from gbif_webdataset.storage.free_space import CHECK_INTERVAL_SECONDS, free_bytes
from tests.support.faulty_server import JPEG, MisbehavingServer, Visit
from tests.support.fetch_run import Fetching, limits

SIZE = 3_000_000
BODY = JPEG + bytes(100_000)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def fetching(disk: Path) -> Fetching:
    return Fetching(disk / "dataset")


def slow_images(server: MisbehavingServer, number: int, seconds: float) -> dict[str, str]:
    """The rows of so many images of 100 kB, each of which takes a while."""

    def behave(visit: Visit) -> None:
        time.sleep(seconds)
        visit.answer(BODY)

    server.behaviours |= {f"slow/{name}": behave for name in range(number)}
    return {f"d/{name}.jpg": f"{server.url}/slow/{name}" for name in range(number)}


def recorded(fetching: Fetching) -> set[str]:
    """The images that the journal says are there; each of its lines is whole."""
    path = journal_path(fetching.folder, 0)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    return {outcome.image_path for outcome in read_journal(path) if outcome.has_bytes}


def test_fetching_stops_before_the_disk_is_full_and_continues_later(
    fetching: Fetching, server: MisbehavingServer, disk: Path
) -> None:
    urls = slow_images(server, 26, 0.25)
    second = 2 / 0.25 * len(BODY)  # bytes that come in a second
    with pytest.raises(FetchError) as raised:
        fetching.fetch(urls, workers=2, min_free_bytes=1_500_000)
    assert re.fullmatch(
        rf"--FetchChunk-min-free-bytes 1500000: only [\d,.]+ [kM]B are free in {fetching.images}; free some space or "
        "lower the value, and run the same command again: it continues where it stopped",
        str(raised.value),
    )
    assert 1_500_000 - 1.5 * CHECK_INTERVAL_SECONDS * second - 2 * len(BODY) < free_bytes(disk) < 1_500_000
    assert recorded(fetching) == fetching.files()
    assert server.asked() == len(fetching.files())
    assert not (fetching.folder / "chunk-00000.parquet").exists()
    assert fetching.fetch(workers=2) == {"fetched": 26}
    assert server.asked() == 26


def test_downloads_in_progress_finish_when_the_disk_fills_up(
    fetching: Fetching, server: MisbehavingServer, disk: Path
) -> None:
    urls = slow_images(server, 40, 0.2)

    def fill(visit: Visit) -> None:
        (disk / "ballast").write_bytes(bytes(SIZE // 2))
        time.sleep(2 * CHECK_INTERVAL_SECONDS + 0.5)
        visit.answer(BODY)

    server.behaviours["slow/0"] = fill
    patient = limits(request_timeout=10, max_seconds=10)
    with pytest.raises(FetchError, match="min-free-bytes"):
        fetching.fetch(urls, workers=2, min_free_bytes=SIZE // 2, limits=patient)
    assert "d/0.jpg" in recorded(fetching) == fetching.files()
    assert server.asked() == len(fetching.files()) < 15
    (disk / "ballast").unlink()
    fetching.fetch({name: urls[name] for name in fetching.files()})
    assert server.asked() == len(fetching.files())


def test_copying_from_cache_path_stops_as_well(fetching: Fetching, server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "older/d").mkdir(parents=True)
    (tmp_path / "older/d/1.jpg").write_bytes(JPEG)
    urls = {"d/1.jpg": f"{server.url}/good"}
    with pytest.raises(FetchError, match="min-free-bytes"):
        fetching.fetch(urls, cache=tmp_path / "older", min_free_bytes=2 * SIZE)
    assert fetching.files() == set()
    assert fetching.fetch(urls, cache=tmp_path / "older") == {"cached": 1}


def test_images_that_move_are_not_copied_to_a_full_disk(fetching: Fetching, server: MisbehavingServer) -> None:
    one, two = f"{server.url}/photo/1", f"{server.url}/photo/2"
    fetching.fetch({"d/1.jpg": one, "d/2.jpg": two})
    with pytest.raises(FetchError, match="min-free-bytes"):
        fetching.fetch({"d/1.jpg": two, "d/2.jpg": one}, min_free_bytes=2 * SIZE)
    assert fetching.fetch() == {"fetched": 2}
    assert server.asked() == 2


def test_no_free_space_is_needed_if_every_image_is_present(fetching: Fetching, server: MisbehavingServer) -> None:
    fetching.fetch({"d/1.jpg": f"{server.url}/good"})
    assert fetching.fetch(min_free_bytes=2 * SIZE) == {"fetched": 1}


def test_a_disk_that_fills_up_loses_no_line_of_the_journal(
    fetching: Fetching, server: MisbehavingServer, disk: Path
) -> None:
    """Images that are not found need space only for their lines in the journal."""
    urls = {f"d/{number}.jpg": f"{server.url}/404?{number}" for number in range(150)}
    fetching.ask_for(urls)
    fetching.images.joinpath("d").mkdir(parents=True)
    full = disk / "ballast"
    full.write_bytes(bytes(free_bytes(disk) - 6 * os.sysconf("SC_PAGESIZE")))
    with pytest.raises(OSError, match="No space left on device"):
        fetching.fetch(workers=4)
    journal = journal_path(fetching.folder, 0)
    kept = len(list(read_journal(journal)))
    assert 10 < kept < 140
    full.unlink()
    server.log.clear()
    assert fetching.fetch(workers=4) == {"not-found": 150}
    assert server.asked() <= 150 - kept
    assert set(fetching.ledger()) == set(urls)
