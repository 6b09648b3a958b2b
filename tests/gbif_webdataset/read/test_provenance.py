"""Where an archive comes from: what ReadArchive writes beside the manifest."""

import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

from gbif_webdataset.read import provenance
from gbif_webdataset.read.provenance import Source, copy_texts, digest_in_background, load_source
from tests.support.archives import find_real_archive, write_folder
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
    assert load_source(tmp_path / "manifest") == found


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
        (BOMB, "declares entities"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><eml/>', "declares entities"),
        (BOMB.encode("utf-16"), "declares entities"),
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
    assert load_source(tmp_path / "manifest") == found


def test_the_texts_of_the_archive_are_copied_from_the_manifest(tmp_path: Path) -> None:
    source = write_and_read(tmp_path, rights_txt=None)
    assert copy_texts(source, tmp_path / "manifest", tmp_path / "report") == [tmp_path / "report" / "citations.txt"]
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
