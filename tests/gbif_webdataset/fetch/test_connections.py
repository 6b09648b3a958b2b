from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from gbif_webdataset.fetch.connections import PLAIN_URL, ConnectionPools
from gbif_webdataset.network.address_guard import AddressGuard

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


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1/My photo 1.jpg", "/My%20photo%201.jpg"),
        ("http://127.0.0.1/My%20photo.jpg", "/My%20photo.jpg"),
        ("http://127.0.0.1/100%.jpg", "/100%25.jpg"),
        ("http://127.0.0.1/My%20photo 100%.jpg", "/My%20photo%20100%25.jpg"),
        ("http://127.0.0.1/herb%2FBR1/!800,800.jpg", "/herb%2FBR1/!800,800.jpg"),
        ('http://127.0.0.1/O\'Brien (1) "x".jpg', "/O'Brien%20(1)%20%22x%22.jpg"),
        ("http://127.0.0.1/x?name=Café del mar&f=1%2B1", "/x?name=Caf%C3%A9%20del%20mar&f=1%2B1"),
        ("http://127.0.0.1/A%2B1+2|3.jpg", "/A%2B1+2%7C3.jpg"),
    ],
)
def test_characters_are_percent_encoded_once(url: str, target: str) -> None:
    pools = ConnectionPools(AddressGuard(("127.0.0.0/8",)), lambda *_: None, 1)  # type: ignore[arg-type, return-value]
    try:
        assert pools.find_route(url)[1] == target
    finally:
        pools.close()
