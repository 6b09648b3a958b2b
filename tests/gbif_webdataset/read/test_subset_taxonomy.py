from pathlib import Path

import pytest

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import SubsetList, read_subset_list
from gbif_webdataset.read.subset_taxonomy import OTHER_CHECKLIST
from gbif_webdataset.storage.crosswalk_table import CrosswalkTable
from gbif_webdataset.terms.checklists import BACKBONE, CATALOGUE_OF_LIFE, Checklist
from tests.gbif_webdataset.read.test_subset_match import read_subset
from tests.support.archives import find_case
from tests.support.manifests import make_manifest
from tests.support.taxonomies import make_crosswalk_of, plan_taxonomies, write_pair

NEW = "archives/taxonomy-new-col-checklistkey.zip"


def options(listed: SubsetList, **more: object) -> SelectionOptions:
    return SelectionOptions("acceptedTaxonKey", listed, **more)  # type: ignore[arg-type]


def test_keys_of_another_checklist_are_refused_unless_the_user_states_that_they_are_the_same(tmp_path: Path) -> None:
    listed = SubsetList(("GJ3L",), ("",), ("",), ("",), Checklist(BACKBONE))
    with pytest.raises(
        SelectionError, match=r"keys belong to the checklist GBIF Backbone .* archive to Catalogue of L"
    ):
        make_manifest(find_case(NEW), tmp_path, options(listed))
    assert len(make_manifest(find_case(NEW), tmp_path, options(listed, same_taxonomy=True)).rows) == 12


def test_names_count_where_it_is_unknown_whether_the_keys_are_of_the_same_taxonomy(tmp_path: Path) -> None:
    for checklist in (Checklist(), Checklist(CATALOGUE_OF_LIFE), Checklist(BACKBONE)):
        listed = SubsetList(("GJ3L", "7F6E4"), ("Pieris rapae", ""), ("", ""), ("", ""), checklist)
        manifest = make_manifest(find_case(NEW), tmp_path, options(listed))
        expected = [("speciesKey", "6E4")] + ([] if checklist.key == BACKBONE else [("acceptedTaxonKey", "7F6E4")])
        note = OTHER_CHECKLIST if checklist.key == BACKBONE else ""
        assert [row["note"] for row in read_subset(manifest) if row["requested"] == "7F6E4"] == [note]
        assert [(row["matched"], row["key"]) for row in read_subset(manifest) if row["images"] != "0"] == [
            (column.replace("speciesKey", "species"), key) for column, key in expected
        ]


def test_a_list_of_old_keys_selects_the_taxa_that_they_have_become(tmp_path: Path) -> None:
    pair = plan_taxonomies()
    old, new = write_pair(tmp_path, pair)
    crosswalk = CrosswalkTable.read(make_crosswalk_of(tmp_path, old, new), "--x")
    chosen = [change for number, change in enumerate(pair.changes) if number % 3 == 0 and change[1]]
    (tmp_path / "list.txt").write_text("\n".join(taxon.key for _, before, _ in chosen for taxon in before))
    listed = read_subset_list(tmp_path / "list.txt")
    manifest = make_manifest(new, tmp_path, options(listed, crosswalk=crosswalk))
    expected = {taxon.key for _, _, after in chosen for taxon in after}
    assert {row["acceptedTaxonKey"] for row in manifest.rows} == expected
    notes = {row["requested"]: row["note"] for row in read_subset(manifest)}
    for kind, before, _ in chosen:
        if kind == "gone":
            assert notes[before[0].key] == "in the crosswalk: the newer dataset has no such taxon"
        if kind == "lumped":
            assert sorted(notes[taxon.key] for taxon in before)[1].startswith("the same taxon as ")


def test_old_keys_of_which_none_occurs_are_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"keys of another taxonomy do not match .* make a crosswalk .*list names"):
        make_manifest(find_case(NEW), tmp_path, options(SubsetList.of(("1809380", "1773697"))))
