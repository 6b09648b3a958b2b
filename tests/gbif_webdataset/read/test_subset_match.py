from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import SubsetList
from gbif_webdataset.storage.tables import open_csv
from tests.support.archives import MEDIA, find_case, make_gbif_meta_xml, make_lines, make_medium, write_zip
from tests.support.manifests import Manifest, make_manifest

COLUMNS = (
    "gbifID", "datasetKey", "scientificName", "acceptedScientificName", "taxonRank", "kingdom", "order", "family",
    "genus", "species", "taxonKey", "acceptedTaxonKey", "speciesKey", "genusKey", "orderKey",
)  # fmt: skip
GAMMA = {
    "scientificName": "Autographa gamma (Linnaeus, 1758)", "acceptedScientificName": "Autographa gamma (Linnaeus, 1758)",
    "taxonRank": "SPECIES", "kingdom": "Animalia", "order": "Lepidoptera", "family": "Noctuidae", "genus": "Autographa",
    "species": "Autographa gamma", "taxonKey": "1", "acceptedTaxonKey": "1", "speciesKey": "1", "genusKey": "10",
    "orderKey": "100",
}  # fmt: skip
SYNONYM = GAMMA | {"scientificName": "Plusia gamma (Linnaeus, 1758)", "taxonKey": "2"}
OTHER_MOTH = GAMMA | {
    "scientificName": "Arctia caja (Linnaeus, 1758)", "acceptedScientificName": "Arctia caja (Linnaeus, 1758)",
    "genus": "Arctia", "species": "Arctia caja", "taxonKey": "3", "acceptedTaxonKey": "3", "speciesKey": "3",
    "genusKey": "30", "family": "Erebidae",
}  # fmt: skip
GENUS_ONLY = GAMMA | {
    "scientificName": "Autographa Hübner, 1821", "acceptedScientificName": "Autographa Hübner, 1821",
    "taxonRank": "GENUS", "species": "", "taxonKey": "10", "acceptedTaxonKey": "10", "speciesKey": "",
}  # fmt: skip
BIRD = GAMMA | {
    "scientificName": "Oenanthe Vieillot, 1816", "acceptedScientificName": "Oenanthe Vieillot, 1816", "order": "Aves",
    "family": "Muscicapidae", "genus": "Oenanthe", "species": "", "taxonKey": "5", "acceptedTaxonKey": "5",
    "speciesKey": "", "genusKey": "5", "taxonRank": "GENUS", "orderKey": "500",
}  # fmt: skip
PLANT = BIRD | {
    "kingdom": "Plantae", "scientificName": "Oenanthe L.", "acceptedScientificName": "Oenanthe L.", "order": "Apiales",
    "taxonKey": "6", "acceptedTaxonKey": "6", "genusKey": "6", "orderKey": "600",
}  # fmt: skip
ALL = [GAMMA, SYNONYM, OTHER_MOTH, GENUS_ONLY, BIRD, PLANT, PLANT]


def select(folder: Path, listed: SubsetList, rows: Sequence[dict[str, str]] = ALL, ids: Sequence[int] = ()) -> Manifest:
    """The manifest of occurrences with a photo each, in the order of `ids`. Row number n has the id n, from 1."""
    ordered = ids or range(1, len(rows) + 1)
    occurrences = [rows[number - 1] | {"gbifID": str(number)} for number in ordered]
    members = {
        "meta.xml": make_gbif_meta_xml(COLUMNS),
        "occurrence.txt": make_lines(COLUMNS, occurrences),
        "multimedia.txt": make_lines(MEDIA, [make_medium(number) for number in ordered]),
    }
    archive = write_zip(folder / "a.zip", members)
    return make_manifest(archive, folder, SelectionOptions("acceptedTaxonKey", listed))


def read_subset(manifest: Manifest) -> list[dict[str, str]]:
    """subset.csv; its images always add up to the manifest."""
    with open_csv(manifest.folder / "subset.csv") as rows:
        found = list(rows)
    assert sum(int(row["images"]) for row in found) == len(manifest.rows)
    pairs = {(row["entry"], row["key"]) for row in found}
    occurrences = pq.read_table(manifest.folder / "subset_occurrences.parquet").to_pylist()
    assert {row["coreid"] for row in occurrences} == {row["coreid"] for row in manifest.rows}
    assert {(str(row["entry"]), row["key"] or "") for row in occurrences} <= pairs
    return found


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("Autographa gamma", {"1", "2"}),  # a synonym has the accepted species
        ("Autographa gamma (Linnaeus, 1758)", {"1", "2"}),
        ("Plusia gamma (Linnaeus, 1758)", {"2"}),
        ("Autographa", {"1", "2", "4"}),
        ("Autographa Hübner, 1821", {"4"}),
        ("Lepidoptera", {"1", "2", "3", "4"}),
        ("Animalia", {"1", "2", "3", "4", "5"}),
        ("1", {"1", "2"}),
    ],
)
def test_names_of_any_rank_and_keys_take_everything_below_them(tmp_path: Path, name: str, ids: set[str]) -> None:
    manifest = select(tmp_path, SubsetList.of((name,)))
    assert {row["coreid"] for row in manifest.rows} == ids
    assert [row["requested"] for row in read_subset(manifest)] == [name]


def test_rank_and_kingdom_must_agree_where_the_list_states_them(tmp_path: Path) -> None:
    listed = SubsetList(
        ("",) * 4, ("Oenanthe", "Oenanthe", "Autographa", "Lepidoptera"), ("", "species", "genus", "family"),
        ("plantae", "animalia", "", ""),
    )  # fmt: skip
    manifest = select(tmp_path, listed)
    assert {row["coreid"] for row in manifest.rows} == {"1", "2", "4", "6", "7"}
    assert [(row["requested"], row["matched"], row["key"], row["images"]) for row in read_subset(manifest)] == [
        ("Oenanthe", "genus", "6", "2"),
        ("Oenanthe", "", "", "0"),
        ("Autographa", "genus", "10", "3"),
        ("Lepidoptera", "", "", "0"),
    ]


def test_entries_with_the_same_name_are_told_apart_by_kingdom(tmp_path: Path) -> None:
    listed = SubsetList(("", ""), ("Oenanthe", "Oenanthe"), ("", ""), ("plantae", "animalia"))
    rows = read_subset(select(tmp_path, listed))
    assert [(row["entry"], row["key"], row["images"], row["note"]) for row in rows] == [
        ("1", "6", "2", ""),
        ("2", "5", "1", ""),
    ]


def test_an_archive_of_names_without_keys_is_selected_by_name(tmp_path: Path) -> None:
    archive = find_case("archives/inaturalist-own-no-taxon-keys.zip")
    manifest = make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", SubsetList.of(("Animalia",))))
    assert manifest.rows
    assert [row["matched"] for row in read_subset(manifest)] == ["kingdom"]
