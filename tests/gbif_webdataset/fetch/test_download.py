import contextlib
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.fetch.address_guard import AddressGuard
from gbif_webdataset.fetch.download import Download, Downloader, DownloadError, Limits
from tests.support.faulty_server import CASES, JPEG, MAX_BYTES, MisbehavingServer, Visit, photo

USER_AGENT = "gbif-webdataset-test/1.0 (+mailto:someone@example.org)"
LOOPBACK = AddressGuard(["127.0.0.1/32"])


def limits(silence: float = 5, seconds: float = 20, respect_opt_out: bool = True) -> Limits:
    return Limits(silence, seconds, MAX_BYTES, USER_AGENT, respect_opt_out)


@pytest.fixture
def downloader() -> Iterator[Downloader]:
    with Downloader(limits(), LOOPBACK) as downloader:
        yield downloader


def code_of(downloader: Downloader, url: str, target: Path) -> str:
    with pytest.raises(DownloadError) as raised:
        downloader.get(url, target)
    return raised.value.code


def test_the_bytes_are_stored_as_they_came(server: MisbehavingServer, downloader: Downloader, tmp_path: Path) -> None:
    target = tmp_path / "a.jpg"
    got = downloader.get(f"{server.url}/photo/a", target)
    digest = hashlib.sha256(photo("a")).hexdigest()
    assert target.read_bytes() == photo("a")
    assert got == Download(200, len(photo("a")), digest, "image/jpeg", f"{server.url}/photo/a")


def test_the_final_url_is_where_redirects_led(
    server: MisbehavingServer, downloader: Downloader, tmp_path: Path
) -> None:
    assert downloader.get(f"{server.url}/chain-5", tmp_path / "a").final_url == f"{server.url}/chain-0"


def test_connections_are_reused(server: MisbehavingServer, downloader: Downloader, tmp_path: Path) -> None:
    peers = set()

    def behave(visit: Visit) -> None:
        peers.add(visit.peer)
        visit.answer(JPEG)

    server.behaviours["peer"] = behave
    for _ in range(5):
        downloader.get(f"{server.url}/peer", tmp_path / "a")
    assert len(peers) == 1


def test_requests_say_who_asks_and_carry_no_password_and_no_cookie(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1\nlogin someone\npassword secret\ndefault\nlogin someone\npassword secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with_password = server.url.replace("http://", "http://someone:secret@")
    with Downloader(limits(), LOOPBACK) as downloader:
        for url in (f"{server.url}/cookie", f"{server.url}/good", f"{with_password}/good", f"{server.url}/redirect"):
            downloader.get(url, tmp_path / "a")
        assert code_of(downloader, f"{server.url}/401", tmp_path / "a") == "unauthorized"
    assert len(server.log) == 6
    for request in server.log:
        assert request.headers["user-agent"] == USER_AGENT
        assert request.headers["accept-encoding"] == "identity"
        assert not {"cookie", "authorization", "referer"} & request.headers.keys()


@pytest.mark.parametrize("path", [name for name, case in CASES.items() if case.code == "opted-out"])
def test_opting_out_is_of_no_consequence_where_it_is_not_respected(
    server: MisbehavingServer, tmp_path: Path, path: str
) -> None:
    with Downloader(limits(respect_opt_out=False), LOOPBACK) as downloader:
        assert downloader.get(f"{server.url}/{path}", tmp_path / "a").bytes == len(JPEG)


@pytest.mark.parametrize(
    "path", ["drip-body", "drip-head", "drip-status-line", "drip-chunk-size", "continue-forever", "silent"]
)
def test_no_image_takes_longer_than_it_may(server: MisbehavingServer, tmp_path: Path, path: str) -> None:
    begun = time.monotonic()
    with Downloader(limits(silence=10, seconds=0.6), LOOPBACK) as downloader:
        assert code_of(downloader, f"{server.url}/{path}", tmp_path / "a") == "too-slow"
    assert 0.5 < time.monotonic() - begun < 2


def test_an_image_in_time_is_not_disturbed_by_the_time_of_the_one_before(
    server: MisbehavingServer, tmp_path: Path
) -> None:
    def late(visit: Visit) -> None:
        time.sleep(0.7)
        visit.answer(JPEG)

    server.behaviours["late"] = late
    with Downloader(limits(silence=10, seconds=1.2), LOOPBACK) as downloader:
        for _ in range(3):
            assert downloader.get(f"{server.url}/late", tmp_path / "a").bytes == len(JPEG)


@pytest.mark.parametrize("seconds", ["30", "date"])
def test_retry_after_is_read_as_seconds_and_as_a_date(
    server: MisbehavingServer, downloader: Downloader, tmp_path: Path, seconds: str
) -> None:
    in_30_seconds = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    stated = in_30_seconds if seconds == "date" else seconds
    server.behaviours["busy"] = lambda visit: visit.answer(b"", "503 Service Unavailable", Retry_After=stated)
    with pytest.raises(DownloadError) as raised:
        downloader.get(f"{server.url}/busy", tmp_path / "a")
    assert 25 < raised.value.retry_after <= 30


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
def test_an_address_inside_the_users_network_is_not_asked(tmp_path: Path, url: str) -> None:
    with Downloader(limits(), AddressGuard()) as downloader:
        assert code_of(downloader, url, tmp_path / "a") == "blocked-address"
    assert not list(tmp_path.iterdir())


def test_a_name_that_resolves_to_loopback_is_not_asked(server: MisbehavingServer, tmp_path: Path) -> None:
    name = socket.gethostname()
    if not socket.gethostbyname(name).startswith("127."):
        name = "localhost"
    with Downloader(limits(), AddressGuard()) as downloader:
        assert code_of(downloader, f"http://{name}:{server.port}/good", tmp_path / "a") == "blocked-address"
    assert server.asked() == 0


def resolving(monkeypatch: pytest.MonkeyPatch, name: str, *answers: list[str]) -> None:
    """Have `name` resolve to the addresses in the first of `answers`, then in the second ..., and to the last ever on."""
    left, real = list(answers), socket.getaddrinfo

    def resolved(host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:
        if host != name:
            return real(host, port, *arguments, **options)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [found for address in addresses for found in real(address, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


# 127.0.0.2 stands for a public address: it is opened, and 127.0.0.1 is not.
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"


def test_a_name_that_resolves_inside_the_second_time_is_asked_where_it_was_checked(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "rebound.example", [OUTSIDE], [INSIDE])
    guard = AddressGuard([f"{OUTSIDE}/32"])
    with MisbehavingServer(OUTSIDE) as outside:
        server.behaviours["a"] = outside.behaviours["a"] = CASES["until-closed"].behave  # so that each connects anew
        url = f"http://rebound.example:{outside.port}/a"
        with Downloader(limits(), guard) as downloader:
            for _ in range(3):
                assert downloader.get(url, tmp_path / "a").bytes == len(JPEG)
        with Downloader(limits(), guard) as downloader:
            assert code_of(downloader, url, tmp_path / "a") == "blocked-address"
            assert code_of(downloader, f"http://rebound.example:{server.port}/a", tmp_path / "a") == "blocked-address"
        assert outside.asked() == 3
    assert server.asked() == 0


@pytest.mark.parametrize("addresses", [[INSIDE, OUTSIDE], [OUTSIDE, INSIDE]])
def test_a_name_of_which_one_address_is_inside_is_not_asked(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolving(monkeypatch, "twofold.example", addresses)
    with Downloader(limits(), AddressGuard([f"{OUTSIDE}/32"])) as downloader:
        assert code_of(downloader, f"http://twofold.example:{server.port}/good", tmp_path / "a") == "blocked-address"
    assert server.asked() == 0


def test_a_redirect_to_a_name_inside_is_not_followed(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "intranet.example", [INSIDE])
    with MisbehavingServer(OUTSIDE) as outside, Downloader(limits(), AddressGuard([f"{OUTSIDE}/32"])) as downloader:
        target = f"http://intranet.example:{server.port}/good"
        outside.behaviours["a"] = lambda visit: visit.answer(b"", "302 Found", Location=target)
        assert code_of(downloader, f"{outside.url}/a", tmp_path / "a") == "blocked-address"
        assert outside.asked() == 1
    assert server.asked() == 0


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
def test_an_image_is_the_answer_to_its_own_request_whatever_was_asked_before(
    server: MisbehavingServer, downloader: Downloader, tmp_path: Path, first: str
) -> None:
    for number in range(5):
        with contextlib.suppress(DownloadError):
            downloader.get(f"{server.url}/{first}", tmp_path / "first")
        downloader.get(f"{server.url}/photo/{number}", tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == photo(str(number))


def test_a_name_is_asked_where_its_address_is_allowed(server: MisbehavingServer, tmp_path: Path) -> None:
    with Downloader(limits(), AddressGuard(["127.0.0.0/8", "::1/128"])) as downloader:
        assert downloader.get(f"http://localhost:{server.port}/good", tmp_path / "a").bytes == len(JPEG)


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
def test_what_can_not_be_asked_has_its_code(downloader: Downloader, tmp_path: Path, url: str, code: str) -> None:
    assert code_of(downloader, url, tmp_path / "a") == code


def test_a_host_that_speaks_no_tls_is_told_apart(downloader: Downloader, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connected, _ = listening.accept()
            with connected:
                connected.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connected.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/good"
        assert code_of(downloader, url, tmp_path / "a") == "tls"
        thread.join(5)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_a_certificate_that_nobody_vouches_for_is_refused(downloader: Downloader, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key),
         "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    received = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connected, _ = listening.accept()
            with connected:
                try:
                    with context.wrap_socket(connected, server_side=True) as secure:
                        received.append(secure.recv(1000))
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/good"
        assert code_of(downloader, url, tmp_path / "a") == "bad-certificate"
        thread.join(5)
    assert not b"".join(received)


def test_a_proxy_of_the_environment_is_used_and_can_not_drip_either(
    server: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    with Downloader(limits(silence=10, seconds=1), AddressGuard()) as downloader:
        server.behaviours["http://photos.invalid/a.jpg"] = CASES["good"].behave
        server.behaviours["http://photos.invalid/b.jpg"] = CASES["drip-head"].behave
        assert downloader.get("http://photos.invalid/a.jpg", tmp_path / "a").bytes == len(JPEG)
        assert code_of(downloader, "http://photos.invalid/b.jpg", tmp_path / "a") == "too-slow"
