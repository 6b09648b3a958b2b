"""Titles of datasets in zips and folders; documents without a title have none."""

from pathlib import Path

import pytest

from gbif_webdataset.read.dataset_titles import MAX_DOCUMENT_BYTES, parse_title, read_titles
from tests.support.archives import write_folder, write_zip
from tests.support.published import DOI, EML, KEY, MOTHS

WITH_TITLE = EML.format(doi=DOI, key=KEY, title="Moths &amp; other\n  &#x17D;uželjke", query="")
TITLE = "Moths & other Žuželjke"
BOMB = '<!DOCTYPE e [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><eml><dataset><title>&b;</title></dataset></eml>'
OUTSIDE = '<!DOCTYPE e [<!ENTITY f SYSTEM "file:///etc/passwd">]><eml><dataset><title>&f;</title></dataset></eml>'
WITHOUT_TITLE = {
    "empty": b"", "text": b"no XML", "image": b"\xff\xd8\xff\xe0" * 50, "zeros": bytes(5000), "open": b"<eml><dataset><title",
    "entities": BOMB.encode(), "outside": OUTSIDE.encode(), "undefined": b"<eml><dataset><title>&x;</title>",
    "encoding": b'<?xml version="1.0" encoding="klingon"?><eml><dataset><title>x</title></dataset></eml>',
    "wide": b'<?xml version="1.0" encoding="utf-32"?><eml><dataset><title>x</title></dataset></eml>',
    "not utf-8": b"<eml><dataset><title>\xe9t\xe9</title></dataset></eml>", "blank": b"<eml><dataset><title> </title></dataset></eml>",
    "elsewhere": b"<eml><dataset><project><title>of a project</title></project></dataset></eml>",
    "late": b"<eml><dataset>" + b" " * MAX_DOCUMENT_BYTES + b"<title>x</title></dataset></eml>",
}  # fmt: skip


def write_archive(root: Path, kind: str, documents: dict[str, bytes | str]) -> Path:
    """A zip or a folder with these documents of datasets."""
    members = {f"dataset/{key}.xml": document for key, document in documents.items()} | {"meta.xml": "<archive/>"}
    return write_zip(root / "archive.zip", members) if kind == "zip" else write_folder(root / "archive", members)


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_titles_are_read_from_the_documents_of_the_archive(tmp_path: Path, kind: str) -> None:
    path = write_archive(
        tmp_path, kind, {MOTHS: WITH_TITLE, "other": WITH_TITLE.replace("Moths", "Birds"), **WITHOUT_TITLE}
    )
    assert read_titles(path, [MOTHS, "missing", "", "../meta", *WITHOUT_TITLE]) == {MOTHS: TITLE}
    assert read_titles(path, []) == {}


@pytest.mark.parametrize("name", WITHOUT_TITLE)
def test_a_document_without_a_title_gives_an_empty_one(name: str) -> None:
    assert parse_title(WITHOUT_TITLE[name][:MAX_DOCUMENT_BYTES]) == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_title_is_read_in_the_encoding_of_its_document(encoding: str) -> None:
    document = WITH_TITLE.replace('encoding="utf-8"', f'encoding="{encoding.removesuffix("-sig")}"')
    assert parse_title(document.encode(encoding)) == TITLE


def test_of_several_titles_the_first_that_is_not_blank_is_used() -> None:
    head = b"<eml><dataset><title> </title><title>first</title><title>second</title>"
    assert parse_title(head) == "first"
    assert parse_title(head + b"<broken") == "first"


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_only_the_beginning_of_a_large_document_is_read(tmp_path: Path, kind: str) -> None:
    huge = WITH_TITLE.replace("</abstract>", "<para>more</para>" * 60_000 + "</abstract>")
    assert len(huge) > 3 * MAX_DOCUMENT_BYTES
    assert read_titles(write_archive(tmp_path, kind, {MOTHS: huge}), [MOTHS]) == {MOTHS: TITLE}


def test_a_file_that_is_not_an_archive_has_no_titles(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    for name in ("missing.zip", "text.zip", "empty.zip"):
        assert read_titles(tmp_path / name, [MOTHS]) == {}


def test_a_damaged_or_expanding_zip_never_raises(tmp_path: Path) -> None:
    path = write_archive(tmp_path, "zip", {MOTHS: WITH_TITLE, "zeros": bytes(30_000_000)})
    assert read_titles(path, [MOTHS, "zeros"]) == {MOTHS: TITLE}
    whole = write_zip(tmp_path / "small.zip", {f"dataset/{MOTHS}.xml": WITH_TITLE}).read_bytes()
    found = set()
    for at in range(0, len(whole), 3):
        damaged = tmp_path / "damaged.zip"
        damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        found.add(read_titles(damaged, [MOTHS]).get(MOTHS, ""))
    assert found == {"", TITLE}
