"""How a dataset is cited."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from gbif_webdataset.publish import citation
from gbif_webdataset.publish.dataset_files import Named
from gbif_webdataset.read.provenance import Source
from tests.support.published import DOI, HOSTILE, KEY, MOTHS, Dataset, download

GBIF = Source("a.zip", "ab" * 32, "GBIF Occurrence Download 10.15468/dl.npd2js", DOI, KEY, "2024-11-19")


def test_a_download_is_cited_as_gbif_asks() -> None:
    assert citation.text(GBIF) == (
        "GBIF.org (19 November 2024) GBIF Occurrence Download https://doi.org/10.15468/dl.npd2js"
    )
    assert citation.text(replace(GBIF, published="2024-19-99")).startswith("GBIF.org (2024-19-99) GBIF")
    assert citation.text(replace(GBIF, published="")).startswith("GBIF.org GBIF Occurrence Download https")


def test_other_archives_are_cited_by_what_they_say() -> None:
    museum = Source("a.zip", "ab" * 32, "Moths of Aarhus", "10.15468/abc", published="2024-11-19", creators=("A. M.",))
    assert citation.text(museum) == "A. M. (2024). Moths of Aarhus. https://doi.org/10.15468/abc"
    assert citation.text(Source("a.zip", "ab" * 32)) == f"Darwin Core Archive a.zip, SHA-256 {'ab' * 32}"
    assert citation.text(Source("folder")) == "Darwin Core Archive folder"


def test_the_address_of_a_doi_holds_nothing_that_ends_it() -> None:
    assert citation.address('10.1/a"b c') == "https://doi.org/10.1/a%22b%20c"


def cff(dataset: Dataset, **options: object) -> dict:
    dataset.publish(**options)
    found = yaml.safe_load((dataset.root / "report" / "CITATION.cff").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path)
    dataset.image("train", "1", "cc-by")
    dataset.image("train", "2", "cc-by")
    return dataset


def test_the_cff_names_no_author_that_is_not_true(moths: Dataset) -> None:
    found = cff(moths)
    assert found["authors"] == [{"name": citation.EVERYONE}]
    assert (found["cff-version"], found["type"]) == ("1.2.0", "dataset")
    assert found["license"] == "CC-BY-4.0"
    digest = hashlib.sha256((moths.root / "shards" / "shards.csv").read_bytes()).hexdigest()
    assert found["identifiers"][0]["value"] == f"sha256:{digest}"
    [reference] = found["references"]
    assert reference["authors"] == [{"name": "GBIF.org"}]
    assert (reference["doi"], reference["date-published"]) == (DOI, "2024-11-19")
    archive = hashlib.sha256((moths.root / "archive.zip").read_bytes()).hexdigest()
    assert [identifier["value"] for identifier in reference["identifiers"]] == [KEY, f"sha256:{archive}"]


def test_several_licences_are_no_licence_of_the_whole(moths: Dataset) -> None:
    moths.image("test", "3", "cc0")
    found = cff(moths)
    assert "license" not in found
    assert found["abstract"] == "The images are under CC0 and CC BY."


def test_hostile_names_stay_texts_in_the_cff(moths: Dataset) -> None:
    for number, name in enumerate(HOSTILE):
        archive = download(moths.root / f"{number}.zip", title=name)
        found = cff(moths, archive=archive, named=Named(title=name, authors=(name, "B"), url="https://x.example/#a: b"))
        assert (found["title"], found["authors"]) == (name, [{"name": name}, {"name": "B"}])
        assert found["references"][0]["title"] == " ".join(name.split())
        assert found["url"] == "https://x.example/#a: b"


def test_a_doi_that_the_schema_refuses_stands_as_an_address_alone(moths: Dataset) -> None:
    [reference] = cff(moths, archive=download(moths.root / "b.zip", doi="10.15468/a'b"))["references"]
    assert "doi" not in reference
    assert reference["url"] == "https://doi.org/10.15468/a%27b"


def test_what_an_earlier_archive_had_is_not_left_behind(moths: Dataset) -> None:
    moths.publish()
    assert (moths.root / "report" / "rights.txt").exists()
    moths.publish(download(moths.root / "b.zip", members={"rights.txt": None, "citations.txt": b"new"}))
    for folder in ("report", "shards"):
        assert not (moths.root / folder / "rights.txt").exists()
        assert (moths.root / folder / "citations.txt").read_bytes() == b"new"


def test_the_schema_of_the_citation_file_format_holds(moths: Dataset) -> None:
    def is_valid(text: str) -> bool:
        try:
            cffconvert.Citation(text).validate()
        except jsonschema.ValidationError:
            return False
        return True

    jsonschema = pytest.importorskip("jsonschema", reason="optional: needs pip install -e .[readers]")
    cffconvert = pytest.importorskip("cffconvert", reason="optional: needs pip install -e .[readers]")
    for name in HOSTILE:
        moths.publish(named=Named(title=name, authors=(name,)))
        text = (moths.root / "report" / "CITATION.cff").read_text(encoding="utf-8")
        assert is_valid(text), name
        assert not is_valid(text.replace("\ntype: dataset\n", "\ntype: moths\n"))


def test_only_keys_of_datasets_go_to_gbif(moths: Dataset) -> None:
    moths.image("train", "4", datasetKey="1,2\n3")
    moths.publish()
    assert re.fullmatch(f"{MOTHS},2\n", (moths.root / "report" / "derived_dataset.csv").read_text())
