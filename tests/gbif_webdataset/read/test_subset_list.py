import re
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import SubsetList, read_subset_list
from gbif_webdataset.terms.checklists import Checklist
from tests.support.archives import PHOTO, find_case, make_medium, make_occurrence, write_download
from tests.support.manifests import make_manifest


@pytest.mark.parametrize("content", ['["5WZLF", 12, 6E4]', "5WZLF\n12\n\n 6E4 \n", "\ufeff5WZLF\r\n12\r\n6E4"])
def test_keys_are_text_in_a_json_list_and_in_a_text_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "subset"
    path.write_text(content, encoding="utf-8", newline="")
    assert read_subset_list(path) == SubsetList.of(("12", "5WZLF", "6E4"))


def test_only_occurrences_with_a_key_of_the_list_are_taken(tmp_path: Path) -> None:
    keys = ["5WZLF", "6E4", "60000", "12", ""]
    occurrences = [make_occurrence(number, acceptedTaxonKey=key) for number, key in enumerate(keys)]
    archive = write_download(tmp_path / "a.zip", occurrences, [make_medium(number) for number in range(5)])
    manifest = make_manifest(
        archive, tmp_path, SelectionOptions("acceptedTaxonKey", SubsetList.of(("12", "5WZLF", "6E4")))
    )
    assert sorted(row["acceptedTaxonKey"] for row in manifest.rows) == ["12", "5WZLF", "6E4"]
    assert manifest.reasons == {"not-in-subset": 2}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "has no keys"), ("[]", "has no keys"), ('{"a": 1}', "is not a list of keys"), ("[1, ", "cannot be read"),
        ("[[1]]", "is not a list of keys"), ("[null]", "is not a list of keys"),
    ],
)  # fmt: skip
def test_a_file_without_keys_is_an_error_that_names_it(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "subset.json"
    path.write_text(content)
    with pytest.raises(ParameterError, match=rf"^--ReadArchive-subset-list {re.escape(str(path))}: {problem}"):
        read_subset_list(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_has_names_keys_ranks_kingdoms_and_the_checklist_of_the_keys(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "list.csv"
    rows = [
        ("Kingdom", "scientificName", "taxonKey", "rank", "checklistKey", "remark"),
        ("Animalia", "Oenanthe", "", "GENUS", "col", "x"),
        ("", '"Aus, bus"' if delimiter == "," else "Aus, bus", "0012", "", "col", ""),
        ("Plantae", "", "", "", "", ""),
        ("Animalia", "Oenanthe", "", "genus", "col", ""),
    ]
    path.write_text("\ufeff" + "\r\n".join(delimiter.join(row) for row in rows), encoding="utf-8")
    assert read_subset_list(path) == SubsetList(
        ("", "0012"), ("Oenanthe", "Aus, bus"), ("genus", ""), ("animalia", ""), Checklist("col")
    )


def test_one_key_of_a_thousand_is_found(tmp_path: Path) -> None:
    keys = read_subset_list(find_case("lists/subset-1-of-1000-present.txt"))
    archive = write_download(
        tmp_path / "a.zip",
        [{"gbifID": "1", "acceptedTaxonKey": "5140256"}],
        [{"gbifID": "1", "type": "StillImage", "identifier": f"{PHOTO}1.jpg"}],
    )
    counts = make_manifest(archive, tmp_path, SelectionOptions("acceptedTaxonKey", keys)).counts
    assert (counts.subset_keys, counts.subset_found) == (1000, 1)


def test_a_csv_with_keys_of_several_checklists_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("taxonKey,checklistKey\n1,a\n2,b\n")
    with pytest.raises(ParameterError, match="its column checklistKey has several values; write a list for each"):
        read_subset_list(path)
