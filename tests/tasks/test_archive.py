from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gbif_webdataset.errors import FetchError, MissingPieceError
from gbif_webdataset.obtain.request_file import save_sent, write_request
from gbif_webdataset.terms.downloads import DownloadStatement
from tasks import FetchArchive, archive
from tests.support.gbif_api import COL, DOI, KEY, Download, GbifApi, break_off, file_path
from tests.support.obtain_run import LOOPBACK, ManualClock


@pytest.fixture
def server() -> Iterator[GbifApi]:
    with GbifApi() as server:
        yield server


def make_task(server: GbifApi, output: Path, dwca: str = KEY) -> Any:
    return FetchArchive(dwca=dwca, output=str(output), api=server.url, allow_addresses=LOOPBACK)


def test_waiting_and_transfer_are_shown_on_the_terminal_and_on_luigis_page(
    server: GbifApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = ManualClock()
    monkeypatch.setattr(archive, "time", SimpleNamespace(sleep=clock.sleep))
    server.add(statuses=["PREPARING", "PREPARING", "RUNNING", "SUCCEEDED"])
    server.before(file_path(), break_off(20_000))
    task, page = make_task(server, tmp_path / "out"), list[str]()
    task.set_status_message = page.append
    task.run()
    printed = capsys.readouterr().err
    for text in (
        f"{KEY}: the download is in GBIF's queue, behind other downloads (PREPARING); next request in 1 min 00 s",
        f"{KEY}: GBIF is collecting the occurrences of the download (RUNNING); next request in 4 min 00 s",
        "127.0.0.1: the connection broke; next request in 1 min 00 s",
        f"{KEY}.zip: the transfer is complete; checking the zip",
    ):
        assert text in printed
        assert text in page
    assert any(text.startswith("50.2 kB, ") for text in page)
    assert task.complete()


def test_the_archives_of_all_sources_are_listed_in_their_order(server: GbifApi, tmp_path: Path) -> None:
    server.add()
    local = tmp_path / "moths.zip"
    local.write_bytes(Download().content)
    task = make_task(server, tmp_path / "out", f"{local},{KEY}")
    with pytest.raises(MissingPieceError, match="run the task FetchArchive"):
        task.list_archives()
    task.run()
    obtained = tmp_path / "out" / "archive" / f"{KEY}.zip"
    assert task.list_archives() == (local, obtained)
    assert task.list_statements() == {obtained: DownloadStatement(DOI, COL)}


def test_a_request_that_was_submitted_again_is_obtained_again(server: GbifApi, tmp_path: Path) -> None:
    path, request = tmp_path / "request.json", Download().request
    write_request(path, request)
    for key in (KEY, "0005678-260507073636908"):
        server.add(key)
        save_sent(path, request, key)
        task = make_task(server, tmp_path / "out", str(path))
        assert not task.complete()
        task.run()
        assert task.complete()
        assert task.list_archives() == (tmp_path / "out" / "archive" / f"{key}.zip",)


def test_a_run_that_fails_leaves_no_target(server: GbifApi, tmp_path: Path) -> None:
    server.add(statuses=["FAILED"])
    task = make_task(server, tmp_path / "out")
    with pytest.raises(FetchError):
        task.run()
    assert not task.complete()


def test_it_is_needed_only_for_what_is_not_on_this_machine(server: GbifApi, tmp_path: Path) -> None:
    (tmp_path / "moths.zip").write_bytes(Download().content)
    values = {KEY: True, str(tmp_path / "moths.zip"): False, "nowhere.zip": False}
    assert {value: make_task(server, tmp_path / "out", value).is_needed for value in values} == values
