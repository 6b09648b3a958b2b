"""Every behaviour of GBIF's API and of the servers of its files, with what is expected of each."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest

from gbif_webdataset.errors import DatasetError, FetchError
from gbif_webdataset.obtain.gbif_api import GoneError, NotFoundError
from gbif_webdataset.obtain.request_file import save_sent, write_request
from gbif_webdataset.obtain.sources import ArchiveUrl
from tests.support.gbif_api import (
    COL,
    DOI,
    KEY,
    PREDICATE,
    Download,
    GbifApi,
    Handler,
    break_off,
    close_early,
    file_path,
    give_status,
    ignore_range,
    make_zip,
    metadata_path,
    send_page,
    send_range_slowly,
    send_slowly,
    stall,
)
from tests.support.obtain_run import ObtainRun

ROOT = Path(__file__).parents[3]
HALF = 25_000
RESUMED = f"bytes={HALF}-"


@dataclass(frozen=True)
class Case:
    """What the server does, and the pauses, the ranges and the texts among the sentences that are expected."""

    prepare: Callable[[GbifApi, Download], object]
    pauses: list[float] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=lambda: [None])
    sentences: tuple[str, ...] = ()


def set_statuses(*statuses: str) -> Callable[[GbifApi, Download], object]:
    return lambda server, download: setattr(download, "statuses", list(statuses))


def interrupt(*behaviours: Callable[..., None]) -> Callable[[GbifApi, Download], object]:
    return lambda server, download: server.before(file_path(), *behaviours)


def disturb(*behaviours: Callable[..., None]) -> Callable[[GbifApi, Download], object]:
    return lambda server, download: server.before(metadata_path(), *behaviours)


SUCCEEDING = {
    "ready": Case(lambda server, download: None),
    "running for a while": Case(
        set_statuses("PREPARING", *["RUNNING"] * 5, "SUCCEEDED"),
        [60, 120, 240, 480, 600, 600],
        sentences=("in GBIF's queue", "is collecting the occurrences", "next request in 10 min 00 s"),
    ),
    "suspended": Case(set_statuses("SUSPENDED", "SUCCEEDED"), [60], sentences=("has paused the download",)),
    "unknown status": Case(set_statuses("POLISHING", "SUCCEEDED"), [60], sentences=("states the status POLISHING",)),
    "429 with Retry-After": Case(disturb(give_status(429, Retry_After="1000")), [1000], sentences=("status 429",)),
    "429 with a short Retry-After": Case(disturb(give_status(429, Retry_After="1")), [60]),
    "429 without Retry-After": Case(disturb(*[give_status(429)] * 3), [60, 120, 240]),
    "420 more often than other failures": Case(disturb(*[give_status(420)] * 7), [60, 120, 240, 480, 600, 600, 600]),
    "503": Case(disturb(give_status(503, Retry_After="90")), [90], sentences=("status 503",)),
    "500": Case(disturb(*[give_status(500)] * 4), [60, 120, 240, 480]),
    "HTML error page in place of JSON": Case(disturb(send_page), [60], sentences=("not JSON",)),
    "connection reset": Case(disturb(lambda visit: visit.reset()), [60], sentences=("the connection broke",)),
    "503 for the file": Case(interrupt(give_status(503)), [60], [None, None]),
    "truncated body, then 206": Case(interrupt(break_off(HALF)), [60], [None, RESUMED]),
    "closed early, then 206": Case(interrupt(close_early(HALF)), [60], [None, RESUMED]),
    "stalled, then 206": Case(interrupt(stall(HALF)), [60], [None, RESUMED]),
    "truncated, 503, then 206": Case(interrupt(break_off(HALF), give_status(503)), [60, 120], [None, RESUMED, RESUMED]),
    "200 to a Range request": Case(interrupt(break_off(HALF), ignore_range), [60], [None, RESUMED]),
    "416": Case(interrupt(break_off(HALF), give_status(416)), [60, 120], [None, RESUMED, RESUMED]),
    "another part than was requested": Case(
        interrupt(
            break_off(HALF), lambda visit: visit.send(b"PK", 206, "application/zip", Content_Range="bytes 0-1/50886")
        ),
        [60, 120],
        [None, RESUMED, RESUMED],
        sentences=("another part of the file",),
    ),
    "HTML error page in place of the missing part": Case(
        interrupt(break_off(HALF), send_page), [60, 120], [None, RESUMED, RESUMED]
    ),
    "HTML error page in place of the file": Case(
        interrupt(send_page), [60], [None, None], sentences=("a web page, not a zip",)
    ),
    "slow transfer": Case(interrupt(send_slowly(20, 0.02))),
}


@pytest.mark.parametrize("name", SUCCEEDING)
def test_the_archive_is_obtained_in_spite_of(name: str, server: GbifApi, tmp_path: Path) -> None:
    case, download = SUCCEEDING[name], server.add()
    run = ObtainRun(server, tmp_path / "archive", request_timeout=0.4 if "stalled" in name else 5.0)
    case.prepare(server, download)
    [entry] = run.obtain(KEY)
    assert run.zip_of(KEY) == download.content
    assert (entry.status, entry.doi, entry.checklistKey, entry.size) == ("SUCCEEDED", DOI, COL, len(download.content))
    assert run.list_files() == {f"{KEY}.zip", f"{KEY}.json"}
    assert run.clock.pauses == case.pauses
    assert [request.headers.get("range") for request in server.requests("GET", "/files/")] == case.ranges
    for text in case.sentences:
        assert any(text in sentence for sentence in run.sentences), run.sentences
    assert run.bytes[-1] == (f"{KEY}.zip", len(download.content), len(download.content))


FAILING = {
    "failed": (
        set_statuses("FAILED"),
        r"^{KEY}: GBIF could not make the download \(FAILED\); request a Darwin Core Archive with `make",
    ),
    "killed": (set_statuses("RUNNING", "KILLED"), r"^{KEY}: GBIF's system stopped the download \(KILLED\); request a"),
    "cancelled": (set_statuses("CANCELLED"), r"^{KEY}: the user who requested the download cancelled it \(CANCELLED\)"),
    "erased": (
        set_statuses("FILE_ERASED"),
        r"^{KEY}: GBIF has deleted the file .*\(FILE_ERASED\); request a Darwin Core Archive with `make request SEND=1 OUTPUT=.*\.json`",
    ),
    "410 for the metadata": (
        disturb(give_status(410)),
        r"^{KEY}: GBIF answers that the file .* is gone \(status 410\)",
    ),
    "410 for the file": (
        interrupt(give_status(410)),
        r"^{KEY}: GBIF answers that the file .* is gone \(status 410\); request a Darwin Core Archive with `make request SEND=1",
    ),
    "404": (disturb(give_status(404)), r"^--dwca {KEY}: GBIF has no such download; check it"),
    "404 for the file": (interrupt(give_status(404)), r"there is no such file \(status 404\)"),
    "403 for the file": (interrupt(give_status(403)), r"the request is refused \(status 403\)"),
    "500 without end": (
        disturb(*[give_status(500)] * 9),
        r"status 500: 5 requests in a row failed; run the same command",
    ),
    "pages without end": (
        interrupt(*[send_page] * 9),
        r"a web page, not a zip \(3 attempts\); run the same command again",
    ),
    "wrong size": (
        lambda server, download: setattr(download, "size", 7),
        r"the file has 50,\d\d\d bytes in place of 7 \(3 attempts\)",
    ),
    "damaged zip": (
        lambda server, download: setattr(
            download, "content", download.content.replace(b"\x10\x11\x12", b"\x10\x11\x13", 1)
        ),
        r"has a wrong checksum \(CRC-32\) within \(3 attempts\)",
    ),
    "no zip": (
        lambda server, download: setattr(download, "content", b"PK" + bytes(1000)),
        r"is not a zip, or ends too early",
    ),
    "redirect to another host": (
        interrupt(lambda visit: visit.redirect("http://127.0.0.2:9/moths.zip")),
        r"127\.0\.0\.2 is not a public address; allow it",
    ),
    "redirect to a file": (
        interrupt(lambda visit: visit.redirect("file:///etc/passwd")),
        r"which is not a web address",
    ),
    "redirects without end": (
        interrupt(*[lambda visit: visit.redirect(visit.owner.url + visit.path)] * 9),
        r"more than 5 redirects",
    ),
    "running too long": (
        set_statuses("RUNNING"),
        r"the time to wait \(24 h 00 min\) would be over .* or set a longer time with --FetchArchive-wait-hours$",
    ),
    "Retry-After that is too long": (disturb(give_status(503, Retry_After="90000")), r"status 503: the time to wait"),
    "another download": (
        disturb(lambda visit: visit.send_json({"key": "0000009-260507073636908", "status": "SUCCEEDED"})),
        r"GBIF answers with another download, 0000009-260507073636908",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_one_sentence_says_what_to_do_after(name: str, server: GbifApi, run: ObtainRun) -> None:
    prepare, sentence = FAILING[name]
    prepare(server, server.add())
    with pytest.raises(DatasetError, match=sentence.replace("{KEY}", KEY)):
        run.obtain(KEY)
    assert not list(run.folder.glob("*.zip"))


def test_a_doi_is_resolved_and_recorded_without_the_user(server: GbifApi, run: ObtainRun) -> None:
    download = server.add()
    [entry] = run.obtain(f"https://doi.org/{DOI.upper()}")
    assert run.zip_of(KEY) == download.content
    assert (entry.key, entry.source) == (KEY, DOI)
    written = (run.folder / f"{KEY}.json").read_text()
    assert json.loads(written)["request"] == {
        "predicate": PREDICATE,
        "format": "DWCA",
        "checklistKey": COL,
        "type": "OCCURRENCE",
    }
    assert "moth_counter" not in written
    assert "counter@example.org" not in written


def test_a_doi_with_several_versions_needs_a_key(server: GbifApi, run: ObtainRun) -> None:
    keys = [KEY, "0005678-260507073636908"]
    server.before(metadata_path(DOI), lambda visit: visit.send_json({"results": [{"key": key} for key in keys]}))
    with pytest.raises(FetchError, match=rf"^{KEY}, 0005678-\d+: GBIF has 2 downloads for it; give the key of one"):
        run.obtain(DOI)


def test_a_doi_of_another_download_is_an_error(server: GbifApi, run: ObtainRun) -> None:
    server.add(doi="10.15468/dl.other1")
    server.before(metadata_path(DOI), lambda visit: visit.describe(KEY))
    with pytest.raises(FetchError, match=r"^--dwca 10\.15468/dl\.abc123: GBIF answers with another download"):
        run.obtain(DOI)


def test_an_archive_that_is_complete_needs_no_request(server: GbifApi, run: ObtainRun) -> None:
    server.add()
    run.obtain(KEY)
    before = len(server.log)
    for value in (KEY, DOI, f"{DOI},{KEY}"):
        assert {entry.key for entry in run.obtain(value)} == {KEY}
    assert len(server.log) == before


def test_a_download_that_is_named_twice_is_transferred_once(server: GbifApi, run: ObtainRun) -> None:
    server.add()
    first, second = run.obtain(f"{DOI},{KEY}")
    assert first.sha256 == second.sha256
    assert len(server.requests("GET", "/files/")) == 1


def test_an_archive_that_was_changed_is_downloaded_again(server: GbifApi, run: ObtainRun) -> None:
    download = server.add()
    run.obtain(KEY)
    path = run.folder / f"{KEY}.zip"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    run.obtain(KEY)
    assert run.zip_of(KEY) == download.content


def test_a_transfer_that_continues_a_changed_file_starts_over(server: GbifApi, run: ObtainRun) -> None:
    download = server.add()

    def change(visit: Handler) -> None:
        break_off(HALF)(visit)
        download.content = make_zip(60_000)

    server.before(file_path(), change)
    with pytest.raises(FetchError, match="in place of"):  # GBIF's size is that of the first file
        run.obtain(KEY)
    assert run.obtain(KEY)[0].size == len(download.content)


def test_the_part_survives_wrong_answers_without_end(server: GbifApi, run: ObtainRun) -> None:
    download = server.add()
    server.before(file_path(), break_off(HALF), *[send_page] * 3)
    with pytest.raises(
        FetchError, match=rf"\(3 attempts\); run the same .*, or delete .*/{KEY}\.zip\.part to start over"
    ):
        run.obtain(KEY)
    run.obtain(KEY)
    assert run.zip_of(KEY) == download.content
    assert server.log[-1].headers["range"] == RESUMED


def test_attempts_of_a_host_that_cannot_continue_a_transfer_end(server: GbifApi, run: ObtainRun) -> None:
    download = server.add()
    lengths = iter(range(10_000, 50_000, 1000))

    def break_without_validator(visit: Handler) -> None:
        visit.send_head(200, "application/zip", len(download.content))
        visit.wfile.write(download.content[: next(lengths)])
        visit.close_connection = True

    server.before(file_path(), *[break_without_validator] * 40)
    with pytest.raises(FetchError, match="5 requests in a row failed"):
        run.obtain(KEY)
    server.behaviours.clear()
    run.obtain(KEY)
    assert run.zip_of(KEY) == download.content


def test_all_downloads_are_looked_up_before_the_first_transfer(server: GbifApi, run: ObtainRun) -> None:
    server.add()
    with pytest.raises(NotFoundError, match="0009999"):
        run.obtain(f"{KEY},0009999-260507073636908")
    assert not server.requests("GET", "/files/")


def test_the_request_of_an_erased_download_is_written_for_the_next_one(server: GbifApi, run: ObtainRun) -> None:
    server.add(statuses=["FILE_ERASED"])
    with pytest.raises(GoneError):
        run.obtain(KEY)
    request = json.loads((run.folder / f"{KEY}.request.json").read_text())
    assert request == {"predicate": PREDICATE, "format": "DWCA", "checklistKey": COL, "type": "OCCURRENCE"}


def test_a_download_of_another_format_is_neither_awaited_nor_transferred(server: GbifApi, run: ObtainRun) -> None:
    server.add(request={"predicate": PREDICATE, "format": "SIMPLE_CSV"}, statuses=["RUNNING"])
    with pytest.raises(FetchError, match="the format of the download is SIMPLE_CSV"):
        run.obtain(KEY)
    assert run.clock.pauses == []


@pytest.mark.parametrize("value", [DOI, "request.json"])
def test_410_for_the_metadata_names_the_command_if_the_request_is_known(
    value: str, server: GbifApi, run: ObtainRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    download = server.add(statuses=["FAILED"])
    if value == DOI:
        with pytest.raises(FetchError):
            run.obtain(DOI)
    write_request(Path("request.json"), download.request)
    save_sent(Path("request.json"), download.request, KEY)
    server.before(metadata_path(DOI if value == DOI else KEY), give_status(410))
    with pytest.raises(
        GoneError, match=r"is gone \(status 410\); request a Darwin Core Archive with `make request SEND=1"
    ):
        run.obtain(value)
    [path] = {*run.folder.glob("*.request.json")} - {run.folder / f"{KEY}.request.json" if value == DOI else Path()}
    assert json.loads(path.read_text())["predicate"] == PREDICATE


def test_a_disk_that_is_too_small_is_reported_before_the_transfer(server: GbifApi, run: ObtainRun) -> None:
    server.add(size=10**18)

    def announce(visit: Handler) -> None:
        visit.send_head(200, "application/zip", 10**18)
        visit.wfile.write(b"PK")

    server.before(file_path(), announce)
    with pytest.raises(
        FetchError, match=r"archive: only .* are free for 1,000,000\.0 TB more of the archive; free some"
    ):
        run.obtain(KEY)
    assert not list(run.folder.glob("*.part"))


def test_the_zip_of_an_address_is_obtained_without_the_api(server: GbifApi, run: ObtainRun) -> None:
    download, source = server.add(), ArchiveUrl(server.url + file_path())
    server.before(file_path(), break_off(HALF))
    [entry] = run.obtain_sources([source])
    assert (run.folder / entry.zip_name).read_bytes() == download.content
    assert (entry.source, entry.status, entry.doi, entry.size) == (source.url, "", "", len(download.content))
    assert {request.path for request in server.log} == {file_path()}
    assert [request.headers.get("range") for request in server.log] == [None, RESUMED]
    run.obtain_sources([source])
    assert len(server.log) == 2

    (run.folder / entry.zip_name).unlink()
    download.content = make_zip(70_000)
    assert run.obtain_sources([source])[0].size == len(download.content)


def test_an_address_without_a_zip_gives_a_sentence(server: GbifApi, run: ObtainRun) -> None:
    server.add()
    server.before(file_path(), give_status(410))
    with pytest.raises(GoneError, match=r"the file was deleted \(status 410\)"):
        run.obtain_sources([ArchiveUrl(server.url + file_path())])
    with pytest.raises(NotFoundError, match=r"nowhere\.zip: there is no such file \(status 404\)"):
        run.obtain_sources([ArchiveUrl(f"{server.url}/nowhere.zip")])


def test_a_date_in_retry_after_is_respected(server: GbifApi, run: ObtainRun) -> None:
    server.add()
    server.before(metadata_path(), give_status(429, Retry_After=formatdate(time.time() + 500, usegmt=True)))
    run.obtain(KEY)
    [pause] = run.clock.pauses
    assert 400 < pause <= 500


RUN = """
import sys, time
from pathlib import Path
from tests.support import gbif_api, obtain_run
class Server:
    url = sys.argv[1]
run = obtain_run.ObtainRun(Server, Path(sys.argv[2]))
run.clock.sleep = lambda seconds: time.sleep(0.05)
run.obtain(sys.argv[3])
"""


def start(server: GbifApi, folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", RUN, server.url, folder, KEY], cwd=ROOT)


def kill_when(process: "subprocess.Popen[bytes]", reached: Callable[[], bool]) -> None:
    """Kill a process once a moment is reached."""
    try:
        end = time.monotonic() + 30
        while not reached() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        assert reached()
        assert process.poll() is None, "the process ended before it could be killed"
    finally:
        process.kill()
        process.wait(10)


def test_a_run_that_is_killed_in_any_state_continues(server: GbifApi, run: ObtainRun) -> None:
    download = server.add(content=make_zip(4_000_000), statuses=["RUNNING"])
    part, requests = run.folder / f"{KEY}.zip.part", server.requests

    kill_when(start(server, run.folder), lambda: len(requests("GET", metadata_path())) >= 3)  # while it waits
    download.statuses = ["SUCCEEDED"]
    server.before(f"/v1/occurrence/download/request/{KEY}.zip", lambda visit: visit.owner.stopping.wait(30) and None)
    kill_when(start(server, run.folder), lambda: bool(requests("GET", "/v1/occurrence/download/request/")))
    sizes = [0]
    for _ in range(3):  # while it transfers
        server.before(file_path(), send_range_slowly)
        kill_when(start(server, run.folder), lambda: part.exists() and part.stat().st_size > sizes[-1] + 300_000)
        sizes.append(part.stat().st_size)
    ended = start(server, run.folder)
    assert ended.wait(60) == 0
    ranges = [request.headers.get("range", "bytes=0-") for request in requests("GET", "/files/")]
    assert ranges == [f"bytes={size}-" for size in sizes]
    assert run.zip_of(KEY) == download.content
    assert run.list_files() == {f"{KEY}.zip", f"{KEY}.json"}


def test_a_run_that_is_killed_after_the_transfer_needs_no_further_byte(server: GbifApi, run: ObtainRun) -> None:
    download = server.add()
    run.folder.mkdir()
    (run.folder / f"{KEY}.zip.part").write_bytes(download.content)
    (run.folder / f"{KEY}.zip.part.json").write_text("{}")
    run.obtain(KEY)
    assert run.zip_of(KEY) == download.content
    assert not server.requests("GET", "/files/")


def test_ctrl_c_leaves_what_the_next_run_continues(server: GbifApi, run: ObtainRun) -> None:
    server.add(statuses=["RUNNING"])
    process = start(server, run.folder)
    try:
        end = time.monotonic() + 30
        while len(server.log) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) != 0
    finally:
        process.kill()
        process.wait(10)
    server.downloads[KEY].statuses = ["SUCCEEDED"]
    assert run.obtain(KEY)[0].key == KEY
    assert [path for path, pauses in pairwise([*run.list_files(), ""]) if path.endswith(".part")] == []
