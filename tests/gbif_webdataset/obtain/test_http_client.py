import re
import socket
from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.network.address_guard import AddressGuard
from gbif_webdataset.obtain.credentials import Credentials
from gbif_webdataset.obtain.http_client import HttpClient, TemporaryError
from tests.support.gbif_api import GbifApi, Handler, give_status
from tests.support.obtain_run import ObtainRun

CREDENTIALS = Credentials("moth", "s3cret")


def test_the_password_is_not_sent_to_a_redirects_host_and_not_twice(server: GbifApi, run: ObtainRun) -> None:
    with GbifApi() as other:
        server.before("/a", lambda visit: visit.redirect(f"{other.url}/b"))
        other.before("/b", lambda visit: visit.redirect(f"{server.url}/c"))
        with run.client.open(f"{server.url}/a", credentials=CREDENTIALS) as response:
            assert response.status_code == 404
        sent = [request.headers.get("authorization") for request in (*server.log, *other.log)]
    assert sent == [CREDENTIALS.make_header(), None, None]


def test_no_password_of_netrc_is_sent_by_itself(
    server: GbifApi, run: ObtainRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login moth password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with run.client.open(f"{server.url}/a"):
        assert "authorization" not in server.log[0].headers


def test_the_body_of_a_redirect_is_not_read(server: GbifApi, run: ObtainRun) -> None:
    sent, limit = [0], 100_000_000

    def redirect_with_a_long_body(visit: Handler) -> None:
        visit.send_head(302, "text/html", limit, Location="/b")
        while sent[0] < limit:
            sent[0] += visit.wfile.write(bytes(100_000))

    server.before("/a", redirect_with_a_long_body)
    with run.client.open(f"{server.url}/a") as response:
        assert response.status_code == 404
    assert sent[0] < limit / 2


@pytest.mark.parametrize("location", ["http://[bad", "file:///etc/passwd"])
def test_a_redirect_to_something_else_than_a_web_address_is_an_error(
    location: str, server: GbifApi, run: ObtainRun
) -> None:
    server.before("/a", lambda visit: visit.redirect(location))
    sentence = f"/a: the host redirects to {re.escape(location)}, which is not a web address; report this"
    with pytest.raises(FetchError, match=sentence), run.client.open(f"{server.url}/a"):
        pass


def test_a_post_is_not_redirected(server: GbifApi, run: ObtainRun) -> None:
    server.before("/a", lambda visit: visit.redirect(f"{server.url}/b"))
    with run.client.open(f"{server.url}/a", body=b"{}", credentials=CREDENTIALS) as response:
        assert response.status_code == 302
    assert [request.path for request in server.log] == ["/a"]


@pytest.mark.parametrize(("status", "is_busy"), [(408, False), (420, True), (429, True), (500, False), (503, True)])
def test_temporary_statuses_are_errors_with_the_pause_that_the_host_asks_for(
    status: int, is_busy: bool, server: GbifApi, run: ObtainRun
) -> None:
    server.before("/a", give_status(status, Retry_After="7"))
    with (
        pytest.raises(TemporaryError, match=rf"^127\.0\.0\.1 answers with status {status}$") as error,
        run.client.open(f"{server.url}/a"),
    ):
        pass
    assert (error.value.retry_after, error.value.is_busy) == (7, is_busy)


def test_addresses_that_are_not_permitted_get_no_request(server: GbifApi) -> None:
    client = HttpClient(AddressGuard(), 5)
    with pytest.raises(FetchError, match=r"127\.0\.0\.1 is not a public address; allow it"), client.open(server.url):
        pass
    assert server.log == []


def test_failures_below_http_are_temporary_and_described_in_words(run: ObtainRun) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with (
        pytest.raises(TemporaryError, match=r"^127\.0\.0\.1: no connection$"),
        run.client.open(f"http://127.0.0.1:{port}"),
    ):
        pass
    with (
        pytest.raises(TemporaryError, match=r"^no-such-host\.invalid: the name cannot be resolved$"),
        run.client.open("http://no-such-host.invalid"),
    ):
        pass


def test_a_host_that_is_silent_has_no_answer_in_time(server: GbifApi, tmp_path: Path) -> None:
    run = ObtainRun(server, tmp_path, request_timeout=0.2)
    server.before("/a", lambda visit: visit.owner.stopping.wait(10) and None)
    with pytest.raises(TemporaryError, match="no answer in time"), run.client.open(f"{server.url}/a"):
        pass


@pytest.mark.parametrize("url", ["http://", "ftp://example.org/a.zip"])
def test_an_address_that_is_not_valid_is_an_error(url: str, run: ObtainRun) -> None:
    with pytest.raises(FetchError, match="not a valid address"), run.client.open(url):
        pass
