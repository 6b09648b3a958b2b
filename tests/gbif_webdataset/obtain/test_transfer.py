import socket
import time
from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.obtain import transfer as transfer_module
from gbif_webdataset.obtain.http_client import TemporaryError
from gbif_webdataset.obtain.transfer import Transfer, WrongContentError, transfer
from tests.support.gbif_api import KEY, LAST_MODIFIED, Download, GbifApi, Handler, break_off, file_path
from tests.support.obtain_run import ObtainRun


def begin(server: GbifApi, folder: Path, size: int = 0) -> tuple[Download, Transfer]:
    download = server.add()
    return download, Transfer(server.url + file_path(), folder / f"{KEY}.zip", size)


def fetch(run: ObtainRun, file: Transfer) -> list[tuple[int, int]]:
    reported: list[tuple[int, int]] = []
    transfer(run.client, file, lambda done, total: reported.append((done, total)))
    return reported


def test_a_file_of_unknown_size_is_transferred(server: GbifApi, run: ObtainRun, tmp_path: Path) -> None:
    download, file = begin(server, tmp_path)
    reported = fetch(run, file)
    assert file.part.read_bytes() == download.content
    assert reported[-1] == (len(download.content), len(download.content))


def test_a_part_is_continued_with_the_etag_of_its_file(server: GbifApi, run: ObtainRun, tmp_path: Path) -> None:
    download, file = begin(server, tmp_path)
    server.before(file_path(), break_off(20_000))
    with pytest.raises(Exception, match="the connection broke"):
        fetch(run, file)
    fetch(run, file)
    headers = server.log[-1].headers
    assert (headers["range"], headers["if-range"]) == ("bytes=20000-", download.etag)
    assert file.part.read_bytes() == download.content


@pytest.mark.parametrize("tag", [{"ETag": 'W/"weak"'}, {}])
def test_without_a_strong_etag_the_date_is_sent(
    tag: dict[str, str], server: GbifApi, run: ObtainRun, tmp_path: Path
) -> None:
    download, file = begin(server, tmp_path)

    def break_without_tag(visit: Handler) -> None:
        visit.send_head(200, "application/zip", 50_000, Last_Modified=LAST_MODIFIED, **tag)
        visit.wfile.write(download.content[:20_000])
        visit.reset()

    server.before(file_path(), break_without_tag)
    with pytest.raises(Exception, match="the connection broke"):
        fetch(run, file)
    received = file.count_bytes()
    fetch(run, file)
    assert file.part.read_bytes() == download.content
    if received:
        assert server.log[-1].headers["if-range"] == LAST_MODIFIED


@pytest.mark.parametrize("validator", ["", '{"validator": ""}', "{", "[]"])
def test_a_part_without_a_validator_is_not_continued(
    validator: str, server: GbifApi, run: ObtainRun, tmp_path: Path
) -> None:
    download, file = begin(server, tmp_path)
    file.part.write_bytes(b"PK of another file")
    if validator:
        file.validator_path.write_text(validator)
    fetch(run, file)
    assert "range" not in server.log[-1].headers
    assert file.part.read_bytes() == download.content


def test_a_part_that_is_larger_than_the_file_is_not_continued(server: GbifApi, run: ObtainRun, tmp_path: Path) -> None:
    download, file = begin(server, tmp_path, size=len(Download().content))
    file.part.write_bytes(download.content + b"more")
    file.validator_path.write_text('{"validator": "x"}')
    fetch(run, file)
    assert file.part.read_bytes() == download.content


def test_a_complete_part_of_unknown_size_is_recognised_by_416(server: GbifApi, run: ObtainRun, tmp_path: Path) -> None:
    download, file = begin(server, tmp_path)
    fetch(run, file)
    fetch(run, file)
    assert server.log[-1].headers["range"] == f"bytes={len(download.content)}-"
    assert file.part.read_bytes() == download.content


def test_a_part_that_is_larger_than_the_file_by_416_starts_over(
    server: GbifApi, run: ObtainRun, tmp_path: Path
) -> None:
    download, file = begin(server, tmp_path)
    fetch(run, file)
    file.part.write_bytes(download.content + b"more")
    with pytest.raises(TemporaryError, match="the transfer starts over"):
        fetch(run, file)
    assert not file.part.exists()


@pytest.mark.parametrize("headers", [{}, {"Content_Range": "bytes */90000"}])
def test_a_part_is_kept_if_416_does_not_say_that_it_is_too_large(
    headers: dict[str, str], server: GbifApi, run: ObtainRun, tmp_path: Path
) -> None:
    _, file = begin(server, tmp_path)
    fetch(run, file)
    before = file.part.read_bytes()
    server.before(file_path(), lambda visit: visit.send(b"", 416, "text/plain", **headers))
    with pytest.raises(
        WrongContentError, match=r"does not continue the transfer after 5\d,\d\d\d bytes \(status 416\)"
    ):
        fetch(run, file)
    assert file.part.read_bytes() == before


def test_a_first_piece_of_one_byte_is_part_of_a_zip(server: GbifApi, run: ObtainRun, tmp_path: Path) -> None:
    download, file = begin(server, tmp_path)

    def send_in_two_pieces(visit: Handler) -> None:
        visit.send_head(200, "application/zip", len(download.content))
        visit.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        visit.wfile.write(download.content[:1])
        time.sleep(0.3)
        visit.wfile.write(download.content[1:])

    server.before(file_path(), send_in_two_pieces)
    fetch(run, file)
    assert file.part.read_bytes() == download.content


def test_an_endless_answer_of_unknown_size_does_not_fill_the_disk(
    server: GbifApi, run: ObtainRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = begin(server, tmp_path)
    free = 2_000_000_000
    monkeypatch.setattr(transfer_module, "free_bytes", lambda folder: free - 500 * file.count_bytes())  # a small disk
    monkeypatch.setattr(transfer_module, "CHECK_BYTES", 1_000_000)

    def send_endlessly(visit: Handler) -> None:
        visit.send_response(200)
        visit.send_header("Connection", "close")
        visit.end_headers()
        visit.close_connection = True
        while not visit.owner.stopping.is_set():
            visit.wfile.write(b"PK" + bytes(99_998))

    server.before(file_path(), send_endlessly)
    with pytest.raises(FetchError, match=r"only .* are free for an archive of unknown size; free some space"):
        fetch(run, file)
    assert 2_000_000 <= file.count_bytes() < 4_000_000


@pytest.mark.parametrize(
    ("body", "kind", "what"),
    [
        (b"", "text/html", "empty"),
        (b"P", "", "of an unknown type"),
        (b"<!DOCTYPE html>", "text/html; charset=utf-8", "a web page"),
        (b"{}", "application/json", "of the type application/json"),
    ],
)
def test_an_answer_that_is_not_a_zip_is_described(
    body: bytes, kind: str, what: str, server: GbifApi, run: ObtainRun, tmp_path: Path
) -> None:
    _, file = begin(server, tmp_path)
    server.before(file_path(), lambda visit: visit.send(body, 200, kind))
    with pytest.raises(WrongContentError, match=f"the answer is {what}, not a zip"):
        fetch(run, file)
    assert not file.part.exists()
