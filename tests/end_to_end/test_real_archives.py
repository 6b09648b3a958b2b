"""Real occurrences, through to the report page and the card; the sample's photos stand for their images."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from selenium import webdriver

from sample.server import Answer, PhotoServer
from tests.support.archives import GBIF, find_real_archive, make_part, write_zip
from tests.support.browser import PHONE, WIDE, resize, screenshot
from tests.support.datasets import Dataset, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.system]

MEDIA = ("gbifID", "type", "format", "identifier", "license", "creator")
LICENCES = ("http://creativecommons.org/licenses/by-nc/4.0/", "http://creativecommons.org/publicdomain/zero/1.0/", "")
BY_NAME = ("--CleanDataset-category-key", "scientificName", "--SplitDataset-category-key", "scientificName",
           "--CreateWebDataset-label-column", "scientificName")  # fmt: skip


class AnyPhoto(PhotoServer):
    """Serves one of the sample's photos for each URL, by its number."""

    def answer(self, path: str) -> Answer:
        """The photo of `/photo/<number>.jpg`."""
        good = [photo.path for photo in self._photos.values() if not photo.fault]
        number = int(re.findall(r"\d+", path)[0])
        return Answer(200, "image/jpeg", self._files[good[number % len(good)]])


@pytest.fixture(scope="module")
def server() -> Iterator[AnyPhoto]:
    with AnyPhoto() as server:
        yield server


def replace_urls(archive: Path, url: str) -> dict[str, bytes | str]:
    """The files of a GBIF download whose media have URLs of the server."""
    head, *lines = lines_of(archive, "multimedia.txt")
    column = head.decode().split("\t").index("identifier")
    rows = [line.decode().split("\t") for line in lines]
    for number, row in enumerate(rows):
        row[column] = f"{url}/photo/{number}.jpg"
    return {"multimedia.txt": "\n".join([head.decode(), *("\t".join(row) for row in rows)]) + "\n"}


def add_media(archive: Path, url: str, core: str) -> dict[str, bytes | str]:
    """The files of an archive with a photo of the server for each record of its core, up to 1,500."""
    with ZipFile(archive) as source:
        meta = source.read("meta.xml").decode("utf-8-sig")
    ids = [line.split(b"\t")[0].decode().strip('"') for line in lines_of(archive, core)[1:1501]]
    rows = [
        (key, "StillImage", "image/jpeg", f"{url}/photo/{number}.jpg", LICENCES[number % len(LICENCES)], "Ada")
        for number, key in enumerate(ids)
    ]
    part = make_part("extension", f"{GBIF}Multimedia", "generated.txt", MEDIA)
    meta = re.sub(r"<extension(?:(?!</extension>).)*>multimedia.txt<.*?</extension>", "", meta, flags=re.DOTALL)
    text = "".join("\t".join(row) + "\n" for row in (MEDIA, *rows))
    return {"meta.xml": meta.replace("</archive>", f"{part}</archive>"), "generated.txt": text}


def make(name: str, folder: Path, change: Callable[[Path], dict[str, bytes | str]], *options: str) -> Dataset:
    """The dataset of a real archive with other files."""
    archive = find_real_archive(name)
    with ZipFile(archive) as source:
        members: dict[str, bytes | str] = {info.filename: source.read(info) for info in source.infolist()}
    dataset = Dataset(write_zip(folder / name, members | change(archive)), folder / "dataset")
    dataset.make("--CleanDataset-remove-duplicate-content", "none", *options)
    return dataset


def read_page(dataset: Dataset, browser: webdriver.Chrome, name: str) -> str:
    """The text of the page; it is no wider than a phone."""
    url = (dataset.output / "report" / "index.html").as_uri()
    browser.get(url)
    browser.get_log("browser")  # may have errors of pages that other tests opened
    for size in (WIDE, PHONE):
        resize(browser, size)
        browser.get(url)
        screenshot(browser, f"{name}-{size[0]}")
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert browser.get_log("browser") == []
    return str(browser.execute_script("return document.body.textContent")).replace("\n", " ")


def test_a_download_of_2020_has_a_map_of_its_part_of_the_world(
    server: AnyPhoto, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    dataset = make("gbif-2020-dl.4gbcs6.zip", tmp_path, lambda archive: replace_urls(archive, server.url))
    text = read_page(dataset, browser, "real-2020")
    placed = sum(bool(row["decimalLatitude"]) for row in dataset.rows("clean.parquet"))
    assert f"{placed:,} of 1,362 samples have coordinates and are on the map." in text
    assert len(browser.find_elements("css selector", "#world .inset")) == 1
    italics = [one.text for one in browser.find_elements("css selector", "#classes-table i")]
    assert italics == ["Amblyomma americanum"]
    card = (dataset.output / "shards" / "README.md").read_text()
    assert "| country (ISO code) | 1,357 of 1,362 | US (1,352)" in card


def test_a_download_of_2023_without_places_and_dates_says_that_they_are_unknown(
    server: AnyPhoto, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    dataset = make(
        "gbif-2023-dl.jjj8vj.zip", tmp_path, lambda archive: add_media(archive, server.url, "occurrence.txt")
    )
    text = read_page(dataset, browser, "real-2023")
    assert "No sample has coordinates, so there is no map." in text
    assert "The archive does not state for any image: country, year, month, life stage." in text
    assert "are labelled above species rank" in text
    observers = [row for row in dataset.rows("splits/leakage.csv") if row["shares"] == "observer"]
    assert [row["share"] for row in observers] == ["", ""]
    card = (dataset.output / "shards" / "README.md").read_text()
    assert "| observer | 0 | unknown |" in card
    assert re.search(r"\| observer \| unknown \(known for 0 of [\d,]+ images\)", card)


def test_an_archive_of_events_is_described_without_the_columns_that_it_lacks(
    server: AnyPhoto, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    dataset = make(
        "livingnorway-event.zip", tmp_path, lambda archive: add_media(archive, server.url, "event.txt"), *BY_NAME
    )
    text = read_page(dataset, browser, "real-event")
    assert "No sample has coordinates, so there is no map." in text
    assert "the event has several occurrences, and the medium names none of them" in text
    italics = [one.text for one in browser.find_elements("css selector", "#classes-table i")]
    assert "Lagopus lagopus" in italics
    assert "images of 4 classes of Phasianidae" in (dataset.output / "shards" / "README.md").read_text()
