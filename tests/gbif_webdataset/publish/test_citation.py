"""Where an archive is from, kept when it is read; and how a dataset made of it is cited."""

import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from gbif_webdataset.publish import citation
from gbif_webdataset.read import provenance
from gbif_webdataset.read.provenance import Source
from tests.support.published import DOI, EML, HOSTILE, KEY, Dataset, download, keep

ARCHIVES = Path(__file__).parents[4] / "shared" / "archives"
REAL = ARCHIVES / "gbif-2024-dl.npd2js.zip"
GBIF = Source("a.zip", "ab" * 32, "GBIF Occurrence Download 10.15468/dl.npd2js", DOI, KEY, "2024-11-19")


def eml(**values: str) -> str:
    return EML.format(**{"doi": DOI, "key": KEY, "title": "Moths", "query": "{}", **values})


def read(tmp_path: Path, **members: str | bytes | None) -> Source:
    named = {name.replace("_", "."): content for name, content in members.items()}
    return keep(download(tmp_path / "a.zip", members=named), tmp_path / "manifest")


# What is kept


@pytest.mark.skipif(not REAL.exists(), reason="optional: needs the real archives beside the repository")
def test_a_real_download_says_its_doi_key_date_and_query(tmp_path: Path) -> None:
    found = keep(REAL, tmp_path / "manifest")
    assert (found.doi, found.key, found.published) == ("10.15468/dl.npd2js", "0022407-241107131044228", "2024-11-19")
    assert found.title == "GBIF Occurrence Download 10.15468/dl.npd2js"
    assert found.query.split() == (
        [
            "{",
            '"DatasetKey"',
            ":",
            "[",
            '"is',
            "Centre",
            "for",
            "Plant",
            "Medicine",
            "Research",
            "(CPMR)",
            "medicinal",
            "plants",
            'dataset"',
            "]",
            "}",
        ]
    )
    assert found.sha256 == hashlib.sha256(REAL.read_bytes()).hexdigest()
    with ZipFile(REAL) as members:
        for name in ("citations.txt", "rights.txt"):
            assert (tmp_path / "manifest" / name).read_bytes() == members.read(name)
    assert provenance.load(tmp_path / "manifest") == found


@pytest.mark.skipif(not REAL.exists(), reason="optional: needs the real archives beside the repository")
@pytest.mark.parametrize(
    ("name", "title", "creators"),
    [
        ("checklist_980.zip", "Targeting a portion of central European spider diversity", ("Klemen Čandek",)),
        ("plazi-dwca.zip", "New insights into Chinese fungus gnats", ("Bismillah Shah", "Kai Heller", "Junhao Huang")),
        ("multifile-psv", "", ()),
    ],
)
def test_other_real_archives_say_what_they_can(
    tmp_path: Path, name: str, title: str, creators: tuple[str, ...]
) -> None:
    found = keep(ARCHIVES / name, tmp_path / "manifest")
    assert found.title.startswith(title)
    assert found.creators == creators
    assert (found.doi, found.key, found.texts) == ("", "", ())
    assert bool(found.sha256) == (ARCHIVES / name).is_file()


def test_citations_and_rights_are_kept_as_they_came(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.texts == ("citations.txt", "rights.txt")
    assert (tmp_path / "manifest" / "citations.txt").read_bytes() == b"Ada (2024). Moths.\r\n"
    assert (tmp_path / "manifest" / "rights.txt").read_bytes() == b"Dataset: Moths\n\xff"


def test_a_tar_and_a_folder_are_read_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with ZipFile(download(tmp_path / "a.zip")) as members:
        members.extractall(folder)
    tar = tmp_path / "a.tar.gz"
    with tarfile.open(tar, "w:gz") as archive:
        archive.add(folder, "inside")
    one, other = keep(folder, tmp_path / "one"), keep(tar, tmp_path / "other")
    assert one.sha256 == ""
    assert other.sha256 == hashlib.sha256(tar.read_bytes()).hexdigest()
    assert replace(one, archive="", sha256="") == replace(other, archive="", sha256="")
    assert one.doi == DOI


def test_an_archive_without_metadata_gives_what_it_can(tmp_path: Path) -> None:
    found = read(tmp_path, metadata_xml=None, citations_txt=None)
    assert found.unread == "the archive has no metadata document"
    assert (found.title, found.doi, found.texts) == ("", "", ("rights.txt",))
    assert len(found.sha256) == 64


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><eml><dataset><title>&b;</title></dataset></eml>'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (BOMB, "declares entities"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><eml/>', "declares entities"),
        (BOMB.encode("utf-16"), "declares entities"),
        ("<eml><dataset>", "can't be understood"),
        ("<a>" * 200 + "</a>" * 200, "nested more than 100 deep"),
        ("<a>" * 1_000_000, "nested more than 100 deep"),
        (b"\xff\xfe\x00", "can't be understood"),
        ('<?xml version="1.0" encoding="no-such"?><eml/>', "can't be understood"),
        (" " * ((16 << 20) + 1), "larger than 16 MiB"),
    ],
    ids=["entities", "external", "utf-16", "cut", "deep", "deeper", "bytes", "encoding", "large"],
)
def test_metadata_that_is_not_to_be_trusted_is_left_and_stops_nothing(
    tmp_path: Path, content: str | bytes, told: str
) -> None:
    found = read(tmp_path, metadata_xml=content)
    assert told in found.unread
    assert (found.title, found.doi) == ("", "")
    assert found.texts == ("citations.txt", "rights.txt")


def test_texts_larger_than_any_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "LARGEST_TEXT", 10)
    assert read(tmp_path).texts == ()
    assert not (tmp_path / "manifest" / "rights.txt").exists()


def test_a_doi_may_stand_among_the_alternate_identifiers(tmp_path: Path) -> None:
    found = read(tmp_path, metadata_xml=eml(doi="7d0795c4/v1.2", key="https://doi.org/10.15468/2a8ste"))
    assert (found.doi, found.key) == ("10.15468/2a8ste", "")
    assert not found.is_gbif_download


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_title_stays_a_title(tmp_path: Path, name: str) -> None:
    found = keep(download(tmp_path / "a.zip", title=name), tmp_path / "manifest")
    assert found.title == " ".join(name.split())
    assert provenance.load(tmp_path / "manifest") == found


# The citation


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


def test_a_dataset_with_several_licences_lists_them_in_the_abstract(moths: Dataset) -> None:
    moths.image("test", "3", "cc0")
    found = cff(moths)
    assert "license" not in found
    assert found["abstract"] == "The images are under CC0 and CC BY."


def write_hostile_cff(dataset: Dataset, name: str) -> str:
    """A CITATION.cff with a hostile name in its title, its authors and its reference."""
    source = replace(dataset.description.source, title=name)
    description = replace(dataset.description, title=name, authors=(name, "B"), url="https://x.example/#a: b")
    path = dataset.root / "hostile.cff"
    citation.write_cff(path, replace(description, source=source), dataset.root / "shards" / "shards.csv")
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
