from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.account.accounting import AccountLine
from gbif_webdataset.account.costs import OWN, SLURM, Cost
from gbif_webdataset.account.dataset_numbers import DatasetNumbers
from gbif_webdataset.publish.dataset_files import write_dataset_files
from gbif_webdataset.publish.description import DatasetDescription, Publication, Shard
from gbif_webdataset.report.page import MAX_SHARDS, ReportContent, write_page
from gbif_webdataset.storage.paths import DatasetPaths
from tests.support.published import Dataset, download, keep, write_stages

LINES = (AccountLine("fetch", "http-418", 1), AccountLine("sample", "train", 4, kept=True))
SETTINGS = {"CreateWebDataset": {"label_column": "label", "image_format": "jpg"}}


class Page:
    """The page of a small dataset, with one image that was not downloaded."""

    def __init__(self, root: Path) -> None:
        self.dataset = Dataset(root)
        for number in range(4):
            self.dataset.image("train", str(number), label=f"moth {number % 2}")
        self.dataset.write()
        self.dataset.create()
        keep(download(root / "archive.zip"), root / "manifest")
        write_stages(self.dataset)
        self.paths = DatasetPaths.under(root)
        self.description: DatasetDescription = write_dataset_files(
            self.paths, Publication(), DatasetNumbers(5, LINES), SETTINGS
        )[0]

    def write(self, **content: object) -> str:
        write_page(self.paths, replace(ReportContent([Path("archive.zip")], self.description, {}, []), **content))  # type: ignore[arg-type]
        return self.paths.report_page.read_text(encoding="utf-8")


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path)


def test_every_reason_on_the_page_has_a_meaning(page: Page) -> None:
    assert "<span>HTTP 418: the host did not send the image</span>" in page.write()


def test_the_page_lists_the_texts_of_unknown_licences(page: Page) -> None:
    assert "texts of unknown licences" not in page.write()
    attribution = replace(page.description.attribution, unknown_texts={"<b>ask</b>": 2, "": 1})
    text = page.write(description=replace(page.description, attribution=attribution))
    assert "<td>&lt;b&gt;ask&lt;/b&gt;</td>" in text
    assert "<td>(no text)</td>" in text


def test_only_transforms_that_occurred_are_listed(page: Page) -> None:
    text = page.write(transforms={"turned": 2, "cmyk": 0})
    assert "rotated upright, as EXIF says" in text
    assert "CMYK" not in text


def test_costs_of_slurm_take_the_place_of_those_of_the_records(page: Page) -> None:
    own, slurm = Cost("FetchChunk", "00000", 1.0, 1, OWN), Cost("fetch", "0", 2.0, 1, SLURM)
    assert "<tr><td>FetchChunk</td>" in page.write(costs=[own])
    text = page.write(costs=[own, slurm])
    assert "<tr><td>fetch</td>" in text
    assert "<tr><td>FetchChunk</td>" not in text
    assert "From Slurm's accounting" in text


def test_images_per_second_are_those_that_reached_the_stage(page: Page) -> None:
    text = page.write(costs=[Cost("FetchChunk", "00000", 2.0, 1, OWN)])
    assert '<td class="number">2.5</td>' in text


def test_a_page_of_many_shards_lists_the_first_and_counts_the_others(page: Page) -> None:
    shards = [Shard("train", f"train/{number}.tar", 1, 10, "ab") for number in range(MAX_SHARDS + 3)]
    text = page.write(description=replace(page.description, shards=shards))
    assert f"{MAX_SHARDS + 3} shards with SHA-256" in text
    assert "shards.csv</a> has 3 more" in text
    assert "train/199.tar" in text
    assert "train/200.tar" not in text


def test_without_image_files_the_page_says_that_none_can_be_shown(page: Page) -> None:
    for path in page.paths.images.rglob("*.jpg"):
        path.unlink()
    assert "No image can be shown, because the files in <code>images/</code> have been deleted" in page.write()
