import contextlib
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
from collections.abc import Iterator, Mapping
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import BusyError
from gbif_webdataset.fetch.earlier_outcomes import count_fetched_again
from gbif_webdataset.fetch.fetch_chunk import fetch_chunk
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.host_queues import RECOVERY, BackoffPolicy
from gbif_webdataset.fetch.journal import Journal, journal_path
from gbif_webdataset.fetch.ledger import COLUMNS, OUTCOME_COLUMNS, Outcome
from gbif_webdataset.network.address_guard import AddressGuard
from gbif_webdataset.storage.image_store import FILES, KEEP, PACKED, is_packed
from tests.support.faulty_server import FaultyServer
from tests.support.fetch_run import LIMITS, MANIFEST, OPTIONS, FetchRun, limits
from tests.support.response_cases import CASES, OWN
from tests.support.tls_faults import make_tls_faults
from tests.support.visits import JPEG, PNG, RETRIES, Behaviour, Visit, photo

SLACK = 0.1  # seconds until a request is in the server's log
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> FetchRun:
    return FetchRun(tmp_path / "dataset", getattr(request, "param", KEEP))


with_each_store = pytest.mark.parametrize("run", [FILES, PACKED], indirect=True)


def photos(server: FaultyServer, names: str) -> dict[str, str]:
    """A row for each letter of `names`, with the photo of that name."""
    return {f"d/{name}.jpg": f"{server.url}/photo/{name}" for name in names}


# One chunk with every behaviour of the server.


# With shorter limits, sound answers would be late on a machine that is busy.
EVERYTHING_SECONDS = 6.0
PATIENT: dict[str, Any] = {"workers": 64, "limits": limits(request_timeout=2.5, max_seconds=EVERYTHING_SECONDS)}


class Everything:
    """A chunk with every case, fetched twice. `servers` has the server of each case."""

    def __init__(self, output: Path, servers: Mapping[str, FaultyServer]) -> None:
        self.run = FetchRun(output)
        self.urls = {f"d/{name}.jpg": f"{server.url}/{name}" for name, server in servers.items()}
        self.seen: list[Counter[str]] = []
        begun = time.monotonic()
        self.counts = self.run.fetch(self.urls, progress=lambda counts: self.seen.append(counts.copy()), **PATIENT)
        self.seconds = time.monotonic() - begun
        self.rows = self.run.read_ledger()
        log = [request for server in set(servers.values()) for request in server.log]
        self.requests = Counter(request.path.removeprefix("/") for request in log)
        self.headers = [request.headers for request in log]
        for server in servers.values():
            server.log.clear()
        self.run.fetch(**PATIENT)
        log = [request for server in set(servers.values()) for request in server.log]
        self.requests_again = Counter(request.path.removeprefix("/") for request in log)
        self.rows_again = self.run.read_ledger()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    if not shutil.which("openssl"):
        pytest.skip("optional: openssl makes the certificates of the servers")
    folder = tmp_path_factory.mktemp("everything")
    faults = make_tls_faults(folder)
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("REQUESTS_CA_BUNDLE", str(folder / "authority.pem"))
        shared = {name: stack.enter_context(FaultyServer(secure=secure)) for name, secure in faults.items()}
        shared[""] = stack.enter_context(FaultyServer())
        servers = {
            name: stack.enter_context(FaultyServer()) if case.server == OWN else shared[case.server]
            for name, case in CASES.items()
        }
        yield Everything(folder / "dataset", servers)


@pytest.mark.parametrize("name", CASES)
def test_every_case_has_its_outcome_and_number_of_requests(everything: Everything, name: str) -> None:
    row, case = everything.rows[f"d/{name}.jpg"], CASES[name]
    assert (row["status"], row["error"]) == ("failed" if case.code else "fetched", case.code)
    assert everything.requests[name] - _count_redirects_to(name) == case.requests
    attempts = case.requests if case.attempts < 0 else case.attempts
    # After another case the server may have closed the connection that the first attempt uses.
    assert row["attempts"] in (attempts, attempts + 1)


def _count_redirects_to(name: str) -> int:
    """The number of requests for a path to which other cases redirect."""
    if name.startswith("chain-"):
        return 6 - int(name[-1])
    return {"good": 3}.get(name, 0)


def test_the_files_are_those_that_the_server_sent(everything: Everything) -> None:
    downloaded = {name: case.body or JPEG for name, case in CASES.items() if not case.code}
    assert everything.run.list_images() == {f"d/{name}.jpg" for name in downloaded}
    for name, body in downloaded.items():
        row = everything.rows[f"d/{name}.jpg"]
        assert everything.run.read_image(f"d/{name}.jpg") == body
        assert (row["bytes"], row["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


def test_the_ledger_has_the_rows_of_the_manifest_in_their_order(everything: Everything) -> None:
    table = pq.read_table(everything.run.folder / "chunk-00000.parquet")
    assert table.schema.equals(pa.schema([*MANIFEST, *COLUMNS]))
    manifest = pq.read_table(everything.run.manifest / "chunk-00000.parquet")
    assert table.select(MANIFEST.names).equals(manifest)


def test_the_ledger_records_the_answer_of_the_host(everything: Everything) -> None:
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


def test_a_chunk_ends_within_its_time_limits(everything: Everything) -> None:
    assert everything.seconds < (RETRIES + 1) * (EVERYTHING_SECONDS + 1) + 5


def test_a_cookie_is_sent_back_only_within_the_redirects_of_its_image(everything: Everything) -> None:
    assert [headers["cookie"] for headers in everything.headers if "cookie" in headers] == ["pass=1"]


def test_a_second_run_retries_all_but_permanent_failures(everything: Everything) -> None:
    # Blocked addresses may be allowed now, so the URLs that redirect to them are requested again.
    expected = {name: case.requests for name, case in CASES.items() if case.is_retried and case.requests}

    def without_chain(requests: Mapping[str, int]) -> dict[str, int]:
        """Without the paths that the chain of six redirects passes."""
        return {name: number for name, number in requests.items() if not name.startswith("chain-")}

    assert without_chain(everything.requests_again) == without_chain(expected)
    assert {path: row["error"] for path, row in everything.rows_again.items()} == {
        path: row["error"] for path, row in everything.rows.items()
    }


def test_a_refused_image_is_retried_by_one_later_run(run: FetchRun, server: FaultyServer) -> None:
    run.fetch({f"d/{name}.jpg": f"{server.url}/{name}" for name in ("401", "403")})
    for expected in (4, 4):
        run.fetch()
        assert server.count_requests() == expected


# Failures that stop a chunk, and failures that do not.


def test_urls_that_are_not_valid_do_not_stop_the_chunk(run: FetchRun, server: FaultyServer) -> None:
    urls = {"d/1.jpg": "http://[half/a.jpg", "d/2.jpg": "http://\u2100.example/a.jpg", "d/3.jpg": f"{server.url}/good"}
    counts = run.fetch(urls | {"d/4.jpg": "HTTP://x:y@127.0.0.1:1/a.jpg", "d/5.jpg": "http:///a.jpg"}, retries=0)
    assert counts["fetched"] == 1
    assert run.read_ledger()["d/1.jpg"]["error"] == "bad-url"
    assert counts.total() == 5


def test_a_chunk_without_images_has_an_empty_ledger(run: FetchRun) -> None:
    assert run.fetch({}) == {}
    assert run.read_ledger() == {}


@pytest.mark.parametrize(("path", "code"), [("404", "not-found"), ("500", "server-error"), ("closed", "connection")])
def test_failures_of_hosts_that_answer_do_not_fail_the_chunk(
    run: FetchRun, server: FaultyServer, path: str, code: str
) -> None:
    assert run.fetch({"d/a.jpg": f"{server.url}/{path}"}, retries=0) == {code: 1}


def test_a_chunk_that_another_process_fetches_is_an_error(run: FetchRun, server: FaultyServer) -> None:
    path = journal_path(run.folder, 0)
    path.parent.mkdir(parents=True)
    hold = f"import fcntl; f = open({str(path)!r}, 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); "
    with subprocess.Popen([sys.executable, "-c", hold + "input()"], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=r"chunk-00000\.journal: another process is fetching this chunk"):
            run.fetch(photos(server, "a"))
        other.communicate("\n")
    assert server.count_requests() == 0
    assert run.fetch() == {"fetched": 1}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_stops_the_chunk_and_the_next_run_continues(tmp_path: Path, server: FaultyServer) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted on this machine")
    try:
        run = FetchRun(disk / "dataset")
        body = JPEG + bytes(100_000)
        for number in range(8):
            server.behaviours[f"big/{number}"] = lambda visit: visit.answer(body)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(600_000))
        urls = {f"d/{number}.jpg": f"{server.url}/big/{number}" for number in range(8)}
        begun = time.monotonic()
        with pytest.raises(OSError, match="No space left on device"):
            run.fetch(urls, workers=2)
        assert time.monotonic() - begun < 10
        kept = run.list_images()
        assert 0 < len(kept) < 8
        assert all(run.read_image(name) == body for name in kept)
        ballast.unlink()
        server.log.clear()
        assert run.fetch(workers=2) == {"fetched": 8}
        assert server.count_requests() <= 8 - len(kept) + 2
    finally:
        subprocess.run(["umount", disk], check=True)


@with_each_store
def test_images_recorded_before_a_kill_are_not_fetched_again(run: FetchRun, server: FaultyServer) -> None:
    def slowly(visit: Visit) -> None:
        time.sleep(0.03)
        visit.answer(photo(visit.path))

    names = [f"slow/{number:02}" for number in range(60)]
    server.behaviours |= dict.fromkeys(names, slowly)
    run.write_manifest({f"d/{name[5:]}.jpg": f"{server.url}/{name}" for name in names})
    script = "import sys; from pathlib import Path; from tests.support.fetch_run import FetchRun; "
    script += "FetchRun(Path(sys.argv[1]), sys.argv[2])"
    killed = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", f"{script}.fetch(workers=2)", run.output, run.kind], cwd=REPOSITORY
        ) as process:
            journal, enough = journal_path(run.folder, 0), killed + 12
            while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < enough):
                time.sleep(0.005)
            killed = journal.read_bytes().count(b"\n")
            process.send_signal(signal.SIGKILL)
    with journal.open("ab") as file:
        file.write(b'["d/half.jpg", "http://127')
    assert 24 <= killed < 60
    assert run.fetch(workers=2) == {"fetched": 60}
    asked = Counter(request.path for request in server.log)
    assert set(asked) == {f"/{name}" for name in names}
    assert asked.total() <= 60 + 2 * 2
    for name in names:
        row = run.read_ledger()[f"d/{name[5:]}.jpg"]
        assert hashlib.sha256(run.read_image(row["image_path"])).hexdigest() == row["sha256"]
        assert run.read_image(row["image_path"]) == photo(f"/{name}")
    assert not [name for name in run.list_images() if ".tmp-" in name]


@pytest.mark.parametrize("last", ["whole", "cut"])
@pytest.mark.parametrize("ledger", ["not yet written", "written, and its journal not yet deleted"])
def test_a_complete_journal_becomes_the_ledger_without_a_request(
    run: FetchRun, server: FaultyServer, ledger: str, last: str
) -> None:
    run.fetch(photos(server, "abcdef") | {"d/404.jpg": f"{server.url}/404"})
    path = run.folder / "chunk-00000.parquet"
    undisturbed = path.read_bytes()
    with Journal(journal_path(run.folder, 0)) as journal:
        for row in pq.read_table(path, columns=OUTCOME_COLUMNS.names).to_pylist():
            journal.append(Outcome(**row))
    if last == "cut":
        with journal_path(run.folder, 0).open("ab") as file:
            file.write(b'["d/a.jpg", "http://127')
    if ledger == "not yet written":
        path.unlink()
    server.log.clear()
    assert run.fetch() == {"fetched": 6, "not-found": 1}
    assert not server.log
    assert path.read_bytes() == undisturbed
    assert not journal_path(run.folder, 0).exists()


# Hosts.


def test_retry_after_delays_the_whole_host_even_if_its_image_is_not_retried(
    run: FetchRun, server: FaultyServer
) -> None:
    server.behaviours["busy"] = lambda visit: visit.answer(b"", "503 Busy", Retry_After="1")
    run.fetch({"d/0.jpg": f"{server.url}/busy"} | photos(server, "ab"), workers=1, retries=0)
    first, *others = (request.at for request in server.log)
    assert all(at - first >= 0.95 for at in others)


def test_the_request_rate_is_kept_in_the_log_of_the_server(run: FetchRun, server: FaultyServer) -> None:
    run.fetch(photos(server, "abcdefghijk"), hosts=HostTable(HostLimits(4, 10), {}))
    times = [request.at for request in server.log]
    assert times[-1] - times[0] > 0.95


def test_a_busy_host_gets_requests_more_slowly_and_then_faster_again(run: FetchRun, server: FaultyServer) -> None:
    def busy_at_first(visit: Visit) -> None:
        if visit.server.count_requests() <= 3:
            visit.answer(b"", "429 Too Many Requests")
        else:
            visit.answer(JPEG)

    names = [f"busy/{number}" for number in range(60)]
    server.behaviours |= dict.fromkeys(names, busy_at_first)
    urls = {f"d/{name[5:]}.jpg": f"{server.url}/{name}" for name in names}
    one_by_one, begun = HostTable(HostLimits(1, 40), {}), time.monotonic()
    assert run.fetch(urls, hosts=one_by_one, backoff=BackoffPolicy(max_failures=100)) == {"fetched": 60}
    waits = [1 / 40, 2 / 40, 4 / 40, *(max(1.0, 8 * RECOVERY**number) / 40 for number in range(60))]
    for number, request in enumerate(server.log):
        assert request.at - begun > sum(waits[:number]) - 0.001
    assert min(later.at - earlier.at for earlier, later in pairwise(server.log[-20:])) < 2 / 40


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("stated", ["seconds", "a date"])
def test_retry_after_pauses_the_whole_host_while_other_hosts_continue(
    run: FetchRun, server: FaultyServer, status: str, stated: str
) -> None:
    until = []

    def busy(visit: Visit) -> None:
        if visit.number > 1:
            visit.answer(JPEG)
            return
        until.append(int(time.time()) + 3)  # a date has whole seconds
        visit.answer(b"", status, Retry_After="2" if stated == "seconds" else formatdate(until[0], usegmt=True))

    server.behaviours["busy"] = busy
    with FaultyServer() as other:
        urls = {"d/0.jpg": f"{server.url}/busy"} | photos(server, "abcdef")
        urls |= {f"e/{number}.jpg": f"{other.url}/photo/{number}" for number in range(40)}
        table = HostTable(HostLimits(4, 40), {f"127.0.0.1:{server.port}": HostLimits(1, 0)})
        assert run.fetch(urls, hosts=table) == {"fetched": 47}
        first, *others = (request.at for request in server.log)
        assert len(others) == 7
        assert min(others) - first > 2 - SLACK
        assert max(request.at for request in other.log) < min(others)


def test_a_host_whose_retry_after_is_too_long_is_abandoned_at_once(run: FetchRun, server: FaultyServer) -> None:
    server.photos = lambda visit: visit.answer(b"", "503 Busy", Retry_After="3600")  # type: ignore[method-assign]
    with FaultyServer() as other:
        urls = {f"d/{number}.jpg": f"{server.url}/photo/{number}" for number in range(300)}
        urls |= {f"e/{number}.jpg": f"{other.url}/photo/{number}" for number in range(40)}
        begun = time.monotonic()
        counts = run.fetch(urls, hosts=HostTable(HostLimits(4, 0), {}), backoff=BackoffPolicy())
        assert time.monotonic() - begun < 20
    assert counts == {"fetched": 40, "host-unavailable": 300}
    assert server.count_requests() <= 4


@pytest.mark.parametrize("fault", ["refuses", "resets", "is silent", "is busy"])
def test_a_host_that_is_down_gets_few_requests_and_delays_no_other_host(
    run: FetchRun, server: FaultyServer, fault: str
) -> None:
    server.photos = {  # type: ignore[method-assign]
        "refuses": lambda visit: None,
        "resets": Visit.reset,
        "is silent": Visit.wait,
        "is busy": CASES["500"].behave,
    }[fault]
    with FaultyServer() as other, socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.close()
        down = refusing if fault == "refuses" else server.url
        urls = {f"d/{number}.jpg": f"{down}/photo/{number}" for number in range(300)}
        urls |= {f"e/{number}.jpg": f"{other.url}/photo/{number}" for number in range(300)}
        backoff = BackoffPolicy(max_failures=5, pause=0.2, max_pauses=2)
        begun = time.monotonic()
        counts = run.fetch(urls, retries=2, hosts=HostTable(HostLimits(4, 0), {}), backoff=backoff, workers=16)
        assert time.monotonic() - begun < 20
    assert (counts["fetched"], counts["host-unavailable"]) == (300, 300)
    rows = [row for path, row in run.read_ledger().items() if path.startswith("d/")]
    max_requests = 5 + 4 + 2  # in a row, with those under way, and one after each pause
    assert 5 <= sum(row["attempts"] for row in rows) <= max_requests
    assert server.count_requests() <= max_requests


def test_redirects_count_as_requests_to_their_target_host(run: FetchRun, server: FaultyServer) -> None:
    def moved(to: str) -> Behaviour:
        return lambda visit: visit.answer(b"", "301 Moved Permanently", Location=to)

    with FaultyServer() as other:
        for number in range(8):
            other.behaviours[f"moved/{number}"] = moved(f"{server.url}/moved/{number}")
            server.behaviours[f"moved/{number}"] = moved(f"/photo/{number}")
        urls = {f"d/{number}.jpg": f"{other.url}/moved/{number}" for number in range(8)}
        table = HostTable(HostLimits(8, 0), {f"127.0.0.1:{server.port}": HostLimits(1, 10)})
        begun = time.monotonic()
        assert run.fetch(urls, hosts=table) == {"fetched": 8}
        assert other.count_requests() == 8
    assert server.count_requests() == 16
    assert server.log[-1].at - begun >= 15 / 10
    assert server.running.max == 1
    row = run.read_ledger()["d/3.jpg"]
    assert (row["attempts"], row["final_url"]) == (1, f"{server.url}/photo/3")


@pytest.mark.parametrize("pause", [1.0, 0.2])
def test_each_retry_waits_twice_as_long_as_the_one_before(run: FetchRun, server: FaultyServer, pause: float) -> None:
    run.fetch({"d/a.jpg": f"{server.url}/500"}, retries=2, retry_pause=pause)
    first, second, third = (request.at for request in server.log)
    assert 0.9 * pause < second - first < 1.5 * pause < third - second < 2.5 * pause


# Outcomes of earlier runs.


@with_each_store
def test_a_url_of_two_rows_is_requested_once_for_both_files(run: FetchRun, server: FaultyServer) -> None:
    url = f"{server.url}/photo/a"
    counts = run.fetch({"d/a.jpg": url, "e/b.jpg": url, "d/b.jpg": f"{server.url}/404", "e/c.jpg": f"{server.url}/404"})
    assert counts == {"fetched": 2, "not-found": 2}
    assert server.count_requests() == 2
    assert run.read_image("d/a.jpg") == run.read_image("e/b.jpg") == photo("a")
    assert {row["sha256"] for row in run.read_ledger().values() if row["sha256"]} == {
        hashlib.sha256(photo("a")).hexdigest()
    }


@with_each_store
def test_an_image_that_moved_to_another_path_is_copied(run: FetchRun, server: FaultyServer) -> None:
    run.fetch(photos(server, "ab"))
    urls = {
        "d/a.jpg": f"{server.url}/photo/a",
        "d/a_1.jpg": f"{server.url}/photo/b",
        "e/b.jpg": f"{server.url}/photo/b",
    }
    assert run.fetch(urls) == {"fetched": 3}
    assert server.count_requests() == 2
    assert run.read_image("d/a_1.jpg") == run.read_image("e/b.jpg") == photo("b")


@with_each_store
def test_images_that_change_places_are_neither_mixed_up_nor_fetched_again(run: FetchRun, server: FaultyServer) -> None:
    urls = photos(server, "abc")
    run.fetch(urls)
    rotated = dict(zip(urls, [*list(urls.values())[1:], urls["d/a.jpg"]], strict=True))
    assert run.fetch(rotated) == {"fetched": 3}
    assert [run.read_image(f"d/{name}.jpg") for name in "abc"] == [photo("b"), photo("c"), photo("a")]
    assert run.fetch(urls) == {"fetched": 3}
    assert [run.read_image(f"d/{name}.jpg") for name in "abc"] == [photo("a"), photo("b"), photo("c")]
    assert server.count_requests() == 3


def test_a_kill_while_images_change_places_needs_no_request(run: FetchRun, server: FaultyServer) -> None:
    urls = photos(server, "ab")
    run.fetch(urls)
    of_a = run.read_ledger()["d/a.jpg"]
    run.write_manifest({"d/a.jpg": urls["d/b.jpg"], "d/b.jpg": urls["d/a.jpg"]})
    (run.images / "d/.tmp-a.jpg").write_bytes(photo("b"))
    (run.images / "d/b.jpg").write_bytes(photo("a"))
    with Journal(journal_path(run.folder, 0)) as journal:
        known = {name: of_a[name] for name in COLUMNS.names}
        journal.append(Outcome("d/b.jpg", urls["d/a.jpg"], **known))
    assert run.fetch() == {"fetched": 2}
    assert (run.read_image("d/a.jpg"), run.read_image("d/b.jpg")) == (photo("b"), photo("a"))
    assert server.count_requests() == 2
    assert run.list_images() == {"d/a.jpg", "d/b.jpg"}


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_an_incomplete_file_is_fetched_again(run: FetchRun, server: FaultyServer, damage: str) -> None:
    run.fetch(photos(server, "ab"))
    path = run.images / "d/a.jpg"
    path.unlink() if damage == "gone" else path.write_bytes(photo("a")[:-10])
    assert run.fetch() == {"fetched": 2}
    assert [request.path for request in server.log][2:] == ["/photo/a"]
    assert run.read_image("d/a.jpg") == photo("a")


def test_a_damaged_file_is_copied_from_the_other_row_of_its_url(run: FetchRun, server: FaultyServer) -> None:
    url = f"{server.url}/photo/a"
    for broken in ("d/1.jpg", "d/2.jpg"):
        run.fetch({"d/1.jpg": url, "d/2.jpg": url})
        (run.images / broken).write_bytes(b"cut off")
        assert run.fetch() == {"fetched": 2}
        assert run.read_image("d/1.jpg") == run.read_image("d/2.jpg") == photo("a")
    assert server.count_requests() == 1


@with_each_store
def test_images_in_the_cache_are_copied_without_a_request(run: FetchRun, server: FaultyServer, tmp_path: Path) -> None:
    cache = tmp_path / "older" / "d"
    cache.mkdir(parents=True)
    for name in "abcdefgh":
        (cache / f"{name}.jpg").write_bytes(photo(name))
    (cache / "x.jpg").write_bytes(b"<html>an error page</html>")
    (cache / "y.jpg").write_bytes(b"")
    begun = time.monotonic()
    counts = run.fetch(photos(server, "abcdefghxyz"), cache=cache.parent, hosts=HostTable(HostLimits(1, 2), {}))
    assert counts == {"cached": 8, "fetched": 3}
    assert time.monotonic() - begun < 3, "copies must not wait for the limits of a host"
    assert sorted(request.path for request in server.log) == ["/photo/x", "/photo/y", "/photo/z"]
    row = run.read_ledger()["d/a.jpg"]
    digest = hashlib.sha256(photo("a")).hexdigest()
    assert (row["status"], row["bytes"], row["sha256"], row["attempts"]) == ("cached", len(photo("a")), digest, 0)
    assert (cache / "a.jpg").read_bytes() == run.read_image("d/a.jpg") == photo("a")
    shutil.rmtree(cache)
    assert run.fetch(cache=cache.parent) == {"cached": 8, "fetched": 3}
    assert server.count_requests() == 3


@with_each_store
def test_a_cached_image_of_two_rows_is_copied_to_both(run: FetchRun, server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "older/d").mkdir(parents=True)
    (tmp_path / "older/d/2.jpg").write_bytes(PNG)
    url = f"{server.url}/photo/a"
    assert run.fetch({"d/1.jpg": url, "d/2.jpg": url}, cache=tmp_path / "older") == {"cached": 2}
    assert run.read_image("d/1.jpg") == run.read_image("d/2.jpg") == PNG


def write_deleted(output: Path, *lines: tuple[str, str], reason: str = "listed", version: str = "") -> None:
    with (output / "deleted.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_path", "identifier", "sha256", "reason", "deleted_at", "version"])
        writer.writerows([path, url, "", reason, "2026-01-01T00:00:00Z", version] for path, url in lines)


def test_a_deleted_image_is_fetched_again_only_with_refetch_deleted(run: FetchRun, server: FaultyServer) -> None:
    urls = photos(server, "ab")
    run.fetch(urls)
    (run.images / "d/a.jpg").unlink()
    write_deleted(run.output, ("d/a.jpg", urls["d/a.jpg"]))
    assert run.fetch() == {"fetched": 2}
    assert server.count_requests() == 2
    assert run.list_images() == {"d/b.jpg"}
    assert run.read_ledger()["d/a.jpg"]["sha256"] == hashlib.sha256(photo("a")).hexdigest()
    run.fetch(refetch_deleted=True)
    assert run.read_image("d/a.jpg") == photo("a")


@pytest.mark.parametrize(
    ("reason", "version", "is_fetched"),
    [
        ("unsupported-format", "", True), ("too-many-pixels", "", True), ("corrupt-data", "", True),
        ("unsupported-format", "0.5.0", False), ("too-many-pixels", "0.5.0", False), ("too-complex", "0.5.0", False),
        ("corrupt-data", "0.5.0", False), ("truncated", "", False), ("not-an-image", "", False), ("listed", "", False),
        ("padding", "", False), ("changed-file", "0.5.0", True), ("missing-file", "0.5.0", True),
    ],
)  # fmt: skip
def test_images_that_were_deleted_without_being_damaged_are_fetched_again(
    run: FetchRun, server: FaultyServer, reason: str, version: str, is_fetched: bool
) -> None:
    urls = photos(server, "ab")
    run.fetch(urls)
    (run.images / "d/a.jpg").unlink()
    write_deleted(run.output, ("d/a.jpg", urls["d/a.jpg"]), reason=reason, version=version)

    def count() -> int:
        return count_fetched_again(
            run.output / "deleted.csv", run.output / "fetched/chunk-00000.parquet", run.images, 0
        )

    assert count() == is_fetched
    assert run.fetch() == {"fetched": 2}
    assert server.count_requests() == 2 + is_fetched
    assert (run.images / "d/a.jpg").exists() == is_fetched
    assert count() == 0


def test_an_image_that_cannot_be_fetched_again_is_not_requested_for_ever(run: FetchRun, server: FaultyServer) -> None:
    server.behaviours["here"] = CASES["good"].behave
    run.fetch({"d/a.jpg": f"{server.url}/here"})
    (run.images / "d/a.jpg").unlink()
    write_deleted(run.output, ("d/a.jpg", f"{server.url}/here"), reason="corrupt-data")
    server.behaviours["here"] = CASES["404"].behave
    assert run.fetch() == {"not-found": 1}
    ledger = run.output / "fetched/chunk-00000.parquet"
    assert count_fetched_again(run.output / "deleted.csv", ledger, run.images, 0) == 0


def test_another_url_at_the_path_of_a_deleted_image_is_fetched(run: FetchRun, server: FaultyServer) -> None:
    urls = photos(server, "ab")
    run.fetch({"d/a.jpg": urls["d/a.jpg"]})
    (run.images / "d/a.jpg").unlink()
    write_deleted(run.output, ("d/a.jpg", urls["d/a.jpg"]))
    assert run.fetch({"d/a.jpg": urls["d/b.jpg"]}) == {"fetched": 1}
    assert run.read_image("d/a.jpg") == photo("b")


@pytest.mark.parametrize("name", ["declared-too-large", "too-large", "endless"])
def test_an_image_that_was_too_large_is_retried_only_with_a_higher_limit(
    run: FetchRun, server: FaultyServer, name: str
) -> None:
    run.fetch({"d/a.jpg": f"{server.url}/{name}"}, limits=limits(max_bytes=1000))
    run.fetch(limits=limits(max_bytes=1000))
    run.fetch(limits=limits(max_bytes=500))
    assert server.count_requests() == 1
    server.behaviours[name] = CASES["good"].behave
    counts = run.fetch(limits=limits(max_bytes=2 * 10**12))
    assert counts == {"fetched": 1}


def test_an_image_between_the_old_limit_and_the_new_limit_is_fetched(run: FetchRun, server: FaultyServer) -> None:
    assert len(JPEG) > 500
    assert run.fetch({"d/a.jpg": f"{server.url}/good"}, limits=limits(max_bytes=500)) == {"too-large": 1}
    assert run.fetch(limits=limits(max_bytes=len(JPEG) - 1)) == {"too-large": 1}
    assert server.count_requests() == 1
    assert run.fetch(limits=limits(max_bytes=len(JPEG))) == {"fetched": 1}


def test_an_opted_out_image_is_requested_again_only_without_respect_opt_out(
    run: FetchRun, server: FaultyServer
) -> None:
    run.fetch({"d/a.jpg": f"{server.url}/noai"})
    assert run.fetch() == {"opted-out": 1}
    assert server.count_requests() == 1
    assert run.fetch(limits=limits(respect_opt_out=False)) == {"fetched": 1}


def test_an_address_that_is_allowed_later_is_fetched_from(run: FetchRun, server: FaultyServer) -> None:
    assert run.fetch(photos(server, "a"), guard=AddressGuard()) == {"blocked-address": 1}
    assert run.fetch(guard=AddressGuard()) == {"blocked-address": 1}
    assert server.count_requests() == 0
    assert run.fetch() == {"fetched": 1}


def test_progress_includes_images_that_an_earlier_run_fetched(run: FetchRun, server: FaultyServer) -> None:
    path = run.write_manifest(photos(server, "abc"))
    run.fetch()
    reported: list[int] = []
    fetch_chunk(run.output, path, 0, replace(OPTIONS, limits=LIMITS), lambda counts: reported.append(counts.total()))
    assert reported == [1, 2, 3]


def test_with_keep_a_chunk_in_files_stays_so_although_another_is_packed(run: FetchRun, server: FaultyServer) -> None:
    for chunk, store in ((0, KEEP), (1, PACKED), (2, KEEP), (0, KEEP)):
        run.fetch({f"d/{chunk}.jpg": f"{server.url}/photo/{chunk}"}, chunk, store=store)
    assert (run.images / "d/0.jpg").exists()
    assert [is_packed(run.images, chunk) for chunk in range(3)] == [False, True, True]
    assert server.count_requests() == 3
