"""How a dataset is cited."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from gbif_webdataset.publish import citation
from gbif_webdataset.publish.description import Publication
from gbif_webdataset.read.provenance import NO_DOI, Source
from tests.support.published import DOI, HOSTILE, KEY, Dataset, download

GBIF = Source("a.zip", "ab" * 32, "GBIF Occurrence Download 10.15468/dl.npd2js", DOI, KEY, "2024-11-19")


def test_a_gbif_download_is_cited_as_gbifs_guidelines_require() -> None:
    assert citation.cite_source(GBIF) == (
        "GBIF.org (19 November 2024) GBIF Occurrence Download https://doi.org/10.15468/dl.npd2js"
    )
    assert citation.cite_source(replace(GBIF, published="2024-19-99")).startswith("GBIF.org (2024-19-99) GBIF")
    assert citation.cite_source(replace(GBIF, published="")).startswith("GBIF.org GBIF Occurrence Download https")


def test_other_archives_are_cited_by_their_metadata_or_else_by_their_file() -> None:
    museum = Source("a.zip", "ab" * 32, "Moths of Aarhus", "10.15468/abc", published="2024-11-19", creators=("A. M.",))
    assert citation.cite_source(museum) == "A. M. (2024). Moths of Aarhus. https://doi.org/10.15468/abc"
    assert citation.cite_source(Source("a.zip", "ab" * 32)) == f"Darwin Core Archive a.zip, SHA-256 {'ab' * 32}"
    assert citation.cite_source(Source("folder")) == "Darwin Core Archive folder"


def test_the_url_of_a_doi_has_quotes_and_spaces_encoded() -> None:
    assert citation.make_doi_url('10.1/a"b c') == "https://doi.org/10.1/a%22b%20c"


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


def test_without_authors_the_creators_of_the_images_are_the_authors_as_a_group(moths: Dataset) -> None:
    found = cff(moths)
    assert found["authors"] == [{"name": citation.ALL_CREATORS}]
    assert (found["cff-version"], found["type"]) == ("1.2.0", "dataset")
    assert found["license"] == "CC-BY-4.0"
    digest = hashlib.sha256((moths.root / "shards" / "shards.csv").read_bytes()).hexdigest()
    assert found["identifiers"][0]["value"] == f"sha256:{digest}"
    [reference] = found["references"]
    assert reference["authors"] == [{"name": "GBIF.org"}]
    assert (reference["doi"], reference["date-published"]) == (DOI, "2024-11-19")
    archive = hashlib.sha256((moths.root / "archive.zip").read_bytes()).hexdigest()
    assert [identifier["value"] for identifier in reference["identifiers"]] == [KEY, f"sha256:{archive}"]


def test_the_cff_has_the_version_and_the_day_of_the_last_download(moths: Dataset) -> None:
    assert cff(moths)["version"] == "1.0.0"
    assert "date-released" not in cff(moths)
    moths.columns = (*moths.columns, "fetched_at")
    moths.image("train", "9", "cc-by", fetched_at="2026-03-05T10:00:00Z")
    found = cff(moths, publication=Publication(version="1.1.0"))
    assert (found["version"], str(found["date-released"])) == ("1.1.0", "2026-03-05")


def test_a_dataset_with_several_licences_lists_them_in_the_abstract(moths: Dataset) -> None:
    moths.image("test", "3", "cc0")
    found = cff(moths)
    assert "license" not in found
    assert found["abstract"] == "The images are under CC0 and CC BY."


def write_hostile_cff(dataset: Dataset, name: str) -> str:
    """A CITATION.cff with a hostile name in its title, its authors and its reference."""
    [source] = dataset.description.sources
    description = replace(dataset.description, title=name, authors=(name, "B"), url="https://x.example/#a: b")
    path = dataset.root / "hostile.cff"
    citation.write_cff(
        path, replace(description, sources=[replace(source, title=name)]), dataset.root / "shards" / "shards.csv"
    )
    return path.read_text(encoding="utf-8")


def test_hostile_names_are_written_to_the_cff_unchanged(moths: Dataset) -> None:
    moths.publish()
    for name in HOSTILE:
        found = yaml.safe_load(write_hostile_cff(moths, name))
        assert (found["title"], found["authors"]) == (name, [{"name": name}, {"name": "B"}])
        assert found["references"][0]["title"] == name
        assert found["url"] == "https://x.example/#a: b"


def test_a_doi_that_the_schema_does_not_allow_is_written_as_a_url_only(moths: Dataset) -> None:
    [reference] = cff(moths, archive=download(moths.root / "b.zip", doi="10.15468/a'b"))["references"]
    assert "doi" not in reference
    assert reference["url"] == "https://doi.org/10.15468/a%27b"


def test_the_cff_is_valid_by_the_schema_of_the_citation_file_format(moths: Dataset) -> None:
    def is_valid(text: str) -> bool:
        try:
            cffconvert.Citation(text).validate()
        except jsonschema.ValidationError:
            return False
        return True

    jsonschema = pytest.importorskip("jsonschema", reason="optional: needs pip install -e .[readers]")
    cffconvert = pytest.importorskip("cffconvert", reason="optional: needs pip install -e .[readers]")
    moths.publish()
    for name in HOSTILE:
        text = write_hostile_cff(moths, name)
        assert is_valid(text), name
        assert not is_valid(text.replace("\ntype: dataset\n", "\ntype: moths\n"))


def test_a_missing_doi_is_reported_in_the_cff_and_the_card_until_the_user_sets_it(moths: Dataset) -> None:
    archive = download(moths.root / "a.zip", members={"metadata.xml": "<eml/>", "citations.txt": None})
    [reference] = cff(moths, archive=archive)["references"]
    assert reference["notes"] == NO_DOI
    assert "doi" not in reference
    card = moths.root / "report" / "README.md"
    assert "**Note:** the DOI of the archive is not known" in card.read_text(encoding="utf-8")
    moths.publish(archive=archive, publication=Publication(doi=DOI))
    [reference] = yaml.safe_load((moths.root / "report" / "CITATION.cff").read_text(encoding="utf-8"))["references"]
    assert "notes" not in reference
    assert (reference["doi"], reference["authors"]) == (DOI, [{"name": "GBIF.org"}])
    assert f"https://doi.org/{DOI}" in card.read_text(encoding="utf-8")
    assert "**Note:**" not in card.read_text(encoding="utf-8")
