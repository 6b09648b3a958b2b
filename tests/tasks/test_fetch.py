"""The requests of the whole job, as the logs of hosts show them: their rate, and which are repeated."""

import json
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.datasets import ROOT, Dataset, archive_of, digest
from tests.support.faulty_server import FaultyServer
from tests.support.response_cases import CASES
from tests.support.visits import Request, Visit, photo

JITTER = 10  # requests: the log has the times of their arrival, not of their sending
HOSTS = "host,connections,requests_per_second\n"


@pytest.fixture
def museum() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


@pytest.fixture
def bulk() -> Iterator[FaultyServer]:
    """Another host: it has another port."""
    with FaultyServer() as server:
        yield server


def photos_of(server: FaultyServer, count: int, prefix: str = "") -> list[str]:
    return [f"{server.url}/photo/{prefix}{number:03}" for number in range(count)]


def find_max_excess(log: Sequence[Request], per_second: float) -> float:
    """The largest number of requests beyond a rate, in any part of the log."""
    times = sorted(request.at for request in log)
    stretches = ((first, last) for last in range(len(times)) for first in range(last))
    return max(last - first - per_second * (times[last] - times[first]) for first, last in stretches)


@pytest.mark.parametrize("processes", ["two workers", "two elements"])
def test_the_limits_of_a_host_apply_to_all_processes_together(
    museum: FaultyServer, bulk: FaultyServer, tmp_path: Path, processes: str
) -> None:
    def slowly(visit: Visit) -> None:
        time.sleep(0.2)
        FaultyServer.photos(visit)

    bulk.photos = slowly  # type: ignore[method-assign]
    archive = archive_of(tmp_path / "a.zip", photos_of(museum, 60) + photos_of(bulk, 50))
    (tmp_path / "hosts.csv").write_text(f"{HOSTS}127.0.0.1:{museum.port},8,20\n")
    dataset = Dataset(archive, tmp_path / "dataset", chunks=2)
    limits = ("--FetchChunk-connections-per-host", "4", "--FetchChunk-host-limits", str(tmp_path / "hosts.csv"))
    if processes == "two workers":
        dataset.make("--workers", "2", *limits, task="FetchImages")
    else:
        dataset.make(task="ReadArchive")
        shared = (*limits, "--FetchChunk-concurrent-chunks", "2", "--runner", "element")
        commands = [dataset.command("--chunk", str(chunk), *shared, task="FetchChunk") for chunk in range(2)]
        started = [subprocess.Popen(command, cwd=ROOT) for command in commands]
        assert [process.wait(60) for process in started] == [0, 0]
    assert Counter(row["status"] for row in dataset.rows("fetched")) == {"fetched": 110}
    assert find_max_excess(museum.log, 20) <= JITTER
    assert 2 <= bulk.running.max <= 4
    assert bulk.open.max <= 4
    assert max(request.at for request in bulk.log) - min(request.at for request in bulk.log) >= 50 * 0.2 / 4 - 0.3


def free_port() -> int:
    """A port of 127.0.0.1 on which no process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


SHORT_PAUSES = (
    *("--FetchChunk-host-failures", "5", "--FetchChunk-host-pause", "0.2"),
    *("--FetchChunk-retries", "0", "--FetchChunk-retry-after", "0"),
)


def test_images_of_a_dead_host_are_fetched_once_it_is_alive_and_no_others(museum: FaultyServer, tmp_path: Path) -> None:
    dead = free_port()
    there, missing = photos_of(museum, 40), [f"{museum.url}/missing/{number}" for number in range(3)]
    away = [f"http://127.0.0.1:{dead}/photo/{number:03}" for number in range(300)]
    dataset = Dataset(archive_of(tmp_path / "a.zip", there + away + missing), tmp_path / "dataset", chunks=2)

    def fetch(retry_failed: str) -> dict[str, int]:
        """Fetch in a new process: the number of images by outcome."""
        museum.log.clear()
        dataset.make("--FetchChunk-retry-failed", retry_failed, *SHORT_PAUSES, task="FetchImages")
        return Counter(row["error"] or row["status"] for row in dataset.rows("fetched"))

    begun = time.monotonic()
    first = fetch("may-pass")
    assert time.monotonic() - begun < 30
    assert (first["fetched"], first["not-found"]) == (40, 3)
    assert first["host-unavailable"] + first["connection"] == 300
    attempts = sum(row["attempts"] for row in dataset.rows("fetched") if f":{dead}/" in row["identifier"])
    assert attempts == first["connection"] <= 2 * (5 + 16 + 3), (
        "more than the running requests, and one after each pause"
    )
    assert Counter(request.path for request in museum.log) == Counter(path_of(url) for url in there + missing)

    ledgers = {path: digest(path) for path in dataset.output.glob("fetched/*.parquet")}
    assert fetch("none") == first
    assert not museum.log
    assert fetch("may-pass") == first
    assert not museum.log
    assert {path: digest(path) for path in dataset.output.glob("fetched/*.parquet")} == ledgers

    with FaultyServer(port=dead) as alive:
        assert fetch("may-pass") == {"fetched": 340, "not-found": 3}
        assert Counter(request.path for request in alive.log) == Counter(path_of(url) for url in away)
        assert not museum.log
        assert fetch("all") == {"fetched": 340, "not-found": 3}
        assert sorted(request.path for request in museum.log) == sorted(path_of(url) for url in missing)
        assert alive.count_requests() == 300
    for row in dataset.rows("fetched"):
        if row["status"] == "fetched":
            body = (dataset.output / "images" / row["image_path"]).read_bytes()
            assert body == photo(path_of(row["identifier"]).removeprefix("/photo/"))


def path_of(url: str) -> str:
    return urlsplit(url).path


def test_a_run_retries_temporary_failures_only_after_retry_after_unless_all_are_requested(
    museum: FaultyServer, tmp_path: Path
) -> None:
    urls = [*photos_of(museum, 9), f"{museum.url}/500"]
    dataset = Dataset(archive_of(tmp_path / "a.zip", urls), tmp_path / "dataset", chunks=1)

    def requests(*options: str) -> list[str]:
        """The paths that a run requests."""
        museum.log.clear()
        dataset.make("--FetchChunk-retry-failed", "may-pass", "--FetchChunk-retries", "0", *options, task="FetchImages")
        return [request.path for request in museum.log]

    assert sorted(requests()) == sorted(path_of(url) for url in urls)
    assert requests() == []
    assert requests("--FetchChunk-max-image-bytes", "99999999") == [], "the chunk is rebuilt, but no failure is due"
    time.sleep(2)
    assert requests("--FetchChunk-retry-after", "2") == ["/500"]
    assert requests("--FetchChunk-retry-after", "10") == [], "the retry is the last attempt now"
    assert requests("--FetchChunk-retry-after", "0") == ["/500"]
    assert requests("--FetchChunk-retry-failed", "all") == ["/500"]
    (dataset.output / "fetched" / "chunk-00000.parquet").unlink()
    assert "/500" in requests(), "what is not built is fetched, however recent its failures are"


def test_a_refusal_is_retried_by_one_later_run_and_no_ledger_changes(museum: FaultyServer, tmp_path: Path) -> None:
    dataset = Dataset(archive_of(tmp_path / "a.zip", [f"{museum.url}/403", *photos_of(museum, 1)]), tmp_path / "d", 1)
    retry = ("--FetchChunk-retry-failed", "may-pass", "--FetchChunk-retry-after", "0")
    dataset.make(*retry, task="FetchImages")
    before = digest(dataset.output / "fetched" / "chunk-00000.parquet")
    for expected in (2, 2):
        dataset.make(*retry, task="FetchImages")
        assert museum.count_requests("403") == expected
    assert digest(dataset.output / "fetched" / "chunk-00000.parquet") == before


def test_an_image_that_was_too_slow_is_retried_once_its_limit_is_raised(museum: FaultyServer, tmp_path: Path) -> None:
    dataset = Dataset(
        archive_of(tmp_path / "a.zip", [f"{museum.url}/drip-body", *photos_of(museum, 1)]), tmp_path / "d", 1
    )
    retry = ("--FetchChunk-retry-failed", "may-pass")

    def fetch(seconds: str, *options: str) -> int:
        """The requests for the slow image so far."""
        dataset.make(*retry, *options, "--FetchChunk-max-seconds-per-image", seconds, task="FetchImages")
        return museum.count_requests("drip-body")

    assert fetch("0.5") == 1
    assert fetch("0.5", "--FetchChunk-retry-after", "0") == 1
    museum.behaviours["drip-body"] = CASES["good"].behave
    assert fetch("5") == 2
    assert [row["status"] for row in dataset.rows("fetched")] == ["fetched", "fetched"]


def test_a_dataset_of_an_older_version_retries_failures_that_are_temporary_now(
    museum: FaultyServer, tmp_path: Path
) -> None:
    dataset = Dataset(archive_of(tmp_path / "a.zip", [f"{museum.url}/418", *photos_of(museum, 1)]), tmp_path / "d", 1)
    retry = ("--FetchChunk-retry-failed", "may-pass")
    dataset.make(*retry, task="FetchImages")
    (record,) = (dataset.output / ".made").glob("FetchChunk-*.json")
    values = json.loads(record.read_text())
    del values["checksum"], values["facts"]["retries"]
    record.write_text(json.dumps(values))
    (dataset.output / "fetched" / "chunk-00000.attempts").unlink()
    dataset.make(*retry, task="FetchImages")
    assert museum.count_requests("418") == 1
    time.sleep(1.1)
    dataset.make(*retry, "--FetchChunk-retry-after", "1", task="FetchImages")
    assert museum.count_requests("418") == 2


def test_a_job_without_a_network_stops_within_30_seconds_with_one_sentence(tmp_path: Path) -> None:
    urls = [f"http://photos{number % 3}.invalid/{number}.jpg" for number in range(320)]
    dataset = Dataset(archive_of(tmp_path / "a.zip", urls), tmp_path / "d", chunks=16)
    begun = time.monotonic()
    printed = dataset.fail("--FetchChunk-retries", "3", task="FetchImages")
    assert time.monotonic() - begun < 40, "the start of the command included"
    (error,) = [line for line in printed.splitlines() if line.startswith("ERROR: ")]
    assert "no connection could be made (name-not-resolved" in error
    assert "check the internet access of this machine" in error
    assert "Traceback" not in printed
