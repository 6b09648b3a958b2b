"""Titles of datasets: found in zips and folders, and nothing of what is none."""

from pathlib import Path

import pytest

from gbif_webdataset.read.dataset_titles import MOST_BYTES, title, titles
from tests.support.archives import write
from tests.support.published import DOI, EML, KEY, MOTHS

SOUND = EML.format(doi=DOI, key=KEY, title="Moths &amp; other\n  &#x17D;uželjke", query="")
TITLE = "Moths & other Žuželjke"
BOMB = '<!DOCTYPE e [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><eml><dataset><title>&b;</title></dataset></eml>'
OUTSIDE = '<!DOCTYPE e [<!ENTITY f SYSTEM "file:///etc/passwd">]><eml><dataset><title>&f;</title></dataset></eml>'
RUBBISH = {
    "empty": b"", "text": b"no XML", "image": b"\xff\xd8\xff\xe0" * 50, "zeros": bytes(5000), "open": b"<eml><dataset><title",
    "entities": BOMB.encode(), "outside": OUTSIDE.encode(), "undefined": b"<eml><dataset><title>&x;</title>",
    "encoding": b'<?xml version="1.0" encoding="klingon"?><eml><dataset><title>x</title></dataset></eml>',
    "wide": b'<?xml version="1.0" encoding="utf-32"?><eml><dataset><title>x</title></dataset></eml>',
    "not utf-8": b"<eml><dataset><title>\xe9t\xe9</title></dataset></eml>", "blank": b"<eml><dataset><title> </title></dataset></eml>",
    "elsewhere": b"<eml><dataset><project><title>of a project</title></project></dataset></eml>",
    "late": b"<eml><dataset>" + b" " * MOST_BYTES + b"<title>x</title></dataset></eml>",
}  # fmt: skip


def archive(root: Path, kind: str, documents: dict[str, bytes | str]) -> Path:
    """A zip or a folder with these documents on datasets."""
    members = {f"dataset/{key}.xml": document for key, document in documents.items()} | {"meta.xml": "<archive/>"}
    if kind == "zip":
        return write(root / "archive.zip", members)
    for name, content in members.items():
        path = root / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root / "archive"


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_titles_are_those_of_the_documents_that_are_there(tmp_path: Path, kind: str) -> None:
    path = archive(tmp_path, kind, {MOTHS: SOUND, "other": SOUND.replace("Moths", "Birds"), **RUBBISH})
    assert titles(path, [MOTHS, "missing", "", "../meta", *RUBBISH]) == {MOTHS: TITLE}
    assert titles(path, []) == {}


@pytest.mark.parametrize("name", RUBBISH)
def test_a_document_without_a_title_tells_none(name: str) -> None:
    assert title(RUBBISH[name][:MOST_BYTES]) == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_title_is_read_in_the_encoding_of_its_document(encoding: str) -> None:
    document = SOUND.replace('encoding="utf-8"', f'encoding="{encoding.removesuffix("-sig")}"')
    assert title(document.encode(encoding)) == TITLE


def test_of_several_titles_the_first_that_says_something_is_told() -> None:
    head = b"<eml><dataset><title> </title><title>first</title><title>second</title>"
    assert title(head) == "first"
    assert title(head + b"<broken") == "first"


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_of_a_huge_document_the_beginning_is_enough(tmp_path: Path, kind: str) -> None:
    huge = SOUND.replace("</abstract>", "<para>more</para>" * 60_000 + "</abstract>")
    assert len(huge) > 3 * MOST_BYTES
    assert titles(archive(tmp_path, kind, {MOTHS: huge}), [MOTHS]) == {MOTHS: TITLE}


def test_an_archive_that_is_none_has_no_titles(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    for name in ("missing.zip", "text.zip", "empty.zip"):
        assert titles(tmp_path / name, [MOTHS]) == {}


def test_a_damaged_or_expanding_zip_never_raises(tmp_path: Path) -> None:
    path = archive(tmp_path, "zip", {MOTHS: SOUND, "zeros": bytes(30_000_000)})
    assert titles(path, [MOTHS, "zeros"]) == {MOTHS: TITLE}
    whole = write(tmp_path / "small.zip", {f"dataset/{MOTHS}.xml": SOUND}).read_bytes()
    told = set()
    for at in range(0, len(whole), 3):
        damaged = tmp_path / "damaged.zip"
        damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        told.add(titles(damaged, [MOTHS]).get(MOTHS, ""))
    assert told == {"", TITLE}
