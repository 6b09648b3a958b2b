import csv
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import BusyError, FetchError
from gbif_webdataset.fetch.address_guard import AddressGuard
from gbif_webdataset.fetch.fetch_chunk import fetch_chunk
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.host_queues import RECOVERY, Patience
from gbif_webdataset.fetch.ledger import COLUMNS, OUTCOME, Journal, Outcome, journal_path
from gbif_webdataset.terms.outcomes import TEMPORARY_FAILURES
from tests.support.faulty_server import (
    CASES,
    JPEG,
    MAX_SECONDS,
    PNG,
    RETRIES,
    Behaviour,
    MisbehavingServer,
    Visit,
    photo,
)
from tests.support.fetch_run import LIMITS, MANIFEST, PLAN, Fetching, limits

SLACK = 0.1  # seconds that a request may take to the server's log
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def fetching(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path / "dataset")


def photos(server: MisbehavingServer, names: str) -> dict[str, str]:
    """A row for each letter, with the photo of that name."""
    return {f"d/{name}.jpg": f"{server.url}/photo/{name}" for name in names}


# One chunk over everything that the server does.


class Everything:
    """A chunk with every case, fetched once, and once again."""

    def __init__(self, output: Path, server: MisbehavingServer) -> None:
        self.fetching = Fetching(output)
        self.urls = {f"d/{name}.jpg": f"{server.url}/{name}" for name in CASES}
        self.seen: list[Counter[str]] = []
        begun = time.monotonic()
        self.counts = self.fetching.fetch(
            self.urls, progress=lambda counts: self.seen.append(counts.copy()), max_failed_share=1, workers=64
        )
        self.seconds = time.monotonic() - begun
        self.rows = self.fetching.ledger()
        self.requests = Counter(request.path.removeprefix("/") for request in server.log)
        self.headers = [request.headers for request in server.log]
        server.log.clear()
        self.fetching.fetch(max_failed_share=1, workers=64)
        self.requests_again = Counter(request.path.removeprefix("/") for request in server.log)
        self.rows_again = self.fetching.ledger()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with MisbehavingServer() as server:
        yield Everything(tmp_path_factory.mktemp("everything"), server)


@pytest.mark.parametrize("name", CASES)
def test_every_url_ends_as_its_case_says(everything: Everything, name: str) -> None:
    row, case = everything.rows[f"d/{name}.jpg"], CASES[name]
    assert (row["status"], row["error"]) == ("failed" if case.code else "fetched", case.code)
    assert everything.requests[name] - _as_a_hop(name) == case.requests
    assert row["attempts"] == (case.requests if name != "redirect-loop" else 1)


def _as_a_hop(name: str) -> int:
    """The requests for a path that other cases redirect to it."""
    if name.startswith("chain-"):
        return 6 - int(name[-1])
    return {"good": 1}.get(name, 0)


def test_the_files_are_what_the_server_served_and_no_others(everything: Everything) -> None:
    came = {name: case.body or JPEG for name, case in CASES.items() if not case.code}
    assert everything.fetching.files() == {f"d/{name}.jpg" for name in came}
    for name, body in came.items():
        row = everything.rows[f"d/{name}.jpg"]
        assert everything.fetching.bytes_of(f"d/{name}.jpg") == body
        assert (row["bytes"], row["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


def test_the_ledger_has_the_manifests_rows_in_their_order_and_its_own_columns(everything: Everything) -> None:
    table = pq.read_table(everything.fetching.folder / "chunk-00000.parquet")
    assert table.schema.equals(pa.schema([*MANIFEST, *COLUMNS]))
    manifest = pq.read_table(everything.fetching.manifest / "chunk-00000.parquet")
    assert table.select(MANIFEST.names).equals(manifest)


def test_the_ledger_says_what_the_host_said(everything: Everything) -> None:
    rows = everything.rows
    assert rows["d/404.jpg"]["http_status"] == 404
    assert rows["d/html.jpg"]["content_type"] == rows["d/png.jpg.jpg"]["content_type"] == "image/jpeg"
    assert rows["d/redirect-relative.jpg"]["final_url"].endswith("/good?from=here")
    assert rows["d/redirect-file.jpg"]["final_url"] == "file:///etc/passwd"
    assert rows["d/closed.jpg"]["http_status"] is None
    assert all(row["fetched_at"][10] == "T" and row["fetched_at"].endswith("Z") for row in rows.values())


def test_progress_counts_every_image_once(everything: Everything) -> None:
    expected = Counter(case.code or "fetched" for case in CASES.values())
    assert everything.counts == expected
    assert [seen.total() for seen in everything.seen] == list(range(1, len(CASES) + 1))


def test_a_chunk_ends_in_the_time_that_its_limits_give(everything: Everything) -> None:
    assert everything.seconds < (RETRIES + 1) * (MAX_SECONDS + 1) + 5


def test_no_request_carries_a_cookie(everything: Everything) -> None:
    assert not [headers for headers in everything.headers if "cookie" in headers]


def test_a_rerun_tries_again_what_may_pass_and_leaves_what_will_not(everything: Everything) -> None:
    expected = {name: case.requests for name, case in CASES.items() if case.code in TEMPORARY_FAILURES}
    # Where some addresses are opened, those that were blocked before may be among them: the hop before them is asked.
    expected |= {name: 1 for name, case in CASES.items() if case.code == "blocked-address"}
    assert everything.requests_again == expected
    assert {path: row["error"] for path, row in everything.rows_again.items()} == {
        path: row["error"] for path, row in everything.rows.items()
    }


# What may stop a chunk, and what may not.


def test_urls_that_can_not_be_read_stop_nothing(fetching: Fetching, server: MisbehavingServer) -> None:
    urls = {"d/1.jpg": "http://[half/a.jpg", "d/2.jpg": "http://\u2100.example/a.jpg", "d/3.jpg": f"{server.url}/good"}
    counts = fetching.fetch(urls | {"d/4.jpg": "HTTP://x:y@127.0.0.1:1/a.jpg", "d/5.jpg": "http:///a.jpg"}, retries=0)
    assert counts["fetched"] == 1
    assert fetching.ledger()["d/1.jpg"]["error"] == "bad-url"
    assert counts.total() == 5


def test_a_chunk_without_images_has_an_empty_ledger(fetching: Fetching) -> None:
    assert fetching.fetch({}) == {}
    assert fetching.ledger() == {}


def test_where_too_much_fails_for_now_the_chunk_fails_and_keeps_what_it_has(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    urls = photos(server, "abcde")
    for name in "abc":
        server.behaviours[f"photo/{name}"] = CASES["500"].behave
    with pytest.raises(
        FetchError, match=r"^chunk 0: 3 of 5 images failed .*\(server-error 3\).* max_failed_share 0\.5"
    ):
        fetching.fetch(urls, retries=0)
    assert fetching.files() == {"d/d.jpg", "d/e.jpg"}
    assert not (fetching.folder / "chunk-00000.parquet").exists()
    server.behaviours.clear()
    server.log.clear()
    assert fetching.fetch(retries=0) == {"fetched": 5}
    assert sorted(request.path for request in server.log) == ["/photo/a", "/photo/b", "/photo/c"]
    assert not journal_path(fetching.folder, 0).exists()


def test_failures_for_good_do_not_fail_the_chunk(fetching: Fetching, server: MisbehavingServer) -> None:
    urls = {f"d/{n}.jpg": f"{server.url}/404?{n}" for n in range(9)} | photos(server, "a")
    assert fetching.fetch(urls, max_failed_share=0) == {"not-found": 9, "fetched": 1}


def test_a_chunk_that_another_process_fetches_is_left_alone(fetching: Fetching, server: MisbehavingServer) -> None:
    path = journal_path(fetching.folder, 0)
    path.parent.mkdir(parents=True)
    hold = f"import fcntl; f = open({str(path)!r}, 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); "
    with subprocess.Popen([sys.executable, "-c", hold + "input()"], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=r"chunk-00000\.journal: another process is fetching this chunk"):
            fetching.fetch(photos(server, "a"))
        other.communicate("\n")
    assert server.asked() == 0
    assert fetching.fetch() == {"fetched": 1}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_ends_the_chunk_with_its_error_and_a_rerun_goes_on(
    tmp_path: Path, server: MisbehavingServer
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        fetching = Fetching(disk / "dataset")
        body = JPEG + bytes(100_000)
        for number in range(8):
            server.behaviours[f"big/{number}"] = lambda visit: visit.answer(body)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(600_000))
        urls = {f"d/{number}.jpg": f"{server.url}/big/{number}" for number in range(8)}
        begun = time.monotonic()
        with pytest.raises(OSError, match="No space left on device"):
            fetching.fetch(urls, workers=2)
        assert time.monotonic() - begun < 10
        kept = fetching.files()
        assert 0 < len(kept) < 8
        assert all(fetching.bytes_of(name) == body for name in kept)
        ballast.unlink()
        server.log.clear()
        assert fetching.fetch(workers=2) == {"fetched": 8}
        assert server.asked() <= 8 - len(kept) + 2
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_was_recorded_before_a_kill_is_not_fetched_again(fetching: Fetching, server: MisbehavingServer) -> None:
    def slowly(visit: Visit) -> None:
        time.sleep(0.03)
        visit.answer(photo(visit.path))

    names = [f"slow/{number:02}" for number in range(60)]
    server.behaviours |= dict.fromkeys(names, slowly)
    fetching.ask_for({f"d/{name[5:]}.jpg": f"{server.url}/{name}" for name in names})
    script = "import sys; from pathlib import Path; from tests.support.fetch_run import Fetching; Fetching(Path(sys.argv[1]))"
    killed = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", f"{script}.fetch(workers=2)", fetching.output], cwd=REPOSITORY
        ) as run:
            journal, enough = journal_path(fetching.folder, 0), killed + 12
            while run.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < enough):
                time.sleep(0.005)
            killed = journal.read_bytes().count(b"\n")
            run.send_signal(signal.SIGKILL)
    with journal.open("ab") as file:
        file.write(b'["d/half.jpg", "http://127')
    assert 24 <= killed < 60
    assert fetching.fetch(workers=2) == {"fetched": 60}
    asked = Counter(request.path for request in server.log)
    assert set(asked) == {f"/{name}" for name in names}
    assert asked.total() <= 60 + 2 * 2
    for name in names:
        row = fetching.ledger()[f"d/{name[5:]}.jpg"]
        assert hashlib.sha256(fetching.bytes_of(row["image_path"])).hexdigest() == row["sha256"]
        assert fetching.bytes_of(row["image_path"]) == photo(f"/{name}")
    assert not [name for name in fetching.files() if ".tmp-" in name]


@pytest.mark.parametrize("last", ["whole", "cut"])
@pytest.mark.parametrize("ledger", ["not yet written", "written, and its journal not yet taken away"])
def test_a_full_journal_becomes_the_ledger_without_a_request(
    fetching: Fetching, server: MisbehavingServer, ledger: str, last: str
) -> None:
    fetching.fetch(photos(server, "abcdef") | {"d/404.jpg": f"{server.url}/404"})
    path = fetching.folder / "chunk-00000.parquet"
    undisturbed = path.read_bytes()
    with Journal(journal_path(fetching.folder, 0)) as journal:
        for row in pq.read_table(path, columns=OUTCOME.names).to_pylist():
            journal.append(Outcome(**row))
    if last == "cut":
        with journal_path(fetching.folder, 0).open("ab") as file:
            file.write(b'["d/a.jpg", "http://127')
    if ledger == "not yet written":
        path.unlink()
    server.log.clear()
    assert fetching.fetch() == {"fetched": 6, "not-found": 1}
    assert not server.log
    assert path.read_bytes() == undisturbed
    assert not journal_path(fetching.folder, 0).exists()


# Hosts.


def test_a_retry_after_slows_the_whole_host_though_its_image_is_given_up(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    server.behaviours["busy"] = lambda visit: visit.answer(b"", "503 Busy", Retry_After="1")
    fetching.fetch({"d/0.jpg": f"{server.url}/busy"} | photos(server, "ab"), workers=1, retries=0)
    first, *others = (request.at for request in server.log)
    assert all(at - first >= 0.95 for at in others)


def test_requests_a_second_are_kept_in_the_servers_own_log(fetching: Fetching, server: MisbehavingServer) -> None:
    fetching.fetch(photos(server, "abcdefghijk"), hosts=HostTable(HostLimits(4, 10), {}))
    times = [request.at for request in server.log]
    assert times[-1] - times[0] > 0.95


def test_a_host_that_says_so_is_asked_more_slowly_and_faster_again(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    def busy_at_first(visit: Visit) -> None:
        if visit.server.asked() <= 3:
            visit.answer(b"", "429 Too Many Requests")
        else:
            visit.answer(JPEG)

    names = [f"busy/{number}" for number in range(60)]
    server.behaviours |= dict.fromkeys(names, busy_at_first)
    urls = {f"d/{name[5:]}.jpg": f"{server.url}/{name}" for name in names}
    one_by_one, begun = HostTable(HostLimits(1, 40), {}), time.monotonic()
    assert fetching.fetch(urls, hosts=one_by_one, patience=Patience(failures=100)) == {"fetched": 60}
    waits = [1 / 40, 2 / 40, 4 / 40, *(max(1.0, 8 * RECOVERY**number) / 40 for number in range(60))]
    for number, request in enumerate(server.log):
        assert request.at - begun > sum(waits[:number]) - 0.001
    assert min(later.at - earlier.at for earlier, later in pairwise(server.log[-20:])) < 2 / 40


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("stated", ["seconds", "a date"])
def test_a_retry_after_rests_the_whole_host_while_other_hosts_go_on(
    fetching: Fetching, server: MisbehavingServer, status: str, stated: str
) -> None:
    until = []

    def busy(visit: Visit) -> None:
        if visit.number > 1:
            visit.answer(JPEG)
            return
        until.append(int(time.time()) + 3)  # a date has whole seconds
        visit.answer(b"", status, Retry_After="2" if stated == "seconds" else formatdate(until[0], usegmt=True))

    server.behaviours["busy"] = busy
    with MisbehavingServer() as other:
        urls = {"d/0.jpg": f"{server.url}/busy"} | photos(server, "abcdef")
        urls |= {f"e/{number}.jpg": f"{other.url}/photo/{number}" for number in range(40)}
        table = HostTable(HostLimits(4, 40), {f"127.0.0.1:{server.port}": HostLimits(1, 0)})
        assert fetching.fetch(urls, hosts=table) == {"fetched": 47}
        first, *others = (request.at for request in server.log)
        assert len(others) == 7
        assert min(others) - first > 2 - SLACK
        assert max(request.at for request in other.log) < min(others)


def test_a_longer_retry_after_than_there_is_time_for_leaves_the_host_to_the_next_run_at_once(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    server.photos = lambda visit: visit.answer(b"", "503 Busy", Retry_After="3600")  # type: ignore[method-assign]
    with MisbehavingServer() as other:
        urls = {f"d/{number}.jpg": f"{server.url}/photo/{number}" for number in range(300)}
        urls |= {f"e/{number}.jpg": f"{other.url}/photo/{number}" for number in range(40)}
        begun = time.monotonic()
        counts = fetching.fetch(urls, hosts=HostTable(HostLimits(4, 0), {}), patience=Patience(), max_failed_share=1)
        assert time.monotonic() - begun < 20
    assert counts == {"fetched": 40, "host-unavailable": 300}
    assert server.asked() <= 4


@pytest.mark.parametrize("how", ["refuses", "resets", "says nothing", "is busy"])
def test_a_host_that_is_down_costs_few_requests_and_little_time_and_no_image_of_another_host(
    fetching: Fetching, server: MisbehavingServer, how: str
) -> None:
    server.photos = {  # type: ignore[method-assign]
        "refuses": lambda visit: None,
        "resets": Visit.reset,
        "says nothing": Visit.wait,
        "is busy": CASES["500"].behave,
    }[how]
    with MisbehavingServer() as other, socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.close()
        down = refusing if how == "refuses" else server.url
        urls = {f"d/{number}.jpg": f"{down}/photo/{number}" for number in range(300)}
        urls |= {f"e/{number}.jpg": f"{other.url}/photo/{number}" for number in range(300)}
        patience = Patience(failures=5, pause=0.2, pauses=2)
        begun = time.monotonic()
        counts = fetching.fetch(urls, retries=2, hosts=HostTable(HostLimits(4, 0), {}), patience=patience, workers=16)
        assert time.monotonic() - begun < 20
    assert (counts["fetched"], counts["host-unavailable"]) == (300, 300)
    rows = [row for path, row in fetching.ledger().items() if path.startswith("d/")]
    most = 5 + 4 + 2  # in a row, with those under way, and one after each pause
    assert 5 <= sum(row["attempts"] for row in rows) <= most
    assert server.asked() <= most


def test_redirects_are_requests_to_the_host_that_they_lead_to(fetching: Fetching, server: MisbehavingServer) -> None:
    def moved(to: str) -> Behaviour:
        return lambda visit: visit.answer(b"", "301 Moved Permanently", Location=to)

    with MisbehavingServer() as other:
        for number in range(8):
            other.behaviours[f"moved/{number}"] = moved(f"{server.url}/moved/{number}")
            server.behaviours[f"moved/{number}"] = moved(f"/photo/{number}")
        urls = {f"d/{number}.jpg": f"{other.url}/moved/{number}" for number in range(8)}
        table = HostTable(HostLimits(8, 0), {f"127.0.0.1:{server.port}": HostLimits(1, 10)})
        begun = time.monotonic()
        assert fetching.fetch(urls, hosts=table) == {"fetched": 8}
        assert other.asked() == 8
    assert server.asked() == 16
    assert server.log[-1].at - begun >= 15 / 10
    assert server.under_way.most == 1
    row = fetching.ledger()["d/3.jpg"]
    assert (row["attempts"], row["final_url"]) == (1, f"{server.url}/photo/3")


@pytest.mark.parametrize("pause", [1.0, 0.2])
def test_each_retry_waits_twice_as_long_as_the_one_before(
    fetching: Fetching, server: MisbehavingServer, pause: float
) -> None:
    fetching.fetch({"d/a.jpg": f"{server.url}/500"}, retries=2, retry_pause=pause, max_failed_share=1)
    first, second, third = (request.at for request in server.log)
    assert 0.9 * pause < second - first < 1.5 * pause < third - second < 2.5 * pause


# What is known already.


def test_a_url_of_two_rows_is_fetched_once_and_both_files_are_there(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    url = f"{server.url}/photo/a"
    counts = fetching.fetch(
        {"d/a.jpg": url, "e/b.jpg": url, "d/b.jpg": f"{server.url}/404", "e/c.jpg": f"{server.url}/404"}
    )
    assert counts == {"fetched": 2, "not-found": 2}
    assert server.asked() == 2
    assert fetching.bytes_of("d/a.jpg") == fetching.bytes_of("e/b.jpg") == photo("a")
    assert {row["sha256"] for row in fetching.ledger().values() if row["sha256"]} == {
        hashlib.sha256(photo("a")).hexdigest()
    }


def test_an_image_that_moved_is_copied(fetching: Fetching, server: MisbehavingServer) -> None:
    fetching.fetch(photos(server, "ab"))
    urls = {
        "d/a.jpg": f"{server.url}/photo/a",
        "d/a_1.jpg": f"{server.url}/photo/b",
        "e/b.jpg": f"{server.url}/photo/b",
    }
    assert fetching.fetch(urls) == {"fetched": 3}
    assert server.asked() == 2
    assert fetching.bytes_of("d/a_1.jpg") == fetching.bytes_of("e/b.jpg") == photo("b")


def test_images_that_change_places_are_not_mixed_up_and_not_fetched_again(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    urls = photos(server, "abc")
    fetching.fetch(urls)
    rotated = dict(zip(urls, [*list(urls.values())[1:], urls["d/a.jpg"]], strict=True))
    assert fetching.fetch(rotated) == {"fetched": 3}
    assert [fetching.bytes_of(f"d/{name}.jpg") for name in "abc"] == [photo("b"), photo("c"), photo("a")]
    assert fetching.fetch(urls) == {"fetched": 3}
    assert [fetching.bytes_of(f"d/{name}.jpg") for name in "abc"] == [photo("a"), photo("b"), photo("c")]
    assert server.asked() == 3


def test_a_kill_while_images_change_places_costs_no_request(fetching: Fetching, server: MisbehavingServer) -> None:
    urls = photos(server, "ab")
    fetching.fetch(urls)
    of_a = fetching.ledger()["d/a.jpg"]
    fetching.ask_for({"d/a.jpg": urls["d/b.jpg"], "d/b.jpg": urls["d/a.jpg"]})
    (fetching.images / "d/.tmp-a.jpg").write_bytes(photo("b"))
    (fetching.images / "d/b.jpg").write_bytes(photo("a"))
    with Journal(journal_path(fetching.folder, 0)) as journal:
        known = {name: of_a[name] for name in COLUMNS.names}
        journal.append(Outcome("d/b.jpg", urls["d/a.jpg"], **known))
    assert fetching.fetch() == {"fetched": 2}
    assert (fetching.bytes_of("d/a.jpg"), fetching.bytes_of("d/b.jpg")) == (photo("b"), photo("a"))
    assert server.asked() == 2
    assert fetching.files() == {"d/a.jpg", "d/b.jpg"}


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_file_that_is_no_longer_whole_is_fetched_again(
    fetching: Fetching, server: MisbehavingServer, damage: str
) -> None:
    fetching.fetch(photos(server, "ab"))
    path = fetching.images / "d/a.jpg"
    path.unlink() if damage == "gone" else path.write_bytes(photo("a")[:-10])
    assert fetching.fetch() == {"fetched": 2}
    assert [request.path for request in server.log][2:] == ["/photo/a"]
    assert fetching.bytes_of("d/a.jpg") == photo("a")


def test_a_file_is_mended_from_the_other_row_of_its_url(fetching: Fetching, server: MisbehavingServer) -> None:
    url = f"{server.url}/photo/a"
    for broken in ("d/1.jpg", "d/2.jpg"):
        fetching.fetch({"d/1.jpg": url, "d/2.jpg": url})
        (fetching.images / broken).write_bytes(b"cut off")
        assert fetching.fetch() == {"fetched": 2}
        assert fetching.bytes_of("d/1.jpg") == fetching.bytes_of("d/2.jpg") == photo("a")
    assert server.asked() == 1


def test_an_older_tree_is_copied_from_without_a_request(
    fetching: Fetching, server: MisbehavingServer, tmp_path: Path
) -> None:
    cache = tmp_path / "older" / "d"
    cache.mkdir(parents=True)
    for name in "abcdefgh":
        (cache / f"{name}.jpg").write_bytes(photo(name))
    (cache / "x.jpg").write_bytes(b"<html>an error page</html>")
    (cache / "y.jpg").write_bytes(b"")
    begun = time.monotonic()
    counts = fetching.fetch(photos(server, "abcdefghxyz"), cache=cache.parent, hosts=HostTable(HostLimits(1, 2), {}))
    assert counts == {"cached": 8, "fetched": 3}
    assert time.monotonic() - begun < 3, "copies must not wait for a host's turn"
    assert sorted(request.path for request in server.log) == ["/photo/x", "/photo/y", "/photo/z"]
    row = fetching.ledger()["d/a.jpg"]
    digest = hashlib.sha256(photo("a")).hexdigest()
    assert (row["status"], row["bytes"], row["sha256"], row["attempts"]) == ("cached", len(photo("a")), digest, 0)
    assert (cache / "a.jpg").read_bytes() == fetching.bytes_of("d/a.jpg") == photo("a")
    shutil.rmtree(cache)
    assert fetching.fetch(cache=cache.parent) == {"cached": 8, "fetched": 3}
    assert server.asked() == 3


def test_a_cached_image_of_two_rows_is_in_both_places(
    fetching: Fetching, server: MisbehavingServer, tmp_path: Path
) -> None:
    (tmp_path / "older/d").mkdir(parents=True)
    (tmp_path / "older/d/2.jpg").write_bytes(PNG)
    url = f"{server.url}/photo/a"
    assert fetching.fetch({"d/1.jpg": url, "d/2.jpg": url}, cache=tmp_path / "older") == {"cached": 2}
    assert fetching.bytes_of("d/1.jpg") == fetching.bytes_of("d/2.jpg") == PNG


def write_deleted(output: Path, *lines: tuple[str, str]) -> None:
    with (output / "deleted.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_path", "identifier", "sha256", "reason", "deleted_at"])
        writer.writerows([path, url, "", "listed", "2026-01-01T00:00:00Z"] for path, url in lines)


def test_a_deleted_image_is_not_fetched_again_unless_asked_for(fetching: Fetching, server: MisbehavingServer) -> None:
    urls = photos(server, "ab")
    fetching.fetch(urls)
    (fetching.images / "d/a.jpg").unlink()
    write_deleted(fetching.output, ("d/a.jpg", urls["d/a.jpg"]))
    assert fetching.fetch() == {"fetched": 2}
    assert server.asked() == 2
    assert fetching.files() == {"d/b.jpg"}
    assert fetching.ledger()["d/a.jpg"]["sha256"] == hashlib.sha256(photo("a")).hexdigest()
    fetching.fetch(refetch_deleted=True)
    assert fetching.bytes_of("d/a.jpg") == photo("a")


def test_another_url_at_the_path_of_a_deleted_image_is_fetched(fetching: Fetching, server: MisbehavingServer) -> None:
    urls = photos(server, "ab")
    fetching.fetch({"d/a.jpg": urls["d/a.jpg"]})
    (fetching.images / "d/a.jpg").unlink()
    write_deleted(fetching.output, ("d/a.jpg", urls["d/a.jpg"]))
    assert fetching.fetch({"d/a.jpg": urls["d/b.jpg"]}) == {"fetched": 1}
    assert fetching.bytes_of("d/a.jpg") == photo("b")


@pytest.mark.parametrize("name", ["declared-too-large", "too-large", "endless"])
def test_what_was_too_large_is_tried_again_only_where_more_is_allowed(
    fetching: Fetching, server: MisbehavingServer, name: str
) -> None:
    fetching.fetch({"d/a.jpg": f"{server.url}/{name}"}, limits=limits(max_bytes=1000))
    fetching.fetch(limits=limits(max_bytes=1000))
    fetching.fetch(limits=limits(max_bytes=500))
    assert server.asked() == 1
    server.behaviours[name] = CASES["good"].behave
    counts = fetching.fetch(limits=limits(max_bytes=2 * 10**12))
    assert counts == {"fetched": 1}


def test_an_image_between_the_old_limit_and_the_new_one_comes(fetching: Fetching, server: MisbehavingServer) -> None:
    assert len(JPEG) > 500
    assert fetching.fetch({"d/a.jpg": f"{server.url}/good"}, limits=limits(max_bytes=500)) == {"too-large": 1}
    assert fetching.fetch(limits=limits(max_bytes=len(JPEG) - 1)) == {"too-large": 1}
    assert server.asked() == 1
    assert fetching.fetch(limits=limits(max_bytes=len(JPEG))) == {"fetched": 1}


def test_who_opted_out_is_asked_again_only_where_that_is_not_respected(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    fetching.fetch({"d/a.jpg": f"{server.url}/noai"})
    assert fetching.fetch() == {"opted-out": 1}
    assert server.asked() == 1
    assert fetching.fetch(limits=limits(respect_opt_out=False)) == {"fetched": 1}


def test_an_address_that_is_opened_later_is_fetched_from(fetching: Fetching, server: MisbehavingServer) -> None:
    assert fetching.fetch(photos(server, "a"), guard=AddressGuard()) == {"blocked-address": 1}
    assert fetching.fetch(guard=AddressGuard()) == {"blocked-address": 1}
    assert server.asked() == 0
    assert fetching.fetch() == {"fetched": 1}


def test_progress_is_told_what_an_earlier_run_fetched(fetching: Fetching, server: MisbehavingServer) -> None:
    path = fetching.ask_for(photos(server, "abc"))
    fetching.fetch()
    told: list[int] = []
    fetch_chunk(fetching.output, path, 0, replace(PLAN, limits=LIMITS), lambda counts: told.append(counts.total()))
    assert told == [1, 2, 3]
