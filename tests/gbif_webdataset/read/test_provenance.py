"""Where an archive comes from: what ReadArchive writes beside the manifest."""

import hashlib
import tarfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from gbif_webdataset.read import provenance
from gbif_webdataset.read.dwca import open_archive
from gbif_webdataset.read.provenance import (
    NO_DOI,
    Source,
    copy_texts,
    digest_in_background,
    load_sources,
    note_dois,
    write_sources,
)
from gbif_webdataset.terms.downloads import DownloadStatement
from tests.support.archives import find_case, find_real_archive, write_folder
from tests.support.published import DOI, EML, HOSTILE, KEY, download
from tests.support.published import keep as write_manifest_source


def make_eml(**values: str) -> str:
    return EML.format(**{"doi": DOI, "key": KEY, "title": "Moths", "query": "{}", **values})


def write_and_read(tmp_path: Path, **members: str | bytes | None) -> Source:
    named = {name.replace("_", "."): content for name, content in members.items()}
    return write_manifest_source(download(tmp_path / "a.zip", members=named), tmp_path / "manifest")


def test_doi_key_date_and_query_of_a_real_download_are_found(tmp_path: Path) -> None:
    archive = find_real_archive("gbif-2024-dl.npd2js.zip")
    found = write_manifest_source(archive, tmp_path / "manifest")
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
    assert found.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    with ZipFile(archive) as members:
        for name in ("citations.txt", "rights.txt"):
            assert (tmp_path / "manifest" / name).read_bytes() == members.read(name)
    assert load_sources(tmp_path / "manifest") == (found,)


@pytest.mark.parametrize(
    ("name", "title", "creators"),
    [
        ("checklist_980.zip", "Targeting a portion of central European spider diversity", ("Klemen Čandek",)),
        ("plazi-dwca.zip", "New insights into Chinese fungus gnats", ("Bismillah Shah", "Kai Heller", "Junhao Huang")),
        ("multifile-psv", "", ()),
    ],
)
def test_title_and_creators_of_other_real_archives_are_found(
    tmp_path: Path, name: str, title: str, creators: tuple[str, ...]
) -> None:
    found = write_manifest_source(find_real_archive(name), tmp_path / "manifest")
    assert found.title.startswith(title)
    assert found.creators == creators
    assert (found.doi, found.key, found.texts) == ("", "", ())
    assert bool(found.sha256) == (find_real_archive(name)).is_file()


def test_citations_and_rights_are_copied_unchanged(tmp_path: Path) -> None:
    found = write_and_read(tmp_path)
    assert found.texts == ("citations.txt", "rights.txt")
    assert (tmp_path / "manifest" / "citations.txt").read_bytes() == b"Ada (2024). Moths.\r\n"
    assert (tmp_path / "manifest" / "rights.txt").read_bytes() == b"Dataset: Moths\n\xff"


def test_a_tar_and_a_folder_give_the_same_source_as_a_zip(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with ZipFile(download(tmp_path / "a.zip")) as members:
        members.extractall(folder)
    tar = tmp_path / "a.tar.gz"
    with tarfile.open(tar, "w:gz") as archive:
        archive.add(folder, "inside")
    one, other = write_manifest_source(folder, tmp_path / "one"), write_manifest_source(tar, tmp_path / "other")
    assert one.sha256 == ""
    assert other.sha256 == hashlib.sha256(tar.read_bytes()).hexdigest()
    assert replace(one, archive="", sha256="") == replace(other, archive="", sha256="")
    assert one.doi == DOI


def test_an_archive_without_a_metadata_document_has_an_empty_title(tmp_path: Path) -> None:
    found = write_and_read(tmp_path, metadata_xml=None, citations_txt=None)
    assert found.unread == "the archive has no metadata document"
    assert (found.title, found.doi, found.texts) == ("", "", ("rights.txt",))
    assert len(found.sha256) == 64


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><eml><dataset><title>&b;</title></dataset></eml>'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (BOMB, "document type declaration"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><eml/>', "document type declaration"),
        (BOMB.encode("utf-16"), "document type declaration"),
        ("<eml><dataset>", "is not well-formed XML in line 1"),
        ("<a>" * 200 + "</a>" * 200, "nested more than 100 deep"),
        ("<a>" * 1_000_000, "nested more than 100 deep"),
        (b"\xff\xfe\x00", "has bytes that are not in its encoding"),
        ('<?xml version="1.0" encoding="no-such"?><eml/>', "names the encoding 'no-such', but this tool reads UTF-8"),
        (" " * ((16 << 20) + 1), "larger than 16 MiB"),
    ],
    ids=["entities", "external", "utf-16", "cut", "deep", "deeper", "bytes", "encoding", "large"],
)
def test_a_metadata_document_that_cannot_be_used_is_not_an_error(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    found = write_and_read(tmp_path, metadata_xml=content)
    assert problem in found.unread
    assert (found.title, found.doi) == ("", "")
    assert found.texts == ("citations.txt", "rights.txt")


def test_texts_that_are_too_large_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "MAX_TEXT_BYTES", 10)
    assert write_and_read(tmp_path).texts == ()
    assert not (tmp_path / "manifest" / "rights.txt").exists()


def test_a_doi_may_be_an_alternate_identifier(tmp_path: Path) -> None:
    found = write_and_read(tmp_path, metadata_xml=make_eml(doi="7d0795c4/v1.2", key="https://doi.org/10.15468/2a8ste"))
    assert (found.doi, found.key) == ("10.15468/2a8ste", "")
    assert not found.is_gbif_download


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_title_is_written_and_read_unchanged(tmp_path: Path, name: str) -> None:
    found = write_manifest_source(download(tmp_path / "a.zip", title=name), tmp_path / "manifest")
    assert found.title == " ".join(name.split())
    assert load_sources(tmp_path / "manifest") == (found,)


def test_the_texts_of_the_archive_are_copied_from_the_manifest(tmp_path: Path) -> None:
    source = write_and_read(tmp_path, rights_txt=None)
    assert copy_texts([source], tmp_path / "manifest", tmp_path / "report") == [tmp_path / "report" / "citations.txt"]
    assert (tmp_path / "report" / "citations.txt").read_bytes() == b"Ada (2024). Moths.\r\n"


def test_the_digest_in_the_background_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(bytes(3_000_000))
    with digest_in_background(tmp_path / "a.zip") as digest:
        assert digest.result() == hashlib.sha256(bytes(3_000_000)).hexdigest()
    with digest_in_background(write_folder(tmp_path / "folder", {"a": "a"})) as digest:
        assert digest.result() == ""


def test_an_error_in_the_block_ends_the_digest_early(tmp_path: Path) -> None:
    with (tmp_path / "a.zip").open("wb") as file:
        file.truncate(50 << 30)
    with pytest.raises(ValueError, match="mine"), digest_in_background(tmp_path / "a.zip"):
        raise ValueError("mine")


def test_a_bare_ampersand_loses_nothing(tmp_path: Path) -> None:
    found = write_manifest_source(find_case("archives/metadata-bare-ampersand.zip"), tmp_path / "manifest")
    assert (found.doi, found.key, found.published) == ("10.15468/dl.9f3k2q", "0018671-241007104925546", "2024-10-17")
    assert found.title == "GBIF Occurrence Download 10.15468/dl.9f3k2q"
    assert found.query == "TaxonKey: Gambusia affinis (Baird & Girard, 1853)"
    assert (found.unread, found.notes) == ("", [])
    assert found.creators == ("GBIF Download Service",)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("Moths", "Moths < 3 & <i>more", 1),
        lambda text: text[: text.index("</abstract>")],
        lambda text: text.replace("utf-8", "punycode"),
        lambda text: text.replace("<title>", "<title>\x01&nbsp;"),
        lambda text: text.replace("<eml:eml", "<!DOCTYPE eml><eml:eml"),
        lambda text: text.encode() + b"\xff",
    ],
    ids=["bare", "cut", "encoding", "control", "doctype", "bytes"],
)
def test_the_doi_of_a_damaged_document_is_taken_from_its_text(tmp_path: Path, damage: Any) -> None:
    found = write_and_read(tmp_path, metadata_xml=damage(make_eml(query="moths")))
    assert found.doi == DOI
    assert found.notes == []


def test_key_title_date_and_query_of_a_damaged_document_are_taken_from_its_text(tmp_path: Path) -> None:
    document = make_eml(query="TaxonKey: Moths & more", title="Moths &amp; more").replace("</dataset>", "<x>")
    found = write_and_read(tmp_path, metadata_xml=document)
    assert (found.doi, found.key, found.title) == (DOI, KEY, "Moths & more")
    assert (found.published, found.query) == ("2024-11-19", "TaxonKey: Moths & more")
    assert found.unread == "the metadata document is not well-formed XML in line 9"


CITED = "Please cite: GBIF.org (19 November 2024) GBIF Occurrence Download https://doi.org/10.15468/dl.npd2js\n"
OTHERS = "Ada (2024). Moths. https://doi.org/10.15468/abc accessed via 10.15468/dl.aaaaaa and 10.15468/dl.bbbbbb\n"


@pytest.mark.parametrize("metadata", [None, "<eml/>", "<eml", b"\xff\xfe\x00"])
@pytest.mark.parametrize("name", ["citations_txt", "rights_txt"])
def test_the_doi_is_otherwise_taken_from_citations_or_rights(tmp_path: Path, name: str, metadata: str | None) -> None:
    texts: dict[str, str | None] = {"citations_txt": OTHERS, "rights_txt": None, name: OTHERS + CITED}
    assert write_and_read(tmp_path, metadata_xml=metadata, **texts).doi == "10.15468/dl.npd2js"


@pytest.mark.parametrize("citations", [OTHERS, "Ada (2024). Moths. https://doi.org/10.15468/abc", None])
def test_a_doi_that_cannot_be_found_is_reported(tmp_path: Path, citations: str | None) -> None:
    found = write_and_read(tmp_path, metadata_xml=None, citations_txt=citations)
    assert found.doi == ""
    assert found.notes == [f"the archive has no metadata document; {NO_DOI}"]
    assert "--ReportDataset-doi" in NO_DOI


def test_the_doi_of_the_download_is_taken_from_its_title_if_its_identifiers_have_none(tmp_path: Path) -> None:
    document = make_eml(doi="x", title=f"GBIF Occurrence Download {DOI}")
    assert write_and_read(tmp_path, metadata_xml=document).doi == DOI


def test_several_archives_have_a_list_of_sources_and_their_texts_one_after_another(tmp_path: Path) -> None:
    paths = [
        download(tmp_path / "a.zip"),
        download(tmp_path / "b.zip", doi="10.15468/dl.second", members={"rights.txt": None}),
    ]
    with ExitStack() as stack:
        archives = [stack.enter_context(open_archive(path, label=path.name)) for path in paths]
        sources = write_sources(archives, tmp_path / "manifest", ["aa", "bb"])
    assert load_sources(tmp_path / "manifest") == tuple(sources)
    assert [(source.name, source.sha256, source.texts) for source in sources] == [
        ("a.zip", "aa", ("citations.txt", "rights.txt")), ("b.zip", "bb", ("citations.txt",)),
    ]  # fmt: skip
    citations = b"# a.zip\n\nAda (2024). Moths.\r\n\n# b.zip\n\nAda (2024). Moths.\r\n\n"
    assert (tmp_path / "manifest" / "citations.txt").read_bytes() == citations
    assert (tmp_path / "manifest" / "rights.txt").read_bytes().startswith(b"# a.zip\n\nDataset: Moths\n\xff")
    copies = copy_texts(sources, tmp_path / "manifest", tmp_path / "report")
    assert [path.name for path in copies] == ["citations.txt", "rights.txt"]


def test_a_missing_doi_names_its_archive_if_there_are_several() -> None:
    assert Source("a.zip").notes == [NO_DOI]
    assert Source("a.zip", label="a.zip~12ab").notes == [f"a.zip~12ab: {NO_DOI}"]


def test_the_doi_that_gbif_states_counts_where_the_archive_names_none(tmp_path: Path) -> None:
    paths = [download(tmp_path / "a.zip"), download(tmp_path / "b.zip", members={"metadata.xml": None})]
    for stated in ("10.15468/dl.stated", DOI.upper()):
        with ExitStack() as stack:
            archives = [
                stack.enter_context(open_archive(path, label=path.name, statement=DownloadStatement(doi=stated)))
                for path in paths
            ]
            sources = write_sources(archives, tmp_path / "manifest", ["aa", "bb"])
            notes = note_dois(archives, sources)
        assert [source.doi for source in sources] == [DOI, stated]
        assert notes == (
            [f"a.zip: it names the DOI {DOI}, but GBIF states {stated} of this download; the dataset cites the first"]
            if stated != DOI.upper()
            else []
        )
