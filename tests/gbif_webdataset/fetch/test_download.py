import contextlib
import hashlib
import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.fetch import download
from gbif_webdataset.fetch.download import Downloader
from gbif_webdataset.fetch.image_response import Download, DownloadError, DownloadLimits
from gbif_webdataset.network.address_guard import NEXT_ADDRESS_SECONDS, AddressGuard
from tests.support.faulty_server import FaultyServer
from tests.support.response_cases import CASES
from tests.support.visits import JPEG, MAX_BYTES, Visit, photo

USER_AGENT = "gbif-webdataset-test/1.0 (+mailto:someone@example.org)"
LOOPBACK = AddressGuard(["127.0.0.1/32"])


def limits(silence: float = 5, seconds: float = 20, respect_opt_out: bool = True) -> DownloadLimits:
    return DownloadLimits(silence, seconds, MAX_BYTES, USER_AGENT, respect_opt_out)


@pytest.fixture
def downloader() -> Iterator[Downloader]:
    with Downloader(limits(), LOOPBACK) as downloader:
        yield downloader


def code_of(downloader: Downloader, url: str) -> str:
    with pytest.raises(DownloadError) as raised:
        downloader.download_image(url, io.BytesIO())
    return raised.value.code


def test_the_bytes_are_saved_unchanged(server: FaultyServer, downloader: Downloader) -> None:
    target = io.BytesIO()
    got = downloader.download_image(f"{server.url}/photo/a", target)
    digest = hashlib.sha256(photo("a")).hexdigest()
    assert target.getvalue() == photo("a")
    assert got == Download(200, len(photo("a")), digest, "image/jpeg", f"{server.url}/photo/a")


def test_the_final_url_is_the_one_after_redirects(server: FaultyServer, downloader: Downloader) -> None:
    assert downloader.download_image(f"{server.url}/chain-5", io.BytesIO()).final_url == f"{server.url}/chain-0"


def test_connections_are_reused(server: FaultyServer, downloader: Downloader) -> None:
    peers = set()

    def behave(visit: Visit) -> None:
        peers.add(visit.peer)
        visit.answer(JPEG)

    server.behaviours["peer"] = behave
    for _ in range(5):
        downloader.download_image(f"{server.url}/peer", io.BytesIO())
    assert len(peers) == 1


def test_requests_name_the_user_agent_and_carry_neither_password_nor_cookie(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1\nlogin someone\npassword secret\ndefault\nlogin someone\npassword secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with_password = server.url.replace("http://", "http://someone:secret@")
    with Downloader(limits(), LOOPBACK) as downloader:
        for url in (f"{server.url}/cookie", f"{server.url}/good", f"{with_password}/good", f"{server.url}/redirect"):
            downloader.download_image(url, io.BytesIO())
        assert code_of(downloader, f"{server.url}/401") == "unauthorized"
    assert len(server.log) == 6
    for request in server.log:
        assert request.headers["user-agent"] == USER_AGENT
        assert request.headers["accept-encoding"] == "identity"
        assert not {"cookie", "authorization", "referer"} & request.headers.keys()


@pytest.mark.parametrize(
    "path", ["drip-body", "drip-head", "drip-status-line", "drip-chunk-size", "continue-forever", "silent"]
)
def test_no_download_takes_longer_than_max_seconds(server: FaultyServer, path: str) -> None:
    begun = time.monotonic()
    with Downloader(limits(silence=10, seconds=0.6), LOOPBACK) as downloader:
        assert code_of(downloader, f"{server.url}/{path}") == "too-slow"
    assert 0.5 < time.monotonic() - begun < 2


def test_the_time_of_one_download_does_not_count_for_the_next(server: FaultyServer) -> None:
    def late(visit: Visit) -> None:
        time.sleep(0.7)
        visit.answer(JPEG)

    server.behaviours["late"] = late
    with Downloader(limits(silence=10, seconds=1.2), LOOPBACK) as downloader:
        for _ in range(3):
            assert downloader.download_image(f"{server.url}/late", io.BytesIO()).bytes == len(JPEG)


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/a.jpg",
        "http://0x7f.1/a.jpg",
        "http://0177.0.0.1/a.jpg",
        "http://127.1/a.jpg",
        "http://017700000001/a.jpg",
        "http://0x7f000001/a.jpg",
        "http://0/a.jpg",
        "http://0.0.0.0/a.jpg",
        "http://[::]/a.jpg",
        "http://localhost/a.jpg",
        "http://[::1]/a.jpg",
        "http://[::ffff:127.0.0.1]/a.jpg",
        "http://[64:ff9b::7f00:1]/a.jpg",
        "https://127.0.0.1/a.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://user@127.0.0.1/a.jpg",
    ],
)
def test_addresses_inside_the_users_network_get_no_request(url: str) -> None:
    with Downloader(limits(), AddressGuard()) as downloader:
        assert code_of(downloader, url) == "blocked-address"


def test_a_name_that_resolves_to_loopback_gets_no_request(server: FaultyServer) -> None:
    name = socket.gethostname()
    if not socket.gethostbyname(name).startswith("127."):
        name = "localhost"
    with Downloader(limits(), AddressGuard()) as downloader:
        assert code_of(downloader, f"http://{name}:{server.port}/good") == "blocked-address"
    assert server.count_requests() == 0


def resolving(monkeypatch: pytest.MonkeyPatch, name: str, *answers: list[str]) -> None:
    """Let `name` resolve to the first of `answers`, then to the second and so on, and then always to the last."""
    left, real = list(answers), socket.getaddrinfo

    def resolved(host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:
        if host != name:
            return real(host, port, *arguments, **options)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [found for address in addresses for found in real(address, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


# 127.0.0.2 stands for a public address: it is allowed, and 127.0.0.1 is not.
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"


@contextlib.contextmanager
def unanswering(address: str, port: int) -> Iterator[None]:
    """A port whose queue of connections is full, so that further ones get no answer."""
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address, port))
        yield


def test_the_next_address_of_a_name_is_used_within_seconds_and_remembered(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "twofold.example", [OUTSIDE, INSIDE])
    server.behaviours["a"] = CASES["until-closed"].behave  # so that each request opens a connection
    url = f"http://twofold.example:{server.port}/a"
    with (
        unanswering(OUTSIDE, server.port),
        Downloader(limits(silence=30), AddressGuard(["127.0.0.0/8"])) as downloader,
    ):
        begun = time.monotonic()
        downloader.download_image(url, io.BytesIO())
        assert NEXT_ADDRESS_SECONDS - 0.1 < time.monotonic() - begun < NEXT_ADDRESS_SECONDS + 2
        begun = time.monotonic()
        downloader.download_image(url, io.BytesIO())
        assert time.monotonic() - begun < 1


def test_a_host_whose_only_address_does_not_answer_is_a_timeout_of_the_connection(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_CONNECT_SECONDS", 1.0)
    begun = time.monotonic()
    with (
        unanswering(OUTSIDE, server.port),
        Downloader(limits(silence=30), AddressGuard(["127.0.0.0/8"])) as downloader,
        pytest.raises(DownloadError) as raised,
    ):
        downloader.download_image(f"http://{OUTSIDE}:{server.port}/a", io.BytesIO())
    assert (raised.value.code, raised.value.is_unreachable) == ("timeout", True)
    assert time.monotonic() - begun < 3


def test_the_addresses_of_a_name_share_the_time_for_connecting(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [f"127.0.0.{number}" for number in range(2, 8)]
    resolving(monkeypatch, "manifold.example", silent, [*silent[:2], INSIDE])
    monkeypatch.setattr(download, "MAX_CONNECT_SECONDS", 3.0)
    url = f"http://manifold.example:{server.port}/good"
    with contextlib.ExitStack() as stack:
        for address in silent:
            stack.enter_context(unanswering(address, server.port))
        first, second = (
            stack.enter_context(Downloader(limits(silence=30), AddressGuard(["127.0.0.0/8"]))) for _ in "12"
        )
        begun = time.monotonic()
        assert code_of(first, url) == "timeout"
        assert time.monotonic() - begun < 5
        assert second.download_image(url, io.BytesIO()).bytes == len(JPEG)


def test_a_network_without_ipv6_costs_one_attempt(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "both.example", ["::1", "::1", "::1", INSIDE])
    with Downloader(limits(), AddressGuard(["127.0.0.0/8", "::1/128"])) as downloader:
        assert downloader.download_image(f"http://both.example:{server.port}/good", io.BytesIO()).bytes == len(JPEG)


def test_a_name_that_later_resolves_inside_the_network_is_requested_at_the_checked_address(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "rebound.example", [OUTSIDE], [INSIDE])
    guard = AddressGuard([f"{OUTSIDE}/32"])
    with FaultyServer(OUTSIDE) as outside:
        server.behaviours["a"] = outside.behaviours["a"] = CASES[
            "until-closed"
        ].behave  # so that each request opens a connection
        url = f"http://rebound.example:{outside.port}/a"
        with Downloader(limits(), guard) as downloader:
            for _ in range(3):
                assert downloader.download_image(url, io.BytesIO()).bytes == len(JPEG)
        with Downloader(limits(), guard) as downloader:
            assert code_of(downloader, url) == "blocked-address"
            assert code_of(downloader, f"http://rebound.example:{server.port}/a") == "blocked-address"
        assert outside.count_requests() == 3
    assert server.count_requests() == 0


@pytest.mark.parametrize("addresses", [[INSIDE, OUTSIDE], [OUTSIDE, INSIDE]])
def test_a_name_with_one_address_inside_the_network_gets_no_request(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolving(monkeypatch, "twofold.example", addresses)
    with Downloader(limits(), AddressGuard([f"{OUTSIDE}/32"])) as downloader:
        assert code_of(downloader, f"http://twofold.example:{server.port}/good") == "blocked-address"
    assert server.count_requests() == 0


def test_a_redirect_to_a_name_inside_the_network_is_not_followed(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "intranet.example", [INSIDE])
    with FaultyServer(OUTSIDE) as outside, Downloader(limits(), AddressGuard([f"{OUTSIDE}/32"])) as downloader:
        target = f"http://intranet.example:{server.port}/good"
        outside.behaviours["a"] = lambda visit: visit.answer(b"", "302 Found", Location=target)
        assert code_of(downloader, f"{outside.url}/a") == "blocked-address"
        assert outside.count_requests() == 1
    assert server.count_requests() == 0


@pytest.mark.parametrize(
    "first",
    [
        "two-answers",
        "other-protocol",
        "early-hints-then-good",
        "processing-then-good",
        "204",
        "404",
        "redirect",
        "chunked",
    ],
)
def test_an_image_is_the_answer_to_its_own_request_after_any_other_request(
    server: FaultyServer, downloader: Downloader, first: str
) -> None:
    for number in range(5):
        with contextlib.suppress(DownloadError):
            downloader.download_image(f"{server.url}/{first}", io.BytesIO())
        target = io.BytesIO()
        downloader.download_image(f"{server.url}/photo/{number}", target)
        assert target.getvalue() == photo(str(number))


def test_a_name_whose_address_is_allowed_is_requested(server: FaultyServer) -> None:
    with Downloader(limits(), AddressGuard(["127.0.0.0/8", "::1/128"])) as downloader:
        assert downloader.download_image(f"http://localhost:{server.port}/good", io.BytesIO()).bytes == len(JPEG)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://[half/a.jpg", "bad-url"),
        ("http://127.0.0.1:99999/a.jpg", "bad-url"),
        ("http://127.0.0.1:port/a.jpg", "bad-url"),
        ("http://*.example.org/a.jpg", "bad-url"),
        ("http://no-such-host.invalid/a.jpg", "name-not-resolved"),
        ("http://127.0.0.1:1/a.jpg", "connection"),
    ],
)
def test_urls_that_cannot_be_requested_have_their_failure(downloader: Downloader, url: str, code: str) -> None:
    assert code_of(downloader, url) == code


def test_a_proxy_of_the_environment_is_used_and_max_seconds_applies_to_it(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    with Downloader(limits(silence=10, seconds=1), AddressGuard()) as downloader:
        server.behaviours["http://photos.invalid/a.jpg"] = CASES["good"].behave
        server.behaviours["http://photos.invalid/b.jpg"] = CASES["drip-head"].behave
        assert downloader.download_image("http://photos.invalid/a.jpg", io.BytesIO()).bytes == len(JPEG)
        assert code_of(downloader, "http://photos.invalid/b.jpg") == "too-slow"
