"""Without the raw images a dataset is complete: nothing is downloaded again unless the user requests it."""

import re
from pathlib import Path

import pytest

from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.removed_images import find_removal
from sample.server import PhotoServer
from tests.support.datasets import Dataset
from tests.tasks.test_compare import run as compare_datasets

REMOVE = ("--ReportDataset-keep-images", "false")
REFETCH = ("--FetchChunk-refetch-removed", "true")
PACKED = ("--store", "packed")
RETRY = ("--FetchChunk-retry-failed", "may-pass", "--FetchChunk-retry-after", "0")
pytestmark = pytest.mark.slow


def list_images(dataset: Dataset) -> list[Path]:
    return [path for path in (dataset.output / "images").rglob("*") if path.is_file()]


@pytest.fixture
def removed(dataset: Dataset) -> Dataset:
    """A dataset whose images were removed after the report."""
    images = len(list_images(dataset))
    printed = dataset.make(*REMOVE)
    assert re.search(rf"^  images     {images} images \([\d.,]+ [kM]B\) removed", printed, re.MULTILINE)
    assert list_images(dataset) == []
    return dataset


def test_the_shards_stay_and_a_rerun_has_nothing_to_do(removed: Dataset, made: Dataset, photos: PhotoServer) -> None:
    asked = len(photos.requests)
    for options in (REMOVE, (), (*REMOVE, *RETRY)):
        assert removed.plan(*options) == ["Nothing to do: everything is up to date."]
        assert "Nothing new: everything is up to date." in removed.make(*options)
    assert len(photos.requests) == asked
    assert removed.shards() == made.shards()


def test_a_stage_that_needs_the_images_says_how_many_and_stops_before_it_changes_anything(
    removed: Dataset, made: Dataset, photos: PhotoServer
) -> None:
    removal = find_removal(DatasetPaths.under(removed.output))
    assert removal is not None
    asked, shards = len(photos.requests), removed.shards()
    for options in (
        ("--CreateWebDataset-resize-min-size", "32"),
        ("--VerifyChunk-strict", "true"),
        ("--ReadArchive-where", "coreid <> '1'"),
        ("--chunks", "7"),
    ):
        error = removed.fail(*options)
        assert "ERROR: --FetchChunk-refetch-removed false: this needs the images" in error
        assert f"; {removal} would be downloaded again; set it to true to download them" in error
    assert len(photos.requests) == asked
    assert removed.shards() == shards
    assert removed.plan() == ["Nothing to do: everything is up to date."]


def test_on_request_the_images_are_downloaded_and_the_shards_are_the_same(
    removed: Dataset, made: Dataset, photos: PhotoServer
) -> None:
    before = {path.relative_to(made.output) for path in list_images(made)}
    printed = removed.run(*REFETCH)
    assert printed.returncode == 0, printed.stderr
    assert f"FetchChunk: {removed.chunks} chunks, removed images will be downloaded again" in printed.stderr
    assert {path.relative_to(removed.output) for path in list_images(removed)} == before
    assert removed.shards() == made.shards()
    removed.make("--CreateWebDataset-resize-min-size", "32")


def test_a_report_can_be_written_again_without_its_photos(removed: Dataset) -> None:
    ended = removed.run("--ReportDataset-title", "Moths")
    assert ended.returncode == 0, ended.stderr
    assert "the page shows no photos, because the images were removed after an earlier report" in ended.stderr


def test_audit_compare_and_the_estimate_know_that_the_images_were_removed(removed: Dataset, made: Dataset) -> None:
    removal = find_removal(DatasetPaths.under(removed.output))
    printed = removed.make(task="AuditDataset")
    assert f"  {removal} removed after the report, which is no difference" in printed
    assert "every file is as it was written" in printed
    planned = removed.run("--PlanFetch-sample", "0", task="PlanFetch")
    assert f"{removal} were removed after the report; --FetchChunk-refetch-removed true downloads" in planned.stderr
    compared = compare_datasets("--old", str(made.output), "--new", str(removed.output))
    assert compared.returncode == 0, compared.stderr
    assert removed.rows("report/comparison.csv") == []


def test_packs_are_removed_and_downloaded_again_into_packs(
    dataset: Dataset, made: Dataset, photos: PhotoServer
) -> None:
    dataset.make(*PACKED, *REMOVE)
    packs = list((dataset.output / "images").rglob("*.tar"))
    assert packs == []
    asked = len(photos.requests)
    for options in ((), PACKED, (*PACKED, *REMOVE)):
        assert dataset.plan(*options) == ["Nothing to do: everything is up to date."]
    assert "every file is as it was written" in dataset.make(task="AuditDataset")
    assert "would be downloaded again" in dataset.fail("--CreateWebDataset-resize-min-size", "32")
    assert len(photos.requests) == asked
    dataset.make(*REFETCH)
    assert {path.suffix for path in list_images(dataset)} == {".tar", ".idx"}
    assert dataset.shards() == made.shards()


def test_another_number_of_chunks_needs_the_images_until_all_are_downloaded_again(
    removed: Dataset, made: Dataset
) -> None:
    removed.chunks = 3
    assert "would be downloaded again" in removed.fail()
    removed.make(*REFETCH)
    assert removed.shards() == made.shards()
    assert removed.plan() == ["Nothing to do: everything is up to date."]
    removed.make("--CreateWebDataset-resize-min-size", "32")


def test_after_the_repair_of_a_ledger_nothing_is_downloaded_unless_it_is_requested(
    removed: Dataset, photos: PhotoServer
) -> None:
    asked = len(photos.requests)
    for path in (removed.output / "fetched").glob("chunk-*.parquet"):
        path.write_bytes(path.read_bytes()[:-9])
    removed.run("--AuditDataset-repair", "true", task="AuditDataset")
    assert "set it to true to download them" in removed.fail()
    assert len(photos.requests) == asked
