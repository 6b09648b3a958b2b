import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError, RepeatedError
from gbif_webdataset.fetch import reachability
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.host_queues import BackoffPolicy
from gbif_webdataset.fetch.journal import journal_path, read_journal
from gbif_webdataset.fetch.reachability import HostNotes, Reachability, describe_network_remedy
from gbif_webdataset.network.address_guard import MAX_RESOLVE_SECONDS
from tests.support.faulty_server import FaultyServer
from tests.support.fetch_run import FetchRun

LONG_AGO = 0.0
ROOT = Path(__file__).parents[3]
LOOPBACK = ((socket.AF_INET, "127.0.0.1"),)  # to which every machine has a route


@pytest.fixture
def run(tmp_path: Path) -> FetchRun:
    return FetchRun(tmp_path / "dataset")


def unresolvable(hosts: int, images: int) -> dict[str, str]:
    return {f"d/{host}-{n}.jpg": f"http://h{host}.invalid/{n}.jpg" for host in range(hosts) for n in range(images)}


def test_a_chunk_without_a_network_fails_with_one_sentence_and_the_next_run_retries_at_once(
    run: FetchRun, server: FaultyServer
) -> None:
    urls = unresolvable(2, 3)
    with pytest.raises(FetchError) as raised:
        run.fetch(urls, retry_pause=0.01)
    assert str(raised.value).startswith(
        "h0.invalid and 1 other host: no connection could be made (name-not-resolved 12); check the internet access"
    )
    assert not list(run.folder.iterdir()), "no failure is recorded"
    assert run.fetch({"d/a.jpg": f"{server.url}/photo/a"}, retry_after=3600, run_started=time.time()) == {"fetched": 1}


def test_a_chunk_whose_hosts_are_down_does_not_fail_once_an_image_of_the_dataset_was_downloaded(
    run: FetchRun, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachability, "PUBLIC_ADDRESSES", LOOPBACK)
    run.fetch({"d/a.jpg": f"{server.url}/photo/a"})
    assert run.fetch(unresolvable(1, 1), chunk=1, retries=0) == {"name-not-resolved": 1}


def test_a_run_without_a_network_stops_before_all_pauses_and_retries(
    run: FetchRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachability, "MAX_OFFLINE_SECONDS", 1.0)
    begun = time.monotonic()
    with pytest.raises(FetchError, match="no connection could be made"):
        run.fetch(unresolvable(3, 200), backoff=BackoffPolicy(), hosts=HostTable(HostLimits(4, 0), {}), retries=3)
    assert time.monotonic() - begun < 1 + MAX_RESOLVE_SECONDS + 2


WITHOUT_NETWORK = ("unshare", "--map-root-user", "--net")
HAS_NAMESPACES = shutil.which("unshare") and not subprocess.run([*WITHOUT_NETWORK, "true"], check=False).returncode
needs_namespaces = pytest.mark.skipif(not HAS_NAMESPACES, reason="needs network namespaces (unshare --net)")
FETCH = """
import sys, time
from pathlib import Path
from gbif_webdataset.errors import FetchError
from gbif_webdataset.fetch.host_queues import BackoffPolicy
from tests.support.fetch_run import FetchRun
try:
    FetchRun(Path(sys.argv[1])).fetch(None, retries=3, retry_pause=60, backoff=BackoffPolicy(), run_started=time.time())
except FetchError as error:
    print(error)
"""


@needs_namespaces
def test_a_machine_without_a_route_stops_at_once_and_says_where_to_download(
    run: FetchRun, server: FaultyServer
) -> None:
    photos = {f"d/{number}.jpg": f"{server.url}/photo/{number}" for number in range(3)}
    run.fetch(photos, chunk=1)
    missing = {"d/missing.jpg": f"{server.url}/404"}
    run.stop_before_ledger(missing)
    assert journal_path(run.folder, 0).stat().st_size
    further = {f"e/{number}.jpg": f"{server.url}/photo/{number}" for number in range(200)}
    run.write_manifest(missing | further | unresolvable(3, 20))
    command = [*WITHOUT_NETWORK, sys.executable, "-c", FETCH, str(run.output)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == ""
    assert re.search(
        r"no connection could be made \(.*\), because this machine has no route to the internet", ended.stdout
    )
    assert "run `make fetch` with the same options on a machine with internet access" in ended.stdout
    assert "`make slurm FETCH=no`" in ended.stdout
    assert {outcome.error for outcome in read_journal(journal_path(run.folder, 0))} == {"not-found"}
    asked = server.count_requests()
    run.write_manifest(missing | further)
    counts = run.fetch(None, retry_after=3600, run_started=time.time())
    assert counts == {"not-found": 1, "fetched": 200}
    assert server.count_requests() == asked + 200


@needs_namespaces
def test_a_route_is_looked_for_without_sending_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from gbif_webdataset.fetch.reachability import has_route; print(has_route())"
    command = [*WITHOUT_NETWORK, sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "False\n"
    monkeypatch.setattr(reachability, "PUBLIC_ADDRESSES", LOOPBACK)
    assert reachability.has_route()


def test_chunks_of_one_run_do_not_ask_again_which_hosts_are_down(run: FetchRun) -> None:
    started = time.time()
    for chunk in range(16):
        begun = time.monotonic()
        with pytest.raises(RepeatedError if chunk else FetchError, match="no connection could be made"):
            run.fetch(unresolvable(2, 3), chunk=chunk, retries=1, retry_pause=0.5, run_started=started)
        assert chunk == 0 or time.monotonic() - begun < 0.4


def test_a_host_that_was_down_in_an_earlier_run_gets_one_request_as_a_test(run: FetchRun, server: FaultyServer) -> None:
    server.photos = lambda visit: None  # type: ignore[method-assign]
    with FaultyServer() as other:
        urls = {f"d/{n}.jpg": f"{other.url}/photo/{n}" for n in range(5)}
        HostNotes(run.output / ".scratch").add(f"127.0.0.1:{other.port}", "timeout")
        assert run.fetch(urls, run_started=time.time() + 1) == {"fetched": 5}
        assert HostNotes(run.output / ".scratch").load() == {}
    host = f"127.0.0.1:{other.port}"
    HostNotes(run.output / ".scratch").add(host, "timeout")
    later = {f"e/{n}.jpg": f"{other.url}/photo/{n}" for n in range(5)}
    counts = run.fetch(later, chunk=1, retries=0, run_started=time.time() + 1, backoff=BackoffPolicy())
    assert counts == {"connection": 1, "host-unavailable": 4}


def test_a_noted_host_that_answers_with_a_failure_is_not_abandoned(run: FetchRun, server: FaultyServer) -> None:
    HostNotes(run.output / ".scratch").add(f"127.0.0.1:{server.port}", "timeout")
    urls = {"d/0.jpg": f"{server.url}/500", "d/a.jpg": f"{server.url}/photo/a", "d/b.jpg": f"{server.url}/photo/b"}
    options = {"hosts": HostTable(HostLimits(1, 0), {}), "backoff": BackoffPolicy(), "run_started": time.time() + 1}
    assert run.fetch(urls, retries=0, **options) == {"server-error": 1, "fetched": 2}


def test_notes_are_kept_for_an_hour_and_the_last_of_a_host_applies(tmp_path: Path) -> None:
    notes = HostNotes(tmp_path)
    notes.add("down.org", "timeout")
    notes.add("up.org", "timeout")
    notes.add("up.org", "")
    (path,) = tmp_path.iterdir()
    path.write_text(f'damaged\n["old.org", {time.time() - 3601}, "timeout"]\n[1]\n' + path.read_text())
    assert set(notes.load()) == {"down.org"}
    assert Reachability(notes, tmp_path, LONG_AGO).noted == {"down.org": True}
    assert Reachability(notes, tmp_path, time.time() + 1).noted == {"down.org": False}


def test_the_remedy_names_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    assert "whether a proxy is needed (https_proxy)" in describe_network_remedy()
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example:3128")
    assert "the proxy that https_proxy names" in describe_network_remedy()
    assert "secret" not in describe_network_remedy()
