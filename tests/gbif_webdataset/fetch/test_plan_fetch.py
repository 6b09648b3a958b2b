from pathlib import Path

import pytest

from gbif_webdataset.fetch.host_limits import HostLimits, HostTable
from gbif_webdataset.fetch.plan_text import format_fetch_estimate
from tests.support.faulty_server import FaultyServer
from tests.support.plan_run import PlanRun, add_images, find_host, list_methods, serve_bytes, serve_ranges
from tests.support.visits import JPEG


def test_the_estimate_has_images_requests_and_bytes_of_each_host(
    plan_run: PlanRun, server: FaultyServer, other: FaultyServer
) -> None:
    urls = add_images(server, 30, serve_bytes(20_000)) | add_images(other, 4, serve_bytes(100_000), "e")
    estimate = plan_run.estimate(urls)
    assert [(host.images, host.requests, host.bytes) for host in estimate.hosts] == [
        (30, 30, 600_000),
        (4, 4, 400_000),
    ]
    assert estimate.bytes == 1_000_000
    assert plan_run.announced == [(9, 2)]
    assert (list_methods(server), list_methods(other)) == (["HEAD"] * 5, ["HEAD"] * 4)
    lines = format_fetch_estimate(estimate).splitlines()
    assert lines[0] == "34 images in the manifest: 0 are already fetched, 34 remain to be fetched from 2 hosts"
    assert lines[1].split() == [
        "host",
        "images",
        "image",
        "size",
        "total",
        "size",
        "time",
        "answers",
        "to",
        "test",
        "requests",
    ]
    assert lines[2].split() == [
        f"127.0.0.1:{server.port}",
        *["30", "20.0", "kB", "600.0", "kB", "1", "s", "5", "sizes"],
    ]
    assert lines[3].split() == [f"127.0.0.1:{other.port}", *["4", "100.0", "kB", "400.0", "kB", "1", "s", "4", "sizes"]]
    assert lines[4].split() == ["all", "34", "29.4", "kB", "1.0", "MB", "1", "s"]
    assert lines[5] == "bytes  about 1.0 MB, estimated from 9 images; shards on this disk need additional space"
    assert not any("WARNING" in line for line in lines)


def test_a_url_of_two_rows_is_one_request_and_two_images(plan_run: PlanRun, server: FaultyServer) -> None:
    url = f"{server.url}/good"
    (host,) = plan_run.estimate({"d/1.jpg": url, "d/2.jpg": url}).hosts
    assert (host.images, host.requests, host.bytes) == (2, 1, 2 * len(JPEG))
    assert server.count_requests() == 1


def test_the_sample_is_always_the_same_and_has_at_most_the_requested_size(
    plan_run: PlanRun, server: FaultyServer
) -> None:
    urls = add_images(server, 50, serve_bytes(1000))
    asked = []
    for _ in range(2):
        plan_run.estimate(urls, sample=3)
        asked.append({request.path for request in server.log})
        server.log.clear()
    assert asked[0] == asked[1]
    assert len(asked[0]) == 3


def test_without_a_sample_no_request_is_sent(plan_run: PlanRun, server: FaultyServer) -> None:
    estimate = plan_run.estimate(add_images(server, 3, serve_bytes(1000)), sample=0)
    assert estimate.bytes is None
    assert server.count_requests() == 0
    assert plan_run.announced == []
    assert "bytes  unknown: no host reported a size" in format_fetch_estimate(estimate)


def test_settled_images_are_counted_and_not_sampled(plan_run: PlanRun, server: FaultyServer) -> None:
    urls = add_images(server, 4, serve_bytes(1000)) | {"d/x.jpg": f"{server.url}/404", "d/y.jpg": f"{server.url}/500"}
    plan_run.fetch(urls, retries=0)
    server.log.clear()
    estimate = plan_run.estimate(urls | add_images(server, 3, serve_bytes(2000), "e"))
    assert estimate.settled == {"fetched": 4, "not-found": 1}
    assert [(host.images, host.answers.sizes) for host in estimate.hosts] == [(4, [2000] * 3)]
    assert {request.path for request in server.log} == {"/e/0", "/e/1", "/e/2", "/500"}
    counts = "9 images in the manifest: 4 are already fetched, 1 failed permanently, 4 remain to be fetched from 1 host"
    assert format_fetch_estimate(estimate).splitlines()[0] == counts


def test_images_of_a_stopped_run_count_as_settled_unless_their_files_are_missing(
    plan_run: PlanRun, server: FaultyServer
) -> None:
    urls = add_images(server, 4, serve_bytes(1000)) | {"d/y.jpg": f"{server.url}/500"}
    plan_run.stop_before_ledger(urls, retries=0)
    (plan_run.images / "d/0.jpg").unlink()
    moved = urls | {"d/moved.jpg": urls["d/1.jpg"]}
    estimate = plan_run.estimate(moved)
    assert estimate.settled == {"fetched": 4}
    assert sum(host.images for host in estimate.hosts) == 2


def test_cached_images_are_counted_and_not_sampled(plan_run: PlanRun, server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "older/d").mkdir(parents=True)
    (tmp_path / "older/d/0.jpg").write_bytes(JPEG)
    estimate = plan_run.estimate(add_images(server, 2, serve_bytes(1000)), cache=tmp_path / "older")
    assert estimate.settled == {"cached": 1}
    assert [host.images for host in estimate.hosts] == [1]
    assert ", 1 come from cache_path, 1 remain to be fetched from 1 host" in format_fetch_estimate(estimate)
    assert (estimate.unstored, estimate.unstored_bytes) == (2, 2 * 1000)


def test_images_that_were_copied_from_the_cache_are_stored_already(
    plan_run: PlanRun, server: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / "older/d").mkdir(parents=True)
    (tmp_path / "older/d/0.jpg").write_bytes(JPEG)
    urls = add_images(server, 2, serve_bytes(1000))
    plan_run.fetch(urls, cache=tmp_path / "older")
    estimate = plan_run.estimate(urls, cache=tmp_path / "older")
    assert (estimate.settled, estimate.unstored) == ({"fetched": 2}, 0)


def test_photos_of_inaturalist_are_sampled_in_the_requested_size(
    plan_run: PlanRun, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    photo = "http://static.inaturalist.org/photos/1"
    server.behaviours |= {f"{photo}/original.jpg": serve_bytes(9000), f"{photo}/small.jpg": serve_bytes(1000)}
    urls = {"d/1.jpg": f"{photo}/original.jpg"}
    assert plan_run.estimate(urls).bytes == 9000
    assert plan_run.estimate(urls, inaturalist_size="small").bytes == 1000


def test_planning_writes_nothing(plan_run: PlanRun, server: FaultyServer) -> None:
    urls = add_images(server, 3, serve_bytes(1000)) | {"d/y.jpg": f"{server.url}/500"}
    plan_run.stop_before_ledger(urls, retries=0)
    plan_run.write_manifest(
        urls | add_images(server, 3, serve_ranges(1000, lambda visit: visit.answer(b"", "405 No")), "e")
    )
    before = plan_run.list_tree()
    plan_run.estimate()
    assert plan_run.list_tree() == before


def test_the_request_rate_limits_the_time(plan_run: PlanRun, server: FaultyServer, other: FaultyServer) -> None:
    hosts = HostTable(HostLimits(64, 0), {f"127.0.0.1:{server.port}": HostLimits(4, 20)})
    estimate = plan_run.estimate(
        add_images(server, 40, serve_bytes(1000)) | add_images(other, 50, serve_bytes(1000), "e"), hosts=hosts
    )
    assert (find_host(estimate, server).seconds, estimate.seconds) == (2.0, 2.0)
    assert f"time   about 2 s, limited by the request rate of 127.0.0.1:{server.port}" in format_fetch_estimate(
        estimate
    )


def test_the_connections_of_a_slow_host_limit_the_time(plan_run: PlanRun, server: FaultyServer) -> None:
    hosts = HostTable(HostLimits(2, 100), {})
    estimate = plan_run.estimate(add_images(server, 40, serve_bytes(1000, seconds=0.2)), hosts=hosts)
    assert 4 <= estimate.seconds < 6


def test_few_workers_limit_the_time(plan_run: PlanRun, server: FaultyServer) -> None:
    estimate = plan_run.estimate(add_images(server, 40, serve_bytes(1000, seconds=0.1)), workers=2)
    assert 2 <= estimate.seconds < 3
    assert "limited by num_workers" in format_fetch_estimate(estimate)
