from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from gbif_webdataset.fetch.connections import PLAIN_URL

PLAIN_URLS = (
    "https://inaturalist-open-data.s3.amazonaws.com/photos/123/original.jpg",
    "https://static.inaturalist.org/photos/123/original.jpeg?1609876543",
    "http://127.0.0.1:54321/7.jpg",
)
OTHERS = (
    "HTTPS://example.org/a.jpg",
    "https://Example.org/a.jpg",
    "https://example.org",
    "https://example.org/a/../b.jpg",
    "https://example.org//a.jpg",
    "https://example.org/a b.jpg",
    "https://example.org/a%20b.jpg",
    "https://example.org/ä.jpg",
    "https://müsli.example/a.jpg",
    "https://someone:secret@example.org/a.jpg",
    "https://example.org:0443/a.jpg",
    "https://example.org:65536/a.jpg",
    "https://example.org/a.jpg#b",
    "https://example.org/a.jpg?",
    "https://example.org/a.jpg\n",
    "ftp://example.org/a.jpg",
)


@settings(max_examples=300, deadline=None)
@given(st.from_regex(PLAIN_URL, fullmatch=True))
def test_requests_leaves_plain_urls_unchanged(url: str) -> None:
    request = requests.Request("GET", url).prepare()
    plain, parts = PLAIN_URL.fullmatch(url), urlsplit(url)
    assert plain
    assert request.url == url
    assert plain.groups() == (parts.scheme, parts.netloc, request.path_url)


@pytest.mark.parametrize("url", PLAIN_URLS)
def test_urls_of_gbifs_largest_hosts_are_plain(url: str) -> None:
    assert PLAIN_URL.fullmatch(url)


@pytest.mark.parametrize("url", OTHERS)
def test_urls_that_requests_might_change_are_not_plain(url: str) -> None:
    assert not PLAIN_URL.fullmatch(url)
