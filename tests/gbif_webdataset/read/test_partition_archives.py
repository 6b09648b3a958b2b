import itertools
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import ArchiveError, SelectionError
from gbif_webdataset.read import line_blocks, partition_archives
from gbif_webdataset.read.partition_archives import Resources
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import SubsetList
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.checklists import BACKBONE, CATALOGUE_OF_LIFE
from tests.support.archives import AC, DWC, GBIF, make_lines, make_meta_xml, make_part, write_zip
from tests.support.manifests import EVERYTHING, Manifest, make_manifest
from tests.support.several_archives import DATASET, medium, occurrence, write_archive

DATES = ("2023-01-01", "2025-01-01", "2024-01-01")
CHOSEN = SelectionOptions(
    "acceptedTaxonKey", SubsetList.of(("T1", "T2", "Aglais io")), 9, 3, licenses=("cc0",), where="lifeStage = 'Adult'"
)


def find(manifest: Manifest, url: str) -> dict[str, Any]:
    return manifest.find(f"https://photos.example/{url}")


def count_by_archive(manifest: Manifest) -> Counter[str]:
    """The lines of media of each archive, from the manifest and the rejected lines."""
    rejected = Counter(
        row["file"].partition("/")[0] for row in manifest.rejected if row["file"] in manifest.counts.media_files
    )
    return Counter(row["archive"] for row in manifest.rows) + rejected


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three downloads of 400 to 600 of the same occurrences, with some media in common, in random order."""
    rng, folder = random.Random(4), tmp_path_factory.mktemp("overlapping")
    paths = []
    for number, date in enumerate(DATES):
        numbers = rng.sample(range(800), 400 + 100 * number)
        occurrences = [
            occurrence(
                n, acceptedTaxonKey=f"T{n % 5}", lifeStage=rng.choice(("Adult", "")), scientificName=f"{date} {n}"
            )
            for n in numbers
        ]
        media = [
            medium(n, f"{n}-{rng.randrange(5)}.jpg", license=rng.choice(("CC0_1_0", "")), creator=date)
            for n in numbers
            for _ in range(rng.randrange(4))
        ]
        media += [medium(9000 + number, "orphan.jpg"), medium(numbers[0], "", identifier="")]
        rng.shuffle(media)
        paths.append(write_archive(folder / f"{number}.zip", occurrences, media, date=date))
    return paths


@pytest.mark.parametrize("options", [EVERYTHING, CHOSEN], ids=["all", "chosen"])
def test_order_spilling_and_many_partitions_change_no_byte(
    tmp_path: Path, overlapping: Sequence[Path], options: SelectionOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make_manifest(overlapping, tmp_path, options)
    for order in itertools.permutations(overlapping):
        manifest = make_manifest(order, tmp_path, options)
        assert (manifest.files, manifest.counts) == (expected.files, expected.counts)
        assert (manifest.folder / "source.json").read_bytes() == (expected.folder / "source.json").read_bytes()
    open_database = tables.open_database
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 1 << 13)
    monkeypatch.setattr(tables, "open_database", lambda scratch, limit: open_database(scratch, "64MB"))
    for partition_bytes, memory in ((1 << 13, 1 << 30), (1 << 14, 1 << 19), (1 << 30, 1 << 19)):
        monkeypatch.setattr(partition_archives, "PARTITION_BYTES", partition_bytes)
        resources = Resources(memory, tmp_path / "scratch")
        assert make_manifest(overlapping[::-1], tmp_path, options, resources=resources).files == expected.files


def test_every_occurrence_and_url_counts_once_and_every_line_is_accounted_for(
    tmp_path: Path, overlapping: Sequence[Path]
) -> None:
    single = [make_manifest(path, tmp_path) for path in overlapping]
    manifest = make_manifest(overlapping, tmp_path)
    pairs = Counter((row["coreid"], row["identifier"]) for row in manifest.rows)
    assert set(pairs.values()) == {1}
    assert set(pairs) == {(row["coreid"], row["identifier"]) for one in single for row in one.rows}
    assert count_by_archive(manifest) == Counter(
        {path.name: one.counts.media_lines for path, one in zip(overlapping, single, strict=True)}
    )
    dates = {row["coreid"]: row["scientificName"].split()[0] for row in manifest.rows}
    for row in manifest.rows:
        assert dates[row["coreid"]] == row["scientificName"].split()[0] >= DATES[int(row["archive"][0])]
        having = [DATES[n] for n, one in enumerate(single) if row["identifier"] in one.urls]
        assert row["mediaCreator"] == max(having) == DATES[int(row["archive"][0])]


def test_the_newest_archive_decides_what_a_photo_is_and_older_photos_are_kept(tmp_path: Path) -> None:
    old = write_archive(
        tmp_path / "old.zip",
        [occurrence(1, scientificName="old"), occurrence(2, scientificName="old")],
        [medium(1, "a", license="CC0_1_0"), medium(1, "c"), medium(2, "b"), medium(2, "b")],
        date="2024-01-01",
    )
    new = write_archive(
        tmp_path / "new.zip",
        [occurrence(1, scientificName="new"), occurrence(2, scientificName="new, without a photo")],
        [medium(1, "a", license="all rights reserved", type="Sound"), medium(1, "0")],
        date="2025-01-01",
    )
    manifest = make_manifest([old, new], tmp_path)
    assert {
        row["identifier"][-1]: (row["scientificName"], row["archive"], row["image_path"]) for row in manifest.rows
    } == {
        "0": ("new", "new.zip", f"{DATASET}/1.jpg"),
        "c": ("new", "old.zip", f"{DATASET}/1_1.jpg"),
        "b": ("new, without a photo", "old.zip", f"{DATASET}/2.jpg"),
    }
    assert sorted((row["file"], row["reason"], row["coreid"]) for row in manifest.rejected) == [
        ("new.zip/multimedia.txt", "not-still-image", "1"),
        ("old.zip/multimedia.txt", "duplicate-medium", "2"),
        ("old.zip/multimedia.txt", "in-another-archive", "1"),
        ("old.zip/occurrence.txt", "in-another-archive", "1"),
        ("old.zip/occurrence.txt", "in-another-archive", "2"),
    ]
    raw = {row["raw"] for row in manifest.rejected if row["file"].startswith("old.zip/occ")}
    assert {text.split("\t")[4] for text in raw} == {"old"}


def test_equal_ids_of_different_publishers_are_different_occurrences(tmp_path: Path) -> None:
    keys = ("aaa", "bbb", "", "")
    paths = [
        write_archive(
            tmp_path / f"{number}.zip",
            [occurrence(1, datasetKey=key, occurrenceID=f"urn:{number}:1", scientificName=f"taxon {number}")],
            [medium(1, f"{number}/{photo}") for photo in "ab"],
            date=f"2024-01-0{number + 1}",
            is_gbif=False,
        )
        for number, key in enumerate(keys)
    ]
    manifest = make_manifest(paths, tmp_path)
    assert {row["identifier"][-3:]: (row["image_path"], row["scientificName"]) for row in manifest.rows} == {
        "0/a": ("aaa/1.jpg", "taxon 0"), "0/b": ("aaa/1_1.jpg", "taxon 0"),
        "1/a": ("bbb/1.jpg", "taxon 1"), "1/b": ("bbb/1_1.jpg", "taxon 1"),
        "2/a": ("no-dataset/1~2.jpg", "taxon 2"), "2/b": ("no-dataset/1~2_1.jpg", "taxon 2"),
        "3/a": ("no-dataset/1.jpg", "taxon 3"), "3/b": ("no-dataset/1_1.jpg", "taxon 3"),
    }  # fmt: skip
    assert {row["coreid"] for row in manifest.rows} == {"1"}
    for order in itertools.permutations(paths):
        assert make_manifest(order, tmp_path).files == manifest.files


def test_a_list_of_taxa_and_the_maximum_per_category_count_over_all_archives(
    tmp_path: Path, overlapping: Sequence[Path]
) -> None:
    options = SelectionOptions("acceptedTaxonKey", SubsetList.of(("T1", "T3", "T9")), 10)
    manifest = make_manifest(overlapping, tmp_path, options)
    assert Counter(row["acceptedTaxonKey"] for row in manifest.rows) == {"T1": 10, "T3": 10}
    assert (manifest.counts.subset_found, manifest.counts.subset_keys) == (2, 3)
    lines = (manifest.folder / "subset.csv").read_text().splitlines()
    assert [line.split(",")[7] for line in lines[1:]] == ["10", "10", "0"]


def test_the_maximum_holds_if_archives_have_an_image_that_cannot_be_compared(tmp_path: Path) -> None:
    paths = [
        write_archive(
            tmp_path / f"{name}.zip",
            [occurrence(1, datasetKey="")],
            [medium(1, "a"), medium(1, "b")],
            date=f"2024-01-0{day}",
            is_gbif=False,
        )
        for day, name in enumerate(("x", "y"), 1)
    ]
    assert len(make_manifest(paths, tmp_path).rows) == 4
    assert (
        len(make_manifest(paths, tmp_path, SelectionOptions("acceptedTaxonKey", num_images_per_category=3)).rows) == 3
    )


def test_taxa_of_a_list_are_told_apart_by_path_if_archives_have_the_same_id(tmp_path: Path) -> None:
    paths = [
        write_archive(
            tmp_path / f"{name}.zip",
            [occurrence(1, datasetKey="", acceptedTaxonKey=name)],
            [medium(1, f"{name}/{photo}") for photo in range(count)],
            date=f"2024-01-0{count}",
            is_gbif=False,
        )
        for name, count in (("T1", 3), ("T2", 2))
    ]
    manifest = make_manifest(paths, tmp_path, SelectionOptions("acceptedTaxonKey", SubsetList.of(("T1", "T2"))))
    rows = pq.read_table(manifest.folder / "subset_occurrences.parquet").to_pylist()
    assert {(row["coreid"], row["key"], row["image_stem"]) for row in rows} == {
        ("1", "T1", "no-dataset/1"), ("1", "T2", "no-dataset/1~2"),
    }  # fmt: skip
    stems = Counter(row["image_path"].removesuffix(".jpg").partition("_")[0] for row in manifest.rows)
    assert stems == {"no-dataset/1": 3, "no-dataset/1~2": 2}


def write_audubon(path: Path) -> Path:
    """An archive with other columns: Audubon Core, and occurrences with a county in place of a life stage."""
    columns, media = ("id", "scientificName", "county"), ("id", "accessURI", "bestQualityAccessURI", "rights")
    meta = make_meta_xml(
        make_part("core", f"{DWC}Occurrence", "occurrence.txt", columns),
        make_part("extension", f"{AC}Multimedia", "media.txt", media),
        make_part("extension", f"{GBIF}VernacularName", "names.txt", ("id", "vernacularName")),
    )
    occurrences = [{"id": "7", "scientificName": "Audubon", "county": "Kent"}]
    photo = [{"id": "7", "accessURI": "https://photos.example/low", "bestQualityAccessURI": "https://photos.example/high",
              "rights": "CC0"}]  # fmt: skip
    members = {
        "meta.xml": meta,
        "occurrence.txt": make_lines(columns, occurrences),
        "media.txt": make_lines(media, photo),
        "names.txt": make_lines(("id", "vernacularName"), [{"id": "7", "vernacularName": "Moth"}]),
    }
    return write_zip(path, members)


def test_archives_with_other_columns_and_media_are_one_manifest(tmp_path: Path) -> None:
    gbif = write_archive(
        tmp_path / "gbif.zip",
        [occurrence(7, lifeStage="Adult")],
        [medium(7, "a", license="CC0_1_0", creator="Ada")],
        date="2024-01-01",
    )
    paths = [gbif, write_audubon(tmp_path / "ac.zip")]
    options = SelectionOptions("acceptedTaxonKey", extra_columns=("county",), vernacular_languages=("en",))
    manifest = make_manifest(paths, tmp_path, options)
    rows = {row["archive"]: row for row in manifest.rows}
    assert {row["identifier"] for row in manifest.rows} == {"https://photos.example/a", "https://photos.example/high"}
    assert [rows[name]["county"] for name in ("gbif.zip", "ac.zip")] == [None, "Kent"]
    assert [rows[name]["vernacularName"] for name in ("gbif.zip", "ac.zip")] == [None, "Moth"]
    assert [rows[name]["lifeStage"] for name in ("gbif.zip", "ac.zip")] == ["Adult", None]
    assert [rows[name]["licenseCode"] for name in ("gbif.zip", "ac.zip")] == ["cc0", "cc0"]
    assert rows["gbif.zip"]["mediaCreator"] == "Ada"
    assert manifest.chunks[0].schema.names[-2:] == ["licenseCode", "archive"]
    assert make_manifest(paths[::-1], tmp_path, options).files == manifest.files
    assert "gbif.zip: occurrence.txt has no column county, so it is empty there" in manifest.counts.notes
    assert any(note.startswith("ac.zip: the metadata state no date") for note in manifest.counts.notes)
    chosen = SelectionOptions("acceptedTaxonKey", where="county = 'Kent'", media_where="accessURI LIKE '%low'")
    assert [row["archive"] for row in make_manifest(paths, tmp_path, chosen).rows] == ["ac.zip"]
    with pytest.raises(SelectionError, match="has no column counti; did you mean county"):
        make_manifest(paths, tmp_path, SelectionOptions("acceptedTaxonKey", extra_columns=("counti",)))


def test_media_that_name_an_occurrence_by_its_occurrence_id_find_it_among_several_archives(tmp_path: Path) -> None:
    linked = write_archive(
        tmp_path / "linked.zip",
        [occurrence("k1"), occurrence("k2")],
        [medium("urn:k1", "a"), medium("k2", "b")],
        date="2024-01-01",
        is_gbif=False,
    )
    gbif = write_archive(
        tmp_path / "gbif.zip", [occurrence(5, occurrenceID="urn:k1")], [medium(5, "c")], date="2025-01-01"
    )
    manifest = make_manifest([linked, gbif], tmp_path)
    assert {row["identifier"][-1]: row["coreid"] for row in manifest.rows} == {"a": "5", "b": "k2", "c": "5"}
    assert manifest.counts.rejected == {"media": {}, "records": {"in-another-archive": 1}}


def test_different_taxonomies_are_an_error_before_anything_is_read(tmp_path: Path) -> None:
    paths = [
        write_archive(tmp_path / f"{name}.zip", [occurrence(1)], [medium(1, name)], date="2024-01-01", checklist=key)
        for name, key in (("a", BACKBONE), ("b", CATALOGUE_OF_LIFE))
    ]
    with pytest.raises(ArchiveError, match=r"GBIF Backbone Taxonomy .*make crosswalk OLD"):
        make_manifest(paths, tmp_path)


def test_a_dataset_of_one_archive_has_no_column_archive(tmp_path: Path, overlapping: Sequence[Path]) -> None:
    manifest = make_manifest(overlapping[0], tmp_path)
    assert manifest.chunks[0].schema.names[-1] == "licenseCode"
    assert manifest.counts.media_files == ("multimedia.txt",)
