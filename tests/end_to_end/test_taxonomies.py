"""The same photos in two taxonomies: lists, maps and comparisons of keys, as commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES as SPLITS
from sample.plan import photos_by_path
from sample.server import PhotoServer
from tests.support.archives import find_case, read_zip, write_zip
from tests.support.datasets import ROOT, Dataset
from tests.support.taxonomies import BACKBONE, read_crosswalk

OLD, NEW = "taxonomy-old-backbone", "taxonomy-new-col-checklistkey"
KEYS = {"1809380": "GJ3L", "1773697": "7F6E4", "1920496": "6E4"}


@pytest.fixture(scope="module")
def archives(photos: PhotoServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The case archives with photos of the sample; the old one names its checklist."""
    folder = tmp_path_factory.mktemp("taxonomies")
    names = sorted(path.lstrip("/") for path, photo in photos_by_path().items() if not photo.fault)
    paths = {}
    for case in (OLD, NEW):
        members = read_zip(find_case(f"archives/{case}.zip"))
        text = members["multimedia.txt"].decode()
        for number in range(35, -1, -1):
            text = text.replace(f"http://127.0.0.1:18765/col{number}.jpg", f"{photos.url}/{names[number]}")
        members["multimedia.txt"] = text.encode()
        if case == OLD:
            members["metadata.xml"] = members["metadata.xml"].replace(
                b"</title>", b"</title><abstract><para>checklistKey: " + BACKBONE.encode() + b"</para></abstract>"
            )
        paths[case] = write_zip(folder / f"{case}.zip", members)
    return paths


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "luigi", "--module", "tasks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def numbers(dataset: Dataset) -> dict[str, int]:
    return dict(json.loads((dataset.output / "shards" / "category_map.json").read_text()))


@pytest.mark.slow
def test_classes_keep_their_numbers_from_the_backbone_to_the_catalogue_of_life(
    archives: dict[str, Path], tmp_path: Path
) -> None:
    old, new = (Dataset(archives[case], tmp_path / case, chunks=2) for case in (OLD, NEW))
    old.make()
    stated = json.loads((old.output / "shards" / "categories.json").read_text())
    assert (stated["checklist"]["key"], stated["checklist"]["release"], stated["rank"]) == (
        BACKBONE, "2025-03-01", "species"
    )  # fmt: skip
    for name in ("README.md", "croissant.json", "index.html"):
        assert BACKBONE in (old.output / "report" / name).read_text(encoding="utf-8")
    crosswalk = tmp_path / "crosswalk.csv"
    made = run("MakeCrosswalk", "--old", old.output, "--new", new.archive, "--crosswalk", crosswalk)
    assert "6 renamed" in made.stdout, made.stderr
    assert {row["old_key"]: row["new_key"] for row in read_crosswalk(crosswalk)} == KEYS
    previous = ("--CreateWebDataset-previous-category-map", str(old.output / "shards" / "category_map.json"))
    printed = new.fail(*previous)
    assert "its labels are keys of the checklist GBIF Backbone Taxonomy" in printed
    assert "make a crosswalk (make crosswalk OLD=... NEW=...)" in printed
    assert not (new.output / "fetched").exists()
    names = tmp_path / "names.csv"
    names.write_text("scientificName,rank\nAutographa gamma,species\nVanesa atalanta,\nPieridae,family\n")
    listed = ("--ReadArchive-subset-list", str(names))
    new.make(*previous, "--CreateWebDataset-crosswalk", str(crosswalk), *listed)
    assert numbers(new) == {KEYS[label]: number for label, number in numbers(old).items()}
    rows = {row["requested"]: row for row in new.rows("report/subset.csv")}
    assert {name: (row["matched"], row["images"], row["note"]) for name, row in rows.items()} == {
        "Autographa gamma": ("species", "12", ""),
        "Vanesa atalanta": ("", "0", "did you mean Vanessa atalanta?"),
        "Pieridae": ("family", "12", ""),
    }
    assert sum(int(row["samples"]) for row in rows.values()) == sum(
        len(new.rows(f"splits/{split}.csv")) for split in SPLITS
    )
    assert "1 of 3 taxa of the list have no sample" in (new.output / "report" / "index.html").read_text(
        encoding="utf-8"
    )
    both = ("CompareDatasets", "--old", old.output, "--new", new.output)
    assert "labels are not compared, because they are keys of GBIF Backbone Taxonomy" in run(*both).stdout
    compared = run(*both, "--crosswalk", crosswalk).stdout
    assert "with another label, as the crosswalk explains" in compared
    assert "with another label\n" not in compared


def test_lists_of_the_cases_have_their_sentences(archives: dict[str, Path], tmp_path: Path) -> None:
    dataset = Dataset(archives[NEW], tmp_path / "dataset", chunks=2)
    keys = find_case("lists/subset-1-of-1000-present.txt")
    printed = dataset.fail("--ReadArchive-subset-list", str(keys), task="ReadArchive")
    assert "none of its 1,000 keys is the acceptedTaxonKey of an image" in printed
    assert "keys of another taxonomy do not match (checklist of the archive: Catalogue of Life" in printed
    old = tmp_path / "old.txt"
    old.write_text("GJ3L\n1773697\n1920496\n")
    ended = dataset.run("--ReadArchive-subset-list", str(old), task="ReadArchive")
    assert f"WARNING: --ReadArchive-subset-list {old}: 1 of 3 keys occurs in the archive; " in ended.stderr
    assert "or set --same-taxonomy if the keys mean the same taxa" in ended.stderr
