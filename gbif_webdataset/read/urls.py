"""The URLs of media: the first usable one of several columns, several in one cell, and forms that browsers repair."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read.columns import SPACES, coalesce_columns, trim_texts
from gbif_webdataset.read.media_decisions import to_truths
from gbif_webdataset.storage import arrow

URL, IS_HTTP = "#url", "#http"
REFERENCES = "references"
SAFE = r"!$%'()*+,\-./0-9;=?@A-Z\[\]^_`b-z{|}~"
PLAIN = rf"^https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?([/?#]([a#{SAFE}]|&[{SAFE}])*&?)?$"
"""URLs that are taken as they are. All others are read one by one, which takes longer."""
HTTP = re.compile(r"https?://[^/?#\s]", re.IGNORECASE)
EDGES = SPACES + "\t\r\n\v\f\0\u200b\u200c\u200d\u2060\ufeff"
NEXT_URL = re.compile(r"[\s|;,]{1,20}(?=https?:[/\\])", re.IGNORECASE)
LINK = re.compile(r"""<(?:a|img)\s(?:[^<>]{0,500}\s)?(?:href|src)\s{0,9}=\s{0,9}["']?([^"'<>\s]+)""", re.IGNORECASE)
AMPERSAND = re.compile(r"&(?:(?:amp|#38|#x26);)+", re.IGNORECASE)
SCHEME = re.compile(r"(https?):[/\\]*", re.IGNORECASE)
REPEATED_SCHEME = re.compile(r"^(?:https?:[/\\]*)+(?=https?:[/\\])", re.IGNORECASE)
IMAGE_EXTENSION = re.compile(r"\.(?:jpe?g|jpe|jp2|png|gif|tiff?|bmp|webp|heic|avif|dng)$", re.IGNORECASE)
BARE_HOST = re.compile(
    r"(?:(?:[a-z0-9-]{1,63}\.){1,9}[a-z]{2,10}|(?:\d{1,3}\.){3}\d{1,3})(?::\d{1,5})?/", re.IGNORECASE
)


def resolve_urls(media: pa.Table, url_columns: Sequence[str]) -> pa.Table:
    """The media with the columns URL and IS_HTTP. A medium whose cell has several URLs gets a row for each.

    `url_columns` are the columns that may hold the URL, the preferred one first. The URL is the first usable one; if
    none is usable, the first text as it is. REFERENCES comes last, and only with the extension of an image: it is often
    a web page, and the medium's format says nothing about it.
    """
    if not media.num_rows:  # pyarrow combines no chunks by means of pandas
        return _add_columns(media, pa.nulls(0, pa.string()), np.zeros(0, bool))
    stated = coalesce_columns(media, url_columns)
    stated = arrow.decode_dictionary(stated).combine_chunks()
    is_plain = to_truths(pc.match_substring_regex(stated, PLAIN))
    others = np.flatnonzero(~is_plain)
    if not len(others):
        return _add_columns(media, stated, is_plain)
    names = [*url_columns, *([REFERENCES] if REFERENCES in media.column_names else [])]
    found = _find_urls(media.select(names).take(arrow.to_array(others)))
    is_found = np.array([bool(urls) for urls in found])
    mask, first = np.zeros(media.num_rows, bool), [urls[0] for urls in found if urls]
    mask[others[is_found]] = True
    urls = trim_texts(pc.replace_with_mask(stated, arrow.to_array(mask), arrow.to_text_array(first)))
    further = [(int(row), url) for row, urls in zip(others, found, strict=True) for url in urls[1:]]
    if further:
        rows = np.concatenate([np.arange(media.num_rows), np.array([row for row, _ in further])])
        media = media.take(arrow.to_array(rows))
        urls = pa.concat_arrays([urls, arrow.to_text_array([url for _, url in further])])
    return _add_columns(media, urls, np.append(is_plain | mask, np.ones(len(further), bool)))


def read_urls(text: str) -> list[str]:
    """The usable URLs in a text, in the form in which a browser would request them."""
    text = AMPERSAND.sub("&", text)
    links = LINK.findall(text) if "<" in text else []
    pieces = [piece for link in links or [text] for piece in NEXT_URL.split(link)]
    return [url for url in map(repair_url, pieces) if HTTP.match(url)]


def repair_url(text: str) -> str:
    """A URL with the repairs of browsers and GBIF: slashes, scheme, invisible characters. Others stay as they are."""
    url = text.strip(EDGES).strip("<>")
    if len(url) > 1 and url[0] == url[-1] and url[0] in "\"'":
        url = url[1:-1].strip(EDGES)
    if url.startswith("//"):
        url = f"http:{url}"
    elif url[:4].lower() == "www." or (BARE_HOST.match(url) and is_image_address(url)):
        url = f"http://{url}"
    url = REPEATED_SCHEME.sub("", url, count=1)
    scheme = SCHEME.match(url)
    if scheme is None:
        return url
    address, *query = re.split(r"(?=[?#])", url[scheme.end() :], maxsplit=1)
    url = f"{scheme[1]}://{address.replace(chr(92), '/')}{''.join(query)}"
    return re.sub(r"[\t\r\n]", "", url)


def is_image_address(url: str) -> bool:
    """Whether the path of a URL ends like an image's file."""
    return IMAGE_EXTENSION.search(re.split("[?#]", url, maxsplit=1)[0]) is not None


def _find_urls(rows: pa.Table) -> list[list[str]]:
    """The usable URLs of each row, all from the first column that has one."""
    found: list[list[str]] = [[] for _ in range(rows.num_rows)]
    for name in rows.column_names:
        for row, text in enumerate(rows.column(name).to_pylist()):
            if text and not found[row]:
                urls = read_urls(text)
                found[row] = list(filter(is_image_address, urls)) if name == REFERENCES else urls
    return found


def _add_columns(media: pa.Table, urls: pa.Array, is_http: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> pa.Table:
    return media.append_column(URL, pa.chunked_array([urls])).append_column(
        IS_HTTP, pa.chunked_array([arrow.to_array(is_http)])
    )
