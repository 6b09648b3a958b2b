import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.fetch import plan_fetch
from gbif_webdataset.fetch.address_guard import AddressGuard
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.plan_fetch import Line, Outlook, text
from gbif_webdataset.formatting import format_estimate
from gbif_webdataset.storage.chunks import chunk_name
from tests.support.faulty_server import HTML, JPEG, Behaviour, MisbehavingServer, Visit
from tests.support.fetch_run import PLAN, Fetching, limits


class Planning(Fetching):
    """A folder whose fetching is looked at ahead."""

    def ahead(self, urls: Mapping[str, str] | None = None, sample: int = 5, **changes: Any) -> Outlook:
        """What fetching chunk 0 would take; `changes` are of the plan."""
        path = self.ask_for(urls) if urls is not None else self.manifest / chunk_name(0)
        self.announced: list[tuple[int, int]] = []
        plan = replace(PLAN, **changes)
        tell = lambda images, hosts: self.announced.append((images, hosts))  # noqa: E731
        return plan_fetch.look_ahead(self.output, [path], plan, sample, tell)

    def tree(self) -> dict[str, tuple[int, int]]:
        """Time of modification and size of every file and folder."""
        stats = {str(path): path.stat() for path in (self.output, *self.output.rglob("*"))}
        return {path: (found.st_mtime_ns, found.st_size) for path, found in stats.items()}


@pytest.fixture
def planning(tmp_path: Path) -> Planning:
    return Planning(tmp_path / "dataset")


@pytest.fixture
def other() -> Iterator[MisbehavingServer]:
    """A second host."""
    with MisbehavingServer() as server:
        yield server


def images(server: MisbehavingServer, number: int, behave: Behaviour, folder: str = "d") -> dict[str, str]:
    """The rows of so many images."""
    server.behaviours |= {f"{folder}/{name}": behave for name in range(number)}
    return {f"{folder}/{name}.jpg": f"{server.url}/{folder}/{name}" for name in range(number)}


def of_size(size: int, seconds: float = 0) -> Behaviour:
    def behave(visit: Visit) -> None:
        time.sleep(seconds)
        visit.answer(JPEG + bytes(size - len(JPEG)))

    return behave


def by_range(size: int, head: Callable[[Visit], None]) -> Behaviour:
    """An image whose first byte may be asked for, on a host that answers HEAD in its own way."""

    def behave(visit: Visit) -> None:
        if visit.method == "HEAD":
            head(visit)
        elif visit.headers.get("range") == "bytes=0-0":
            visit.answer(JPEG[:1], "206 Partial Content", Content_Range=f"bytes 0-0/{size}")
        else:
            visit.answer(JPEG + bytes(size - len(JPEG)))

    return behave


def line_of(outlook: Outlook, server: MisbehavingServer) -> Line:
    return next(line for line in outlook.lines if line.host == f"127.0.0.1:{server.port}")


def methods(server: MisbehavingServer) -> list[str]:
    return sorted(request.method for request in server.log)


# How many, and how large.


def test_images_and_bytes_are_told_of_each_host(
    planning: Planning, server: MisbehavingServer, other: MisbehavingServer
) -> None:
    urls = images(server, 30, of_size(20_000)) | images(other, 4, of_size(100_000), "e")
    outlook = planning.ahead(urls)
    assert [(line.images, line.requests, line.bytes) for line in outlook.lines] == [
        (30, 30, 600_000),
        (4, 4, 400_000),
    ]
    assert outlook.bytes == 1_000_000
    assert planning.announced == [(9, 2)]
    assert (methods(server), methods(other)) == (["HEAD"] * 5, ["HEAD"] * 4)
    told = text(outlook).splitlines()
    assert told[0] == "34 images in the manifest: 0 are fetched already, 34 are left, at 2 hosts"
    assert told[1].split() == ["host", "images", "each", "bytes", "time", "asked"]
    assert told[2].split() == [f"127.0.0.1:{server.port}", *["30", "20.0", "kB", "600.0", "kB", "1", "s", "5", "sizes"]]
    assert told[3].split() == [f"127.0.0.1:{other.port}", *["4", "100.0", "kB", "400.0", "kB", "1", "s", "4", "sizes"]]
    assert told[4].split() == ["all", "34", "29.4", "kB", "1.0", "MB", "1", "s"]
    assert told[5] == "bytes  about 1.0 MB, from the sizes of 9; the shards come on top"
    assert not any("WARNING" in line for line in told)


def test_the_columns_stand_below_each_other(
    planning: Planning, server: MisbehavingServer, other: MisbehavingServer
) -> None:
    urls = images(server, 30, of_size(20_000)) | images(other, 4, of_size(100_000), "e")
    head, *rows = text(planning.ahead(urls)).splitlines()[1:5]
    for column in ("images", "bytes", "time"):
        end = head.index(column) + len(column)
        assert all(row[end - 1] != " " and (len(row) == end or row[end] == " ") for row in rows)


def test_a_url_of_two_rows_is_one_request_and_two_images(planning: Planning, server: MisbehavingServer) -> None:
    url = f"{server.url}/good"
    (line,) = planning.ahead({"d/1.jpg": url, "d/2.jpg": url}).lines
    assert (line.images, line.requests, line.bytes) == (2, 1, 2 * len(JPEG))
    assert server.asked() == 1


def test_the_sample_is_the_same_each_time_and_is_no_larger_than_asked(
    planning: Planning, server: MisbehavingServer
) -> None:
    urls = images(server, 50, of_size(1000))
    asked = []
    for _ in range(2):
        planning.ahead(urls, sample=3)
        asked.append({request.path for request in server.log})
        server.log.clear()
    assert asked[0] == asked[1]
    assert len(asked[0]) == 3


def test_without_a_sample_nobody_is_asked(planning: Planning, server: MisbehavingServer) -> None:
    outlook = planning.ahead(images(server, 3, of_size(1000)), sample=0)
    assert outlook.bytes is None
    assert server.asked() == 0
    assert planning.announced == []
    assert "bytes  unknown: no host told a size" in text(outlook)


def test_no_more_than_forty_hosts_are_asked_and_twenty_shown(planning: Planning) -> None:
    urls = {f"d/{n}-{i}.jpg": f"http://127.0.0.{n}:9/{i}" for n in range(1, 51) for i in range(n)}
    outlook = planning.ahead(urls, guard=AddressGuard())
    asked = [line.host for line in outlook.lines if line.answers.failures]
    assert asked == [f"127.0.0.{n}:9" for n in range(50, 10, -1)]
    rows = text(outlook).splitlines()[2:]
    assert [row.split()[0] for row in rows[:20]] == [f"127.0.0.{n}:9" for n in range(50, 30, -1)]
    assert rows[21].split()[:2] == ["all", f"{sum(range(51)):,}"]
    assert rows[20].split()[:4] == ["30", "hosts", "more", f"{sum(range(31)):,}"]


# What is there already.


def test_what_is_fetched_or_failed_for_good_is_not_asked_for(planning: Planning, server: MisbehavingServer) -> None:
    urls = images(server, 4, of_size(1000)) | {"d/x.jpg": f"{server.url}/404", "d/y.jpg": f"{server.url}/500"}
    planning.fetch(urls, retries=0)
    server.log.clear()
    outlook = planning.ahead(urls | images(server, 3, of_size(2000), "e"))
    assert outlook.done == {"fetched": 4, "not-found": 1}
    assert [(line.images, line.answers.sizes) for line in outlook.lines] == [(4, [2000] * 3)]
    assert {request.path for request in server.log} == {"/e/0", "/e/1", "/e/2", "/500"}
    counts = "9 images in the manifest: 4 are fetched already, 1 failed for good, 4 are left, at 1 host"
    assert text(outlook).splitlines()[0] == counts


def test_what_a_stopped_run_fetched_counts_and_what_was_lost_does_not(
    planning: Planning, server: MisbehavingServer
) -> None:
    urls = images(server, 4, of_size(1000)) | {"d/y.jpg": f"{server.url}/500"}
    with pytest.raises(FetchError):
        planning.fetch(urls, retries=0, max_failed_share=0)
    (planning.images / "d/0.jpg").unlink()
    moved = urls | {"d/moved.jpg": urls["d/1.jpg"]}
    outlook = planning.ahead(moved)
    assert outlook.done == {"fetched": 4}
    assert sum(line.images for line in outlook.lines) == 2


def test_what_another_tree_has_is_not_asked_for(planning: Planning, server: MisbehavingServer, tmp_path: Path) -> None:
    (tmp_path / "older/d").mkdir(parents=True)
    (tmp_path / "older/d/0.jpg").write_bytes(JPEG)
    outlook = planning.ahead(images(server, 2, of_size(1000)), cache=tmp_path / "older")
    assert outlook.done == {"cached": 1}
    assert [line.images for line in outlook.lines] == [1]
    assert ", 1 come from cache_path, 1 are left, at 1 host" in text(outlook)


def test_where_all_is_there_or_nothing_is_wanted_there_is_nothing_to_fetch(
    planning: Planning, server: MisbehavingServer
) -> None:
    assert text(planning.ahead({})) == "0 images in the manifest: 0 are fetched already, nothing is left to fetch"
    planning.fetch(images(server, 2, of_size(1000)))
    server.log.clear()
    assert text(planning.ahead()) == "2 images in the manifest: 2 are fetched already, nothing is left to fetch"
    assert server.asked() == 0


def test_photos_of_inaturalist_are_asked_for_in_their_size(
    planning: Planning, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    photo = "http://static.inaturalist.org/photos/1"
    server.behaviours |= {f"{photo}/original.jpg": of_size(9000), f"{photo}/small.jpg": of_size(1000)}
    urls = {"d/1.jpg": f"{photo}/original.jpg"}
    assert planning.ahead(urls).bytes == 9000
    assert planning.ahead(urls, inaturalist_size="small").bytes == 1000


def test_nothing_is_written(planning: Planning, server: MisbehavingServer) -> None:
    urls = images(server, 3, of_size(1000)) | {"d/y.jpg": f"{server.url}/500"}
    with pytest.raises(FetchError):
        planning.fetch(urls, retries=0, max_failed_share=0)
    planning.ask_for(urls | images(server, 3, by_range(1000, lambda visit: visit.answer(b"", "405 No")), "e"))
    before = planning.tree()
    planning.ahead()
    assert planning.tree() == before


# How hosts answer.


def test_where_head_is_refused_the_first_byte_is_asked_for(planning: Planning, server: MisbehavingServer) -> None:
    def refuse(visit: Visit) -> None:
        visit.answer(b"", "405 Method Not Allowed")

    (line,) = planning.ahead(images(server, 8, by_range(30_000, refuse)), sample=2).lines
    assert line.answers.sizes == [30_000, 30_000]
    assert line.bytes == 240_000
    assert methods(server) == ["GET", "GET", "HEAD", "HEAD"]
    assert not [request for request in server.log if request.method == "GET" and "range" not in request.headers]


@pytest.mark.parametrize("length", ["", "0", "many", "-5"])
def test_a_head_without_a_size_is_followed_by_asking_for_the_first_byte(
    planning: Planning, server: MisbehavingServer, length: str
) -> None:
    def without(visit: Visit) -> None:
        visit.head(Content_Type="image/jpeg", **({"Content_Length": length} if length else {}))
        visit.keep_alive = True

    assert planning.ahead(images(server, 1, by_range(30_000, without))).bytes == 30_000


def test_a_host_that_knows_no_ranges_is_not_listened_to_for_the_whole_image(
    planning: Planning, server: MisbehavingServer
) -> None:
    sent = []

    def behave(visit: Visit) -> None:
        if visit.method == "HEAD":
            visit.answer(b"", "501 Not Implemented")
            return
        visit.head(Content_Type="image/jpeg", Content_Length=str(50_000_000))
        for _ in range(500):
            visit.send(bytes(100_000))
            sent.append(100_000)

    outlook = planning.ahead(images(server, 1, behave), limits=limits(max_bytes=100_000_000))
    assert outlook.bytes == 50_000_000
    assert sum(sent) < 20_000_000


def test_a_size_that_nobody_tells_is_that_of_the_others(
    planning: Planning, server: MisbehavingServer, other: MisbehavingServer
) -> None:
    def untold(visit: Visit) -> None:
        visit.head(Content_Type="image/jpeg", Transfer_Encoding="chunked")
        visit.send(b"" if visit.method == "HEAD" else b"1\r\n\xff\r\n0\r\n\r\n")
        visit.keep_alive = True

    outlook = planning.ahead(images(server, 2, untold) | images(other, 2, of_size(7000), "e"))
    assert line_of(outlook, server).bytes == 14_000
    assert "without a size 2" in text(outlook)


def test_images_that_will_not_come_have_no_bytes(planning: Planning, server: MisbehavingServer) -> None:
    urls = images(server, 2, of_size(1000)) | images(server, 2, lambda visit: visit.answer(HTML, kind="text/html"), "e")
    urls |= {"f/0.jpg": f"{server.url}/404", "f/1.jpg": f"{server.url}/noai"}
    (line,) = planning.ahead(urls, sample=6).lines
    assert line.answers.failures == {"not-an-image": 2, "not-found": 1, "opted-out": 1}
    assert line.bytes == 2000


def test_images_beyond_the_limit_have_no_bytes(planning: Planning, server: MisbehavingServer) -> None:
    (line,) = planning.ahead(images(server, 2, of_size(5000)), limits=limits(max_bytes=4000)).lines
    assert (line.answers.failures, line.bytes) == ({"too-large": 2}, 0)


def test_a_host_that_is_down_holds_nothing_up_and_counts_like_the_others(
    planning: Planning, server: MisbehavingServer
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        down = f"127.0.0.1:{closed.getsockname()[1]}"
        urls = {f"e/{n}.jpg": f"http://{down}/{n}" for n in range(9)} | images(server, 3, of_size(1000))
        begun = time.monotonic()
        outlook = planning.ahead(urls)
        assert time.monotonic() - begun < 5
    assert outlook.bytes == 12_000
    line = outlook.lines[0]
    assert (line.host, line.images, set(line.answers.failures)) == (down, 9, {"connection"})
    assert "connection" in text(outlook)


def test_a_host_that_is_silent_is_asked_no_more(planning: Planning, server: MisbehavingServer) -> None:
    begun = time.monotonic()
    (line,) = planning.ahead(images(server, 30, Visit.wait), sample=20, hosts=HostTable(HostLimits(2, 0), {})).lines
    assert time.monotonic() - begun < 4
    assert set(line.answers.failures) <= {"timeout", "too-slow"}
    assert server.asked() <= 3
    assert line.bytes is None


def test_a_host_that_asks_for_a_long_pause_is_asked_no_more(planning: Planning, server: MisbehavingServer) -> None:
    def busy(visit: Visit) -> None:
        visit.answer(b"", "429 Too Many Requests", Retry_After="600")

    (line,) = planning.ahead(images(server, 30, busy), hosts=HostTable(HostLimits(1, 0), {})).lines
    assert (line.answers.failures, server.asked()) == ({"too-many-requests": 1}, 1)


def test_asking_ends_though_hosts_are_slow(
    planning: Planning, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_fetch, "LONGEST", 1.0)
    begun = time.monotonic()
    (line,) = planning.ahead(images(server, 30, of_size(1000)), hosts=HostTable(HostLimits(1, 2), {})).lines
    assert time.monotonic() - begun < 2
    assert 1 <= len(line.answers.sizes) <= 3
    assert line.bytes == 30_000


def test_blocked_addresses_are_not_asked_and_take_nothing(planning: Planning, server: MisbehavingServer) -> None:
    outlook = planning.ahead(images(server, 8, of_size(1000)), guard=AddressGuard())
    assert server.asked() == 0
    assert (outlook.bytes, outlook.seconds) == (0, 0)
    assert "blocked-address" in text(outlook)
    server.behaviours["d/0"] = lambda visit: visit.answer(b"", "302 Found", Location="http://169.254.169.254/latest/")
    outlook = planning.ahead({"d/0.jpg": f"{server.url}/d/0"})
    assert outlook.lines[0].answers.failures == {"blocked-address": 1}


def test_where_a_redirect_leads_is_asked_when_it_is_that_hosts_turn(
    planning: Planning, server: MisbehavingServer, other: MisbehavingServer
) -> None:
    images(other, 9, of_size(4000))
    server.behaviours |= {
        f"d/{n}": lambda visit: visit.answer(b"", "302 Found", Location=other.url + visit.path) for n in range(9)
    }
    urls = {f"d/{n}.jpg": f"{server.url}/d/{n}" for n in range(9)}
    slow = HostTable(HostLimits(64, 0), {f"127.0.0.1:{other.port}": HostLimits(4, 10)})
    (line,) = planning.ahead(urls, hosts=slow).lines
    assert (line.host, line.answers.sizes) == (f"127.0.0.1:{server.port}", [4000] * 5)
    times = [request.at for request in other.log]
    assert len(times) == 5
    assert times[-1] - times[0] > 0.35


def test_a_redirect_in_a_circle_ends(planning: Planning, server: MisbehavingServer) -> None:
    (line,) = planning.ahead({"d/1.jpg": f"{server.url}/redirect-loop"}).lines
    assert line.answers.failures == {"too-many-redirects": 1}
    assert server.asked() == 6


def test_hosts_are_asked_by_name_and_no_faster_than_they_bear(planning: Planning, server: MisbehavingServer) -> None:
    urls = images(server, 9, by_range(1000, lambda visit: visit.answer(b"", "405 No")))
    planning.ahead(urls, hosts=HostTable(HostLimits(4, 10), {}))
    times = [request.at for request in server.log]
    assert len(times) == 10
    assert times[-1] - times[0] > 0.85
    assert {request.headers["user-agent"] for request in server.log} == {PLAN.limits.user_agent}


def test_connections_are_kept_from_one_question_to_the_next(planning: Planning, server: MisbehavingServer) -> None:
    peers = set()

    def behave(visit: Visit) -> None:
        peers.add(visit.peer)
        by_range(1000, lambda visit: visit.head(Content_Type="image/jpeg", Content_Length="0"))(visit)
        visit.keep_alive = True

    planning.ahead(images(server, 5, behave), workers=1)
    assert server.asked() == 10
    assert len(peers) == 1


def test_urls_that_are_none_stop_nothing(planning: Planning) -> None:
    urls = {"d/1.jpg": "http://[half/a.jpg", "d/2.jpg": "http://\u2100.example/a.jpg", "d/3.jpg": "http:///a.jpg"}
    outlook = planning.ahead(urls | {"d/4.jpg": "http://\x1b[2Jb.example:x/a.jpg"})
    assert len(outlook.lines) == 4
    assert "\x1b" not in text(outlook)


# How long, and whether it fits.


def test_the_time_is_that_of_requests_a_second(
    planning: Planning, server: MisbehavingServer, other: MisbehavingServer
) -> None:
    hosts = HostTable(HostLimits(64, 0), {f"127.0.0.1:{server.port}": HostLimits(4, 20)})
    outlook = planning.ahead(images(server, 40, of_size(1000)) | images(other, 50, of_size(1000), "e"), hosts=hosts)
    assert (line_of(outlook, server).seconds, outlook.seconds) == (2.0, 2.0)
    assert f"time   about 2 s, as fast as 127.0.0.1:{server.port} may be asked" in text(outlook)


def test_the_time_is_that_of_connections_where_a_host_is_slow(planning: Planning, server: MisbehavingServer) -> None:
    hosts = HostTable(HostLimits(2, 100), {})
    outlook = planning.ahead(images(server, 40, of_size(1000, seconds=0.2)), hosts=hosts)
    assert 4 <= outlook.seconds < 6


def test_the_time_is_that_of_the_workers_where_they_are_few(planning: Planning, server: MisbehavingServer) -> None:
    outlook = planning.ahead(images(server, 40, of_size(1000, seconds=0.1)), workers=2)
    assert 2 <= outlook.seconds < 3
    assert "by num_workers" in text(outlook)


@pytest.mark.parametrize(("kept", "warns"), [(0, False), (10**18, True)])
def test_more_than_the_disk_has_is_warned_of(
    planning: Planning, server: MisbehavingServer, kept: int, warns: bool
) -> None:
    told = text(planning.ahead(images(server, 40, of_size(1000)), min_free_bytes=kept)).splitlines()
    assert any(line.startswith("disk   ") and f"are free at {planning.output}" in line for line in told)
    warnings = [line for line in told if line.startswith("WARNING: ")]
    assert len(warnings) == warns
    if warns:
        assert warnings[0].startswith(
            "WARNING: 40.0 kB do not fit into the 0 bytes that may be filled: free some space"
        )


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (0.01, "1 s"), (89, "89 s"), (90, "1.5 min"), (5400, "1.5 h"), (200_000, "2.3 days")],
)
def test_a_time_is_told_in_its_largest_unit(seconds: float, told: str) -> None:
    assert format_estimate(seconds) == told
