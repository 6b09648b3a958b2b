import socket
import time

import pytest

from gbif_webdataset.fetch import size_sample
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.plan_text import format_fetch_estimate
from gbif_webdataset.network.address_guard import AddressGuard
from tests.support.faulty_server import FaultyServer
from tests.support.fetch_run import OPTIONS, limits
from tests.support.plan_run import PlanRun, add_images, find_host, list_methods, serve_bytes, serve_ranges
from tests.support.response_cases import HTML
from tests.support.visits import Visit


def test_if_a_host_refuses_head_the_first_byte_is_requested(plan_run: PlanRun, server: FaultyServer) -> None:
    def refuse(visit: Visit) -> None:
        visit.answer(b"", "405 Method Not Allowed")

    (host,) = plan_run.estimate(add_images(server, 8, serve_ranges(30_000, refuse)), sample=2).hosts
    assert host.answers.sizes == [30_000, 30_000]
    assert host.bytes == 240_000
    assert list_methods(server) == ["GET", "GET", "HEAD", "HEAD"]
    assert not [request for request in server.log if request.method == "GET" and "range" not in request.headers]


@pytest.mark.parametrize("length", ["", "0", "many", "-5"])
def test_if_head_gives_no_size_the_first_byte_is_requested(
    plan_run: PlanRun, server: FaultyServer, length: str
) -> None:
    def without(visit: Visit) -> None:
        visit.head(Content_Type="image/jpeg", **({"Content_Length": length} if length else {}))
        visit.keep_alive = True

    assert plan_run.estimate(add_images(server, 1, serve_ranges(30_000, without))).bytes == 30_000


def test_if_a_host_ignores_ranges_the_image_is_not_read_to_its_end(plan_run: PlanRun, server: FaultyServer) -> None:
    sent = []

    def behave(visit: Visit) -> None:
        if visit.method == "HEAD":
            visit.answer(b"", "501 Not Implemented")
            return
        visit.head(Content_Type="image/jpeg", Content_Length=str(50_000_000))
        for _ in range(500):
            visit.send(bytes(100_000))
            sent.append(100_000)

    estimate = plan_run.estimate(add_images(server, 1, behave), limits=limits(max_bytes=100_000_000))
    assert estimate.bytes == 50_000_000
    assert sum(sent) < 20_000_000


def test_a_host_that_reports_no_size_counts_with_the_average_of_the_others(
    plan_run: PlanRun, server: FaultyServer, other: FaultyServer
) -> None:
    def answer_without_size(visit: Visit) -> None:
        visit.head(Content_Type="image/jpeg", Transfer_Encoding="chunked")
        visit.send(b"" if visit.method == "HEAD" else b"1\r\n\xff\r\n0\r\n\r\n")
        visit.keep_alive = True

    estimate = plan_run.estimate(
        add_images(server, 2, answer_without_size) | add_images(other, 2, serve_bytes(7000), "e")
    )
    assert find_host(estimate, server).bytes == 14_000
    assert "without a size 2" in format_fetch_estimate(estimate)


def test_images_that_cannot_be_downloaded_have_no_bytes(plan_run: PlanRun, server: FaultyServer) -> None:
    urls = add_images(server, 2, serve_bytes(1000)) | add_images(
        server, 2, lambda visit: visit.answer(HTML, kind="text/html"), "e"
    )
    urls |= {"f/0.jpg": f"{server.url}/404", "f/1.jpg": f"{server.url}/noai"}
    (host,) = plan_run.estimate(urls, sample=6).hosts
    assert host.answers.failures == {"not-an-image": 2, "not-found": 1, "opted-out": 1}
    assert host.bytes == 2000


def test_images_that_are_too_large_have_no_bytes(plan_run: PlanRun, server: FaultyServer) -> None:
    (host,) = plan_run.estimate(add_images(server, 2, serve_bytes(5000)), limits=limits(max_bytes=4000)).hosts
    assert (host.answers.failures, host.bytes) == ({"too-large": 2}, 0)


def test_a_host_that_is_down_delays_nothing_and_counts_as_an_average_host(
    plan_run: PlanRun, server: FaultyServer
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        down = f"127.0.0.1:{closed.getsockname()[1]}"
        urls = {f"e/{n}.jpg": f"http://{down}/{n}" for n in range(9)} | add_images(server, 3, serve_bytes(1000))
        begun = time.monotonic()
        estimate = plan_run.estimate(urls)
        assert time.monotonic() - begun < 5
    assert estimate.bytes == 12_000
    host = estimate.hosts[0]
    assert (host.host, host.images, set(host.answers.failures)) == (down, 9, {"connection"})
    assert "connection" in format_fetch_estimate(estimate)


def test_a_silent_host_is_soon_abandoned(plan_run: PlanRun, server: FaultyServer) -> None:
    begun = time.monotonic()
    (host,) = plan_run.estimate(
        add_images(server, 30, Visit.wait), sample=20, hosts=HostTable(HostLimits(2, 0), {})
    ).hosts
    assert time.monotonic() - begun < 4
    assert set(host.answers.failures) <= {"timeout", "too-slow"}
    assert server.count_requests() <= 3
    assert host.bytes is None


def test_a_host_that_asks_for_a_long_pause_is_abandoned(plan_run: PlanRun, server: FaultyServer) -> None:
    def busy(visit: Visit) -> None:
        visit.answer(b"", "429 Too Many Requests", Retry_After="600")

    (host,) = plan_run.estimate(add_images(server, 30, busy), hosts=HostTable(HostLimits(1, 0), {})).hosts
    assert (host.answers.failures, server.count_requests()) == ({"too-many-requests": 1}, 1)


def test_sampling_ends_in_time_with_slow_hosts(
    plan_run: PlanRun, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size_sample, "MAX_SAMPLING_SECONDS", 1.0)
    begun = time.monotonic()
    (host,) = plan_run.estimate(add_images(server, 30, serve_bytes(1000)), hosts=HostTable(HostLimits(1, 2), {})).hosts
    assert time.monotonic() - begun < 2
    assert 1 <= len(host.answers.sizes) <= 3
    assert host.bytes == 30_000


def test_blocked_addresses_get_no_request_and_need_neither_bytes_nor_time(
    plan_run: PlanRun, server: FaultyServer
) -> None:
    estimate = plan_run.estimate(add_images(server, 8, serve_bytes(1000)), guard=AddressGuard())
    assert server.count_requests() == 0
    assert (estimate.bytes, estimate.seconds) == (0, 0)
    assert "blocked-address" in format_fetch_estimate(estimate)
    server.behaviours["d/0"] = lambda visit: visit.answer(b"", "302 Found", Location="http://169.254.169.254/latest/")
    estimate = plan_run.estimate({"d/0.jpg": f"{server.url}/d/0"})
    assert estimate.hosts[0].answers.failures == {"blocked-address": 1}


def test_the_target_of_a_redirect_is_requested_within_the_limits_of_its_host(
    plan_run: PlanRun, server: FaultyServer, other: FaultyServer
) -> None:
    add_images(other, 9, serve_bytes(4000))
    server.behaviours |= {
        f"d/{n}": lambda visit: visit.answer(b"", "302 Found", Location=other.url + visit.path) for n in range(9)
    }
    urls = {f"d/{n}.jpg": f"{server.url}/d/{n}" for n in range(9)}
    slow = HostTable(HostLimits(64, 0), {f"127.0.0.1:{other.port}": HostLimits(4, 10)})
    (host,) = plan_run.estimate(urls, hosts=slow).hosts
    assert (host.host, host.answers.sizes) == (f"127.0.0.1:{server.port}", [4000] * 5)
    times = [request.at for request in other.log]
    assert len(times) == 5
    assert times[-1] - times[0] > 0.35


def test_a_redirect_loop_ends(plan_run: PlanRun, server: FaultyServer) -> None:
    (host,) = plan_run.estimate({"d/1.jpg": f"{server.url}/redirect-loop"}).hosts
    assert host.answers.failures == {"too-many-redirects": 1}
    assert server.count_requests() == 6


def test_sampling_keeps_the_request_rate_and_sends_the_user_agent(plan_run: PlanRun, server: FaultyServer) -> None:
    urls = add_images(server, 9, serve_ranges(1000, lambda visit: visit.answer(b"", "405 No")))
    plan_run.estimate(urls, hosts=HostTable(HostLimits(4, 10), {}))
    times = [request.at for request in server.log]
    assert len(times) == 10
    assert times[-1] - times[0] > 0.85
    assert {request.headers["user-agent"] for request in server.log} == {OPTIONS.limits.user_agent}


def test_sampling_reuses_connections(plan_run: PlanRun, server: FaultyServer) -> None:
    peers = set()

    def behave(visit: Visit) -> None:
        peers.add(visit.peer)
        serve_ranges(1000, lambda visit: visit.head(Content_Type="image/jpeg", Content_Length="0"))(visit)
        visit.keep_alive = True

    plan_run.estimate(add_images(server, 5, behave), workers=1)
    assert server.count_requests() == 10
    assert len(peers) == 1


def test_urls_that_are_not_valid_are_counted(plan_run: PlanRun) -> None:
    urls = {"d/1.jpg": "http://[half/a.jpg", "d/2.jpg": "http://\u2100.example/a.jpg", "d/3.jpg": "http:///a.jpg"}
    estimate = plan_run.estimate(urls | {"d/4.jpg": "http://\x1b[2Jb.example:x/a.jpg"})
    assert len(estimate.hosts) == 4
    assert "\x1b" not in format_fetch_estimate(estimate)
