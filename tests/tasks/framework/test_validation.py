"""Mistakes in the options of later stages are reported before any download."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sample.server import PhotoServer
from tests.support.archives import (
    find_case,
    make_download,
    make_gbif_meta_xml,
    make_lines,
    write_zip,
)
from tests.support.datasets import Dataset

COLUMNS = ("gbifID", "datasetKey", "acceptedTaxonKey", "taxonRank", "tribe", "subtribe")
OCCURRENCES = [
    {"gbifID": str(number), "datasetKey": "d1", "acceptedTaxonKey": f"k{number % 2}", "tribe": f"t{number % 2}"}
    for number in range(8)
]


@pytest.fixture(scope="module")
def archive(photos: PhotoServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 8 photos with the columns tribe and subtribe, which the manifest does not have by itself."""
    media = [
        {"gbifID": str(number), "type": "StillImage", "identifier": f"{photos.url}/{number}.jpg"} for number in range(8)
    ]
    files = make_download(
        OCCURRENCES, media, meta_xml=make_gbif_meta_xml(COLUMNS), occurrence_txt=make_lines(COLUMNS, OCCURRENCES)
    )
    return write_zip(tmp_path_factory.mktemp("archive") / "a.zip", files)


@pytest.fixture
def dataset(archive: Path, tmp_path: Path) -> Dataset:
    return Dataset(archive, tmp_path / "dataset", chunks=2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("SplitDataset-category-key", "Tribe"),
            "--SplitDataset-category-key Tribe: the archive has no such column; did you mean tribe",
        ),
        (
            ("SplitDataset-holdout-key", "genuskey"),
            "--SplitDataset-holdout-key genuskey: the archive has no such column;",
        ),
        (
            ("SplitDataset-group-by", "observer"),
            "--SplitDataset-group-by observer: the archive has no column recordedBy",
        ),
        (("CleanDataset-category-key", "zzz"), "--CleanDataset-category-key zzz: the archive has no such column;"),
        (
            ("CleanDataset-remove-non-adults", "true"),
            "--CleanDataset-remove-non-adults true: the archive has no column",
        ),
        (
            ("CreateWebDataset-label-name", "trib"),
            "--CreateWebDataset-label-name trib: the archive has no column 'trib'; did",
        ),
        (
            ("CreateWebDataset-columns-to-json", "tribe,sex"),
            "--CreateWebDataset-columns-to-json sex: the archive has no",
        ),
        (
            ("CreateWebDataset-caption-template", "a photo of {trbe}"),
            "--CreateWebDataset-caption-template \"a photo of {trbe}\": the archive has no column 'trbe'; did you mean tribe?",
        ),
        (
            ("CreateWebDataset-caption-template", "a photo of {tribe.__class__}"),
            "the archive has no column 'tribe.__class__'; ",
        ),
        (
            ("CreateWebDataset-hierarchy-to-json", "true"),
            "--CreateWebDataset-hierarchy-to-json true: the archive has no column of a rank, such as species or genusKey",
        ),
    ],
)
def test_a_column_that_the_archive_lacks_is_reported_before_the_archive_is_read(
    dataset: Dataset, photos: PhotoServer, options: tuple[str, str], sentence: str
) -> None:
    asked = len(photos.requests)
    assert sentence in dataset.fail(f"--{options[0]}", options[1])
    assert len(photos.requests) == asked
    assert not (dataset.output / "manifest").exists()


@pytest.mark.parametrize(
    ("option", "content", "sentence"),
    [
        ("CreateWebDataset-category-map-json", [], "must be a JSON object"),
        ("CreateWebDataset-previous-category-map", {"k0": "x"}, "the class number of 'k0'"),
        ("CreateWebDataset-megadetector-results-json", {"images": 3}, "'images' is not a list"),
        ("CleanDataset-life-stage-predictions", {}, "no column image_path"),
        ("DeleteImages-image-list", ["../x.jpg"], "is outside images/"),
        ("FetchChunk-host-limits", {}, "the columns are missing"),
    ],
)
def test_a_file_of_another_format_is_reported_before_the_archive_is_read(
    dataset: Dataset, tmp_path: Path, option: str, content: Any, sentence: str
) -> None:
    path = tmp_path / "file"
    path.write_text("../x.jpg\n" if "image-list" in option else json.dumps(content))
    assert sentence in dataset.fail(f"--{option}", str(path))
    assert not (dataset.output / "manifest").exists()


def test_the_options_are_checked_again_when_the_manifest_is_up_to_date(dataset: Dataset, photos: PhotoServer) -> None:
    dataset.make(task="ReadArchive")
    asked = len(photos.requests)
    assert "group-by observer: the archive has no column" in dataset.fail("--SplitDataset-group-by", "observer")
    assert len(photos.requests) == asked


def test_a_category_map_of_another_taxonomy_is_refused_before_any_download(
    dataset: Dataset, photos: PhotoServer
) -> None:
    path = find_case("lists/category_map-of-another-taxonomy.json")
    asked = len(photos.requests)
    for _ in range(2):
        printed = dataset.fail("--CreateWebDataset-previous-category-map", str(path))
        assert "none of its 3 labels occurs in the archive" in printed
    assert len(photos.requests) == asked


def test_a_stage_that_is_not_run_gives_a_warning(dataset: Dataset) -> None:
    ended = dataset.run("--SplitDataset-category-key", "zzz", task="ReadArchive")
    assert ended.returncode == 0
    assert "WARNING: --SplitDataset-category-key zzz: the archive has no such column; choose one of" in ended.stderr


@pytest.mark.parametrize("task", ["PlanFetch", "ReportDataset"])
def test_an_archive_without_the_label_column_is_refused_with_columns_that_would_work(tmp_path: Path, task: str) -> None:
    dataset = Dataset(find_case("archives/inaturalist-own-no-taxon-keys.zip"), tmp_path / "dataset")
    printed = dataset.fail(task=task)
    assert "--SplitDataset-category-key acceptedTaxonKey: the archive has no such column; " in printed
    assert "choose one of scientificName, kingdom, phylum, class, order, family, genus, taxonID" in printed
    assert not (dataset.output / "fetched").exists()


@pytest.mark.parametrize("task", ["ReadArchive", "PlanFetch"])
def test_images_without_a_label_are_reported_before_any_download(tmp_path: Path, task: str) -> None:
    dataset = Dataset(find_case("archives/most-without-taxon-key.zip"), tmp_path / "dataset")
    ended = dataset.run("--PlanFetch-sample", "0", task=task)
    assert ended.returncode == 0
    assert "54 of 60 images have no label and will be dropped; columns with more values are family" in ended.stderr


def test_one_subset_key_of_a_thousand_is_a_warning_and_listed(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("k1\n" + "".join(f"x{number}\n" for number in range(999)))
    ended = dataset.run("--ReadArchive-subset-list", str(path), task="ReadArchive")
    assert f"WARNING: --ReadArchive-subset-list {path}: 1 of 1,000 keys occurs in the archive; " in ended.stderr
    rows = dataset.rows("manifest/subset.csv")
    [found] = [row for row in rows if row["images"] != "0"]
    assert (found["requested"], found["key"], found["occurrences"], found["images"]) == ("k1", "k1", "4", "4")
    assert len(rows) == 1000


def test_a_column_that_a_later_stage_names_is_added_and_stays(dataset: Dataset) -> None:
    by_tribe = ("--SplitDataset-category-key", "tribe")
    dataset.make(task="ReadArchive")
    chunk = dataset.output / "manifest" / "chunk-00000.parquet"
    assert "tribe" not in pq.read_schema(chunk).names
    assert dataset.plan(*by_tribe, task="ReadArchive") == ["ReadArchive: columns changed from none to tribe"]
    dataset.make(*by_tribe, task="ReadArchive")
    assert {"k0", "k1"} == {row["acceptedTaxonKey"] for row in dataset.rows("manifest")}
    assert {"t0", "t1"} == {row["tribe"] for row in dataset.rows("manifest")}
    for options in (by_tribe, ()):
        assert dataset.plan(*options, task="ReadArchive") == ["Nothing to do: everything is up to date."]
    dataset.make("--CreateWebDataset-label-name", "subtribe", *by_tribe, task="ReadArchive")
    assert {"tribe", "subtribe"} <= set(pq.read_schema(chunk).names)


def test_the_columns_of_a_caption_are_added(dataset: Dataset) -> None:
    dataset.make("--CreateWebDataset-caption-template", "{tribe}, {{subtribe}} {gbifID}", task="ReadArchive")
    assert {"t0", "t1"} == {row["tribe"] for row in dataset.rows("manifest")}
    assert "subtribe" not in pq.read_schema(dataset.output / "manifest" / "chunk-00000.parquet").names
