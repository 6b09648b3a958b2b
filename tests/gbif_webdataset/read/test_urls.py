import time
from pathlib import Path

import pyarrow as pa
import pytest

from gbif_webdataset.read.urls import IS_HTTP, URL, read_urls, resolve_urls
from tests.support.archives import find_case
from tests.support.manifests import make_manifest

UNCHANGED = [
    "http://h.org/a.jpg", "HTTP://h.org/A.JPG", "http://h.org:80/a?b=c&d=e#f", "http://h.org", "http://h.org/a/My photo 1.jpg",
    "http://h.org/My%20photo.jpg", "http://h.org/100%.jpg", "http://h.org/Nymphé_ö.jpg", "http://h.org/img;jsessionid=1.jpg",
    "http://h.org/a|b.jpg", "http://h.org/a;b,c|d e", "http://h.org/herb%2FBR/full/!800,800/0/x.jpg", "http://h.org//i//v.jpg",
    "http://h.org/y%20z?n=%u00E9.jpg", "http://h.org/z/Caf%E9.jpg", "http://h.org/bb/../cc.jpg", "http://h.org/ee^1.jpg",
    "http://h.org/s/[2015]{x}.jpg", "http://h.org/ii.jpg.", "http://h.org/?u=http%3A%2F%2Fx.org%2Fa.jpg&w=1",
    "http://web.archive.org/web/2020/http://x.org/a.jpg", "http://h.org/x?u=http://y.org/a.jpg", "http://h.org/a?x=\\b",
    "http://h.org/x?a&amplitude=2", "http://h.org/\u0641\u200c\u0641.jpg", "http://user:pass@h.org/a.jpg", "http://[::1]/a.jpg",
    'http://h.org/O\'Brien (1) "x".jpg',
]  # fmt: skip
REPAIRED = {
    "http://h.org/b\\img\\2.jpg": "http://h.org/b/img/2.jpg", "http:\\\\h.org\\m.jpg": "http://h.org/m.jpg",
    "http:/h.org/l.jpg": "http://h.org/l.jpg", "https:h.org/l.jpg": "https://h.org/l.jpg",
    "http:///h.org/l.jpg": "http://h.org/l.jpg", "//h.org/o.jpg": "http://h.org/o.jpg",
    "www.h.org/o": "http://www.h.org/o", "h.org/p.jpg": "http://h.org/p.jpg", "127.0.0.1:80/p.jpg": "http://127.0.0.1:80/p.jpg",
    "http://h.org/k?mode=o&amp;pic=1.jpg": "http://h.org/k?mode=o&pic=1.jpg", "http://h.org/k?a&amp;amp;b": "http://h.org/k?a&b",
    "\ufeffhttp://h.org/t.jpg": "http://h.org/t.jpg", "http://h.org/u.jpg\u200b ": "http://h.org/u.jpg",
    "http://h.org/dd.jpg\u00a0": "http://h.org/dd.jpg", "http://http://h.org/w.jpg": "http://h.org/w.jpg",
    "http://https://h.org/w.jpg": "https://h.org/w.jpg", "<http://h.org/a.jpg>": "http://h.org/a.jpg",
    '"http://h.org/a.jpg"': "http://h.org/a.jpg", '<a href="http://h.org/aa.jpg">photo</a>': "http://h.org/aa.jpg",
    "<img class=x src='http://h.org/aa.jpg'/>": "http://h.org/aa.jpg", "see http://h.org/a.jpg": "http://h.org/a.jpg",
    "http://h.org/a\n.jpg": "http://h.org/a.jpg",
}  # fmt: skip
SEVERAL = [
    "http://h.org/1.jpg|http://h.org/2.jpg", "http://h.org/1.jpg | http://h.org/2.jpg", "http://h.org/1.jpg;http://h.org/2.jpg",
    "http://h.org/1.jpg, http://h.org/2.jpg", "http://h.org/1.jpg http://h.org/2.jpg", "http://h.org/1.jpg\nhttp://h.org/2.jpg",
    "Photos: http://h.org/1.jpg; http://h.org/2.jpg", "ftp://h.org/0.jpg|http://h.org/1.jpg|http:/h.org/2.jpg",
    "<a href=http://h.org/1.jpg>1</a> <a href=http://h.org/2.jpg>2</a>",
]  # fmt: skip
UNUSABLE = [
    "", "images/2.jpg", "654355.jpg", "MVZ.Herp/123", "urn:uuid:0f5c3a7e", "ftp://h.org/a.jpg", "C:\\img\\a.jpg",
    "\\\\server\\a.jpg", "http://", "http:// h.org/a.jpg", "no photo", "<a name='x'>",
]  # fmt: skip
SLOW = [
    "http:" * 100_000,
    ";" * 500_000,
    "<a " * 100_000,
    "&amp;" * 100_000,
    "a." * 200_000,
    "| http" * 80_000,
    "<" * 500_000,
]


@pytest.mark.parametrize("url", UNCHANGED)
def test_a_url_that_a_browser_would_request_is_unchanged(url: str) -> None:
    assert read_urls(url) == [url]


@pytest.mark.parametrize("text", REPAIRED)
def test_a_url_is_repaired_as_browsers_and_gbif_do(text: str) -> None:
    assert read_urls(text) == [REPAIRED[text]]


@pytest.mark.parametrize("text", SEVERAL)
def test_several_urls_in_a_cell_are_split_before_a_new_scheme(text: str) -> None:
    assert read_urls(text) == ["http://h.org/1.jpg", "http://h.org/2.jpg"]


@pytest.mark.parametrize("text", UNUSABLE)
def test_texts_that_are_not_urls_give_none(text: str) -> None:
    assert read_urls(text) == []


@pytest.mark.parametrize("text", SLOW, ids=lambda text: text[:6])
def test_long_texts_are_read_in_linear_time(text: str) -> None:
    start = time.perf_counter()
    read_urls(text)
    assert time.perf_counter() - start < 2


def resolve(columns: dict[str, list[str | None]], order: list[str]) -> list[tuple[str | None, bool]]:
    media = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    found = resolve_urls(media, order)
    return list(zip(found.column(URL).to_pylist(), found.column(IS_HTTP).to_pylist(), strict=True))


def test_the_first_column_with_a_usable_url_counts() -> None:
    columns = {
        "identifier": ["urn:x", "1.jpg", None, "http://h.org/i", None, "urn:x"],
        "accessURI": ["http://h.org/a", "http://h.org/b", "//h.org/c", "http://h.org/d", None, " x "],
    }
    assert resolve(columns, ["identifier", "accessURI"]) == [
        ("http://h.org/a", True), ("http://h.org/b", True), ("http://h.org/c", True), ("http://h.org/i", True),
        (None, False), ("urn:x", False),
    ]  # fmt: skip


def test_references_count_only_with_the_extension_of_an_image() -> None:
    columns = {
        "identifier": [None, "ftp://h.org/x", "ftp://h.org/x", "http://h.org/x y"],
        "references": ["http://h.org/page", "http://h.org/page.html", "http://h.org/a.JPG?x", "http://h.org/a.png"],
        "format": ["image/jpeg"] * 4,
    }
    assert resolve(columns, ["identifier"]) == [
        (None, False), ("ftp://h.org/x", False), ("http://h.org/a.JPG?x", True), ("http://h.org/x y", True),
    ]  # fmt: skip


def test_a_further_url_gives_a_further_row_with_the_same_values() -> None:
    media = pa.table({"identifier": ["http://h/1|http://h/2", "http://h/3"], "title": ["a", "b"]})
    found = resolve_urls(media, ["identifier"])
    assert found.select(["title", URL]).to_pylist() == [
        {"title": "a", URL: "http://h/1"}, {"title": "b", URL: "http://h/3"}, {"title": "a", URL: "http://h/2"},
    ]  # fmt: skip


def test_the_forms_of_a_public_archive_are_read_as_browsers_do(tmp_path: Path) -> None:
    manifest = make_manifest(find_case("archives/url-forms.zip"), tmp_path)
    assert manifest.reasons == {"not-http": 1}
    assert len(manifest.rows) == 46
    assert manifest.counts.further_urls == 5
    paths = {row["identifier"].removeprefix("http://127.0.0.1:18765") for row in manifest.rows}
    assert {
        "/b/img/2.jpg",
        "/l.jpg",
        "/m.jpg",
        "/o.jpg",
        "/k.php?mode=o&pic=12592079_1.jpg",
        "/u.jpg",
        "/aa.jpg",
    } <= paths
    assert {"/a/My photo 1.jpg", "/d/100%.jpg", "/i/a|b.jpg", "/h/img;jsessionid=1.jpg", "/n1.jpg", "/n2.jpg"} <= paths


def test_several_urls_in_a_cell_of_a_public_archive_are_several_images(tmp_path: Path) -> None:
    manifest = make_manifest(find_case("archives/several-urls-in-a-cell.zip"), tmp_path)
    assert (len(manifest.rows), manifest.counts.media_lines, manifest.counts.further_urls) == (6, 6, 3)
    assert len({row["image_path"] for row in manifest.rows}) == 6


def test_a_url_beside_an_identifier_that_is_not_a_url_is_found_in_a_public_archive(tmp_path: Path) -> None:
    manifest = make_manifest(find_case("archives/identifier-guid-beside-accessuri.zip"), tmp_path)
    assert {row["identifier"][-7:] for row in manifest.rows} == {"/g0.jpg", "/g1.jpg", "/g2.jpg"}
