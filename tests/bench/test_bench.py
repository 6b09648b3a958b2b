"""The benchmarks measure what they print. Tests do not check speeds."""

import io
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench import chunk, fetch, hosts, idle_dataset, memory, near, photos, publish, runs, server, split
from bench.runs import Run
from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.upload.publish_dataset import Publication
from gbif_webdataset.upload.publish_options import PublishOptions
from tests.support.publishable import check_complete


def test_photos_are_jpegs_of_equal_size_with_different_bytes() -> None:
    some = [photos.photo(number) for number in range(20)]
    assert len(set(some)) == 20
    assert {len(photo) for photo in some} == {photos.SIZE}
    with Image.open(io.BytesIO(some[-1])) as image:
        image.load()
        assert image.format == "JPEG"


def test_every_server_serves_the_same_photos(tmp_path: Path) -> None:
    photos.write(tmp_path / "photos", 3)
    with server.serving(tmp_path / "photos", tmp_path) as (_, fast), server.serving_slowly(0.01) as slow:
        for url in (fast, slow):
            with urllib.request.urlopen(f"{url}/2.jpg") as answer:
                assert answer.headers["Content-Type"] == "image/jpeg"
                assert answer.read() == photos.photo(2)


def test_without_nginx_a_python_server_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with server.serving(tmp_path, tmp_path) as (kind, url), urllib.request.urlopen(f"{url}/1.jpg") as answer:
        assert kind == "a Python server"
        assert answer.read() == photos.photo(1)


def test_a_plain_archive_has_one_photo_for_each_url(tmp_path: Path) -> None:
    urls = [f"https://photos.example/{number}.jpg" for number in range(20)]
    job = fetch.Job(tmp_path, urls, threads=1)
    manifest = [row for chunk in (job.read / "manifest").glob("chunk-*") for row in pq.read_table(chunk).to_pylist()]
    assert sorted(row["identifier"] for row in manifest) == sorted(urls)


def test_the_speed_is_compared_with_the_one_that_the_delay_allows(capsys: pytest.CaptureFixture[str]) -> None:
    chunk.bench_latency(40, 8, 1, 0.02)
    share = re.search(r"(\d\.\d\d) of 400/s; \d+% of a processor", capsys.readouterr().out)
    assert share
    assert 0 < float(share[1]) <= 1


def test_the_cost_of_each_omitted_part_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    chunk.bench_costs(40, 4, 1)
    printed = capsys.readouterr().out
    assert all(name in printed for name in chunk.OMISSIONS)


def test_near_prints_time_and_memory_and_finds_every_pair(capsys: pytest.CaptureFixture[str]) -> None:
    near.bench(3000, 6)
    printed = capsys.readouterr().out
    assert re.search(r"\d s, [\d,]+ MiB; \d+ hashes in \d+ groups", printed)
    pairs = re.search(r"([\d,]+) near, ([\d,]+) of them found \(recall 1\.0000\)", printed)
    assert pairs
    assert pairs[1] == pairs[2] != "0"


def test_a_way_that_loses_images_fails(tmp_path: Path) -> None:
    job = fetch.Job(tmp_path, ["https://photos.example/0.jpg"], threads=1)
    photos.write(tmp_path / "downloaded", 2)
    with pytest.raises(runs.BenchError, match="left 2 images, 160,000 bytes"):
        job.timed(["true"], tmp_path / "downloaded")


def test_without_img2dataset_the_other_ways_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch, "ENVIRONMENT", tmp_path / "environment")
    monkeypatch.setattr(fetch.sys, "executable", "/nowhere/python")
    assert not fetch.has_img2dataset(tmp_path, [])
    assert capsys.readouterr().out.count("\n") == 1


def test_the_first_way_is_compared_with_each_of_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    runs.print_comparison({"ours": [Run(1, 50, 1)], "old way": [Run(2, 100, 2)], "another": [Run(3, 25, 2)]}, 600)
    printed = capsys.readouterr().out
    assert "ours 2.00 times as fast as old way, with 0.50 of its memory" in printed
    assert "ours 3.00 times as fast as another, with 2.00 of its memory" in printed


def test_the_simulated_download_requests_every_image_within_the_limits_of_the_hosts(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    simulated = hosts.make_hosts(20_000, generator)
    assert len(simulated) == 545
    simulation = hosts.Simulation(simulated, generator, tmp_path)
    simulation.run()
    reached = [host for host in simulated.values() if host.failing_share < 1]
    assert simulation.requests + simulation.abandoned >= sum(host.images for host in simulated.values())
    assert all(host.max_running <= host.limits.connections for host in reached)
    for host in reached:
        if host.limits.requests_per_second:
            assert host.max_in_window <= hosts.WINDOW * host.limits.requests_per_second + 1
    assert simulation.now >= max(host.bound for host in reached)


def test_the_peak_memory_is_that_of_all_processes_together() -> None:
    hold = "import time; held = bytearray(100 << 20); time.sleep(1)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {hold!r}]); {hold}"
    assert 200 < memory.measure_peak([sys.executable, "-c", code]) < 300


def test_the_dataset_of_the_bench_of_uploads_can_be_published(tmp_path: Path) -> None:
    publish.write_dataset(tmp_path / "dataset", 3, 1_000)
    target = StoreAddress.parse(f"file://{tmp_path}/target")
    Publication(DatasetPaths.under(tmp_path / "dataset"), target, PublishOptions()).run()
    version = check_complete(FolderStore(target).read)
    assert [one.bytes for one in version.objects if one.path.endswith(".tar")] == [1_000] * 3


@pytest.mark.slow
def test_uploads_to_both_servers_are_compared_with_rclone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(publish, "SHARDS_OF_IDLE", 10)
    for name, value in publish.KEYS.items():
        monkeypatch.setenv(name, value)  # they are gone after the test
    publish.bench(10, 1)
    printed = capsys.readouterr().out
    for name in publish.SERVERS:
        part = printed.partition(f"10 objects of 1 MB, {name}")[2]
        assert re.search(r"\d\.\d\d of rclone's speed", part)
        assert re.search(r"[1-9][\d,]+ MiB for a tenth of the objects, [1-9][\d,]+ MiB for all", part)
        assert re.search(r"nothing to do for 10 objects: \d+\.\d s", part)


@pytest.mark.slow
def test_a_dataset_made_without_downloading_leaves_nothing_to_do(tmp_path: Path) -> None:
    command = idle_dataset.make_dataset(tmp_path, 200, 2)
    records = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "dataset/.made").iterdir()}
    ended = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True, check=True)
    assert "finished" in ended.stdout
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "dataset/.made").iterdir()} == records


@pytest.mark.slow
@pytest.mark.parametrize("images_per_occurrence", [1.0, 1.5])
def test_every_class_has_its_shares_and_a_tenth_more_occurrences_moves_a_hundredth_of_the_images(
    images_per_occurrence: float,
) -> None:
    quality = split.bench(3000, 200_000, images_per_occurrence, by_observer=False)
    assert quality.classes > 1_000
    assert (quality.outside, quality.empty) == (0, 0)
    assert 0 < quality.moved <= 0.01


def test_the_bench_of_splits_counts_shares_outside_the_bounds_of_groups_of_several_classes() -> None:
    quality = split.bench(40, 2_000, 1.0, by_observer=True)
    assert 0 < quality.classes <= 40
    assert 0 < quality.moved < 0.5
