import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.host_queues import DEFAULT_BACKOFF, HostQueues
from gbif_webdataset.fetch.shared_limits import BUSY_SECONDS, SharedLimits
from tests.support.faulty_server import FaultyServer
from tests.support.fetch_run import FetchRun
from tests.support.visits import JPEG, Visit

HOST, CHUNKS = "photos.example", 4
REPOSITORY = Path(__file__).parents[3]


class Clock:
    """A clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def share(folder: Path, clock: Clock, limits: HostLimits) -> list[SharedLimits]:
    """The permits of CHUNKS chunks that are fetched at the same time."""
    return [SharedLimits(folder / "hosts", HostTable(limits, {}), CHUNKS, clock.read) for _ in range(CHUNKS)]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (HostLimits(1, 0), HostLimits(1, 0)),
        (HostLimits(4, 2), HostLimits(4, 0.5)),
        (HostLimits(4, 0), HostLimits(1, 0)),
        (HostLimits(9, 4), HostLimits(2, 1)),
        (HostLimits(64, 100), HostLimits(16, 25)),
    ],
)
def test_a_host_needs_permits_if_the_share_of_a_chunk_is_less_than_a_connection_or_a_request(
    tmp_path: Path, clock: Clock, limits: HostLimits, expected: HostLimits
) -> None:
    chunk, alone = share(tmp_path, clock, limits)[0], SharedLimits(tmp_path, HostTable(limits, {}), 1)
    assert chunk.find_limits(HOST) == expected
    assert chunk.needs_permits(HOST) == (limits.connections < CHUNKS or 0 < limits.requests_per_second < CHUNKS)
    assert (alone.find_limits(HOST), alone.needs_permits(HOST)) == (limits, False)


def test_chunks_use_no_more_connections_than_the_host_allows(tmp_path: Path, clock: Clock) -> None:
    first, second, third, _ = share(tmp_path, clock, HostLimits(2, 0))
    assert (first.acquire(HOST), second.acquire(HOST)) == (0, 0)
    assert third.acquire(HOST) == first.acquire(HOST) == BUSY_SECONDS
    assert third.acquire("other.example") == 0
    second.release(HOST, 0)
    assert third.acquire(HOST) == 0


def test_chunks_send_requests_in_turn(tmp_path: Path, clock: Clock) -> None:
    chunks = share(tmp_path, clock, HostLimits(4, 2))
    assert [chunk.acquire(HOST) for chunk in chunks] == [0, 0.5, 1.0, 1.5]
    clock.now += 0.5
    assert [chunk.acquire(HOST) for chunk in chunks] == [1.5, 0, 0.5, 1.0]


def test_a_turn_that_was_not_used_in_time_is_lost(tmp_path: Path, clock: Clock) -> None:
    first, second, *_ = share(tmp_path, clock, HostLimits(4, 2))
    assert (first.acquire(HOST), second.acquire(HOST)) == (0, 0.5)
    clock.now += 2
    assert (first.acquire(HOST), second.acquire(HOST)) == (0, 0.5)


def test_requests_that_take_longer_than_a_turn_follow_each_other_without_a_pause(tmp_path: Path, clock: Clock) -> None:
    first, second, *_ = share(tmp_path, clock, HostLimits(1, 1))
    starts, chunks = [clock.now - 1000], [second, first]
    assert first.acquire(HOST) == 0
    while len(starts) < 5:
        clock.now += 0.5
        if clock.now - 1000 - starts[-1] == 1.5:
            chunks[1].release(HOST, 0)
        if chunks[0].acquire(HOST) == 0:
            starts.append(clock.now - 1000)
            chunks.reverse()
    assert starts == [0, 1.5, 3, 4.5, 6]


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"\xff" * 8, b"\x7f" * 8])
def test_a_damaged_file_or_a_clock_that_was_wrong_delays_no_request(
    tmp_path: Path, clock: Clock, content: bytes
) -> None:
    first, second, *_ = share(tmp_path, clock, HostLimits(4, 2))
    first.acquire(HOST)
    (path,) = (tmp_path / "hosts").glob("*-next")
    path.write_bytes(content)
    assert (second.acquire(HOST), first.acquire(HOST)) == (0, 0.5)


def test_names_of_hosts_select_no_path(tmp_path: Path, clock: Clock) -> None:
    first, *_ = share(tmp_path, clock, HostLimits(1, 1))
    for host in ("../../a", "a/b", "", "\ud800", "x" * 5000, "[::1]:80"):
        assert first.acquire(host) == 0
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "hosts"}


def test_a_killed_process_leaves_its_connections_free(tmp_path: Path, clock: Clock) -> None:
    code = (
        "import sys, time; from pathlib import Path; from gbif_webdataset.fetch.shared_limits import *;"
        "shared = SharedLimits(Path(sys.argv[1]), HostTable(HostLimits(1, 0), {}), 4);"
        f"print(shared.acquire({HOST!r}), flush=True); time.sleep(60)"
    )
    first, *_ = share(tmp_path, clock, HostLimits(1, 0))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "hosts")], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "0.0\n"
        assert first.acquire(HOST) == BUSY_SECONDS
        other.kill()
    assert first.acquire(HOST) == 0


def test_queues_of_several_chunks_keep_the_limits_of_a_host_and_finish_all_jobs(tmp_path: Path) -> None:
    limits, running, most, starts = HostLimits(2, 40), [0], [0], []
    table, lock = HostTable(limits, {}), threading.Lock()

    def work(queues: HostQueues[int]) -> None:
        while turn := queues.take_job():
            with lock:
                starts.append(time.monotonic())
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.03)
            with lock:
                running[0] -= 1
            queues.report_success(HOST)
            queues.finish_job(turn.host)

    threads = []
    for _ in range(CHUNKS):
        shared = SharedLimits(tmp_path / "hosts", table, CHUNKS)
        queues: HostQueues[int] = HostQueues(shared.find_limits, DEFAULT_BACKOFF, shared=shared)
        for job in range(10):
            queues.add_job(HOST, job)
        threads += [threading.Thread(target=work, args=(queues,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(starts), most[0]) == (40, 2)
    assert max(starts) - min(starts) > 39 / 40 - 0.1


def test_chunks_that_are_fetched_at_the_same_time_open_no_more_connections_than_allowed(
    tmp_path: Path, server: FaultyServer
) -> None:
    def slowly(visit: Visit) -> None:
        time.sleep(0.1)
        visit.answer(JPEG)

    run, names = FetchRun(tmp_path / "dataset"), [f"slow/{number}" for number in range(12)]
    server.behaviours |= dict.fromkeys(names, slowly)
    for chunk in range(3):
        run.write_manifest({f"d/{name[5:]}.jpg": f"{server.url}/{name}" for name in names[chunk::3]}, chunk)
    hosts = HostTable(HostLimits(2, 0), {})
    threads = [
        threading.Thread(target=run.fetch, kwargs={"chunk": chunk, "hosts": hosts, "chunks": 3}) for chunk in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(run.list_images()), server.running.max) == (12, 2)
