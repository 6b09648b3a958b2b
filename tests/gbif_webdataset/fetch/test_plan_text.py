import time

import pytest

from gbif_webdataset.fetch.plan_text import format_fetch_estimate
from gbif_webdataset.network.address_guard import AddressGuard
from tests.support.faulty_server import FaultyServer
from tests.support.plan_run import PlanRun, add_images, serve_bytes


def test_the_columns_of_the_table_are_aligned(plan_run: PlanRun, server: FaultyServer, other: FaultyServer) -> None:
    urls = add_images(server, 30, serve_bytes(20_000)) | add_images(other, 4, serve_bytes(100_000), "e")
    head, *rows = format_fetch_estimate(plan_run.estimate(urls)).splitlines()[1:5]
    for column in ("images", "image size", "total size", "time"):
        end = head.index(column) + len(column)
        assert all(row[end - 1] != " " and (len(row) == end or row[end] == " ") for row in rows)


@pytest.mark.parametrize(("kept", "warns"), [(0, False), (10**18, True)])
def test_a_warning_is_shown_if_the_images_do_not_fit_on_the_disk(
    plan_run: PlanRun, server: FaultyServer, kept: int, warns: bool
) -> None:
    lines = format_fetch_estimate(
        plan_run.estimate(add_images(server, 40, serve_bytes(1000)), min_free_bytes=kept)
    ).splitlines()
    assert any(line.startswith("disk   ") and f"free at {plan_run.output}" in line for line in lines)
    warnings = [line for line in lines if line.startswith("WARNING: ")]
    assert len(warnings) == warns
    if warns:
        assert warnings[0].startswith("WARNING: 40.0 kB do not fit, as only 0 bytes may be filled: free some space")


def test_at_most_forty_hosts_are_sampled_and_twenty_shown(plan_run: PlanRun) -> None:
    urls = {f"d/{n}-{i}.jpg": f"http://127.0.0.{n}:9/{i}" for n in range(1, 51) for i in range(n)}
    estimate = plan_run.estimate(urls, guard=AddressGuard())
    asked = [host.host for host in estimate.hosts if host.answers.failures]
    assert asked == [f"127.0.0.{n}:9" for n in range(50, 10, -1)]
    rows = format_fetch_estimate(estimate).splitlines()[2:]
    assert [row.split()[0] for row in rows[:20]] == [f"127.0.0.{n}:9" for n in range(50, 30, -1)]
    assert rows[21].split()[:2] == ["all", f"{sum(range(51)):,}"]
    assert rows[20].split()[:4] == ["30", "hosts", "more", f"{sum(range(31)):,}"]


def test_nothing_remains_if_the_manifest_is_empty_or_everything_is_fetched(
    plan_run: PlanRun, server: FaultyServer
) -> None:
    assert (
        format_fetch_estimate(plan_run.estimate({}))
        == "0 images in the manifest: 0 are already fetched, none remains to be fetched"
    )
    plan_run.fetch(add_images(server, 2, serve_bytes(1000)))
    server.log.clear()
    assert (
        format_fetch_estimate(plan_run.estimate())
        == "2 images in the manifest: 2 are already fetched, none remains to be fetched"
    )
    assert server.count_requests() == 0


@pytest.mark.parametrize("is_one_alive", [True, False])
def test_a_plan_without_a_network_warns_of_it(plan_run: PlanRun, server: FaultyServer, is_one_alive: bool) -> None:
    urls = {"d/a.jpg": "http://h0.invalid/a.jpg", "d/b.jpg": "http://h1.invalid/b.jpg"}
    if is_one_alive:
        urls["d/c.jpg"] = f"{server.url}/404"
    text = format_fetch_estimate(plan_run.estimate(urls))
    assert ("WARNING: no connection to any host could be made: check the internet access" in text) is not is_one_alive


def test_failures_that_are_not_due_are_not_permanent(plan_run: PlanRun, server: FaultyServer) -> None:
    started = time.time()
    plan_run.fetch({"d/a.jpg": f"{server.url}/418", "d/b.jpg": f"{server.url}/404"})
    text = format_fetch_estimate(plan_run.estimate(run_started=started + 10, retry_after=3600))
    assert "1 failed permanently, 1 failed and may succeed in a later run, none remains" in text
    assert "1 remain to be fetched from 1 host" in format_fetch_estimate(
        plan_run.estimate(run_started=started + 4000, retry_after=3600)
    )
