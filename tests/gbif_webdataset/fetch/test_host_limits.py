import math
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.fetch import host_limits
from gbif_webdataset.fetch.fetch_chunk import host_of
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable

DEFAULT, OWN = HostLimits(4, 5.0), HostLimits(2, 0.5)
HEADER = "host,connections,requests_per_second\n"


def table(path: Path, text: str) -> HostTable:
    """The table with the user's own in a file of this text."""
    path.write_text(text, encoding="utf-8")
    return host_limits.table(DEFAULT, path)


@pytest.mark.parametrize(
    ("host", "limits"),
    [
        ("photos.example.org", HostLimits(1, 1)),
        ("photos.example.org:8080", HostLimits(1, 1)),
        ("photos.example.org:9000", HostLimits(9, 9)),
        ("a.photos.example.org", HostLimits(1, 1)),
        ("example.org", HostLimits(3, 3)),
        ("www.example.org:443", HostLimits(3, 3)),
        ("127.0.0.1:9001", HostLimits(7, 0)),
        ("127.0.0.1:9002", HostLimits(6, 0)),
        ("[::1]:9001", HostLimits(5, 0)),
        ("notexample.org", DEFAULT),
        ("example.org.uk", DEFAULT),
        ("org", DEFAULT),
        ("", DEFAULT),
    ],
)
def test_a_host_has_the_limits_of_its_port_or_itself_or_the_domain_that_it_is_in(
    tmp_path: Path, host: str, limits: HostLimits
) -> None:
    own = (
        "example.org,3,3\nphotos.example.org,1,1\nphotos.example.org:9000,9,9\n127.0.0.1:9001,7,0\n127.0.0.1,6,0\n"
        "[::1],5,0\n"
    )
    assert table(tmp_path / "own.csv", HEADER + own).of(host) == limits


def test_what_is_meant_for_bulk_is_asked_more_than_a_museums_server() -> None:
    shipped = host_limits.table(DEFAULT)
    assert shipped.of("photos.museum.example") == DEFAULT
    assert shipped.of("inaturalist-open-data.s3.amazonaws.com").requests_per_second == 0
    assert shipped.of("bucket.s3.eu-west-1.amazonaws.com").connections > DEFAULT.connections


def test_the_users_own_line_goes_before_the_shipped_one_and_leaves_the_others(tmp_path: Path) -> None:
    host = "static.inaturalist.org"
    own = table(tmp_path / "own.csv", f"{HEADER}{host},2,0.5\n")
    assert own.of(host) == OWN
    assert host_limits.table(DEFAULT).of(host) != OWN
    assert own.of("upload.wikimedia.org") == host_limits.table(DEFAULT).of("upload.wikimedia.org")


def test_a_table_may_have_comments_blank_lines_other_columns_any_case_and_a_mark_at_its_start(tmp_path: Path) -> None:
    text = (
        "\ufeff# Of our partners.\n\nwhy,requests_per_second,host,connections\nasked us,0.5, Photos.Example.ORG ,2\n\n"
    )
    assert table(tmp_path / "own.csv", text).of("photos.example.org") == OWN


@pytest.mark.parametrize("chunks", [1, 2, 3, 4, 7])
def test_chunks_that_are_fetched_at_the_same_time_share_what_a_host_bears(tmp_path: Path, chunks: int) -> None:
    whole = table(tmp_path / "own.csv", f"{HEADER}example.org,10,7\nbulk.example,8,0\n")
    part = whole.divided(chunks)
    assert math.isclose(part.of("example.org").requests_per_second * chunks, 7)
    assert part.of("example.org").connections == 10 // chunks
    assert part.of("bulk.example").requests_per_second == 0
    assert math.isclose(part.of("other.example").requests_per_second * chunks, DEFAULT.requests_per_second)


def test_a_chunk_has_one_connection_at_least() -> None:
    assert HostTable(DEFAULT, {}).divided(100).of("a.example").connections == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "its first line must be host,connections,requests_per_second"),
        ("example.org,4,5\n", "its first line must be host,connections,requests_per_second"),
        (f"# Ours.\n\n{HEADER}a.org,1,1\nb.org,many,5\n", "line 5: .*'many'; write a host, two numbers, with commas"),
        (f"{HEADER}a.org,4\n", "line 2: .*; write a host, two numbers, with commas"),
        (f"{HEADER}a.org;4;5\n", "line 2: .*; write a host, two numbers, with commas"),
        (f"{HEADER}a.org,1.5,5\n", "line 2: .*; write a host, two numbers, with commas"),
        (f"{HEADER}a.org,0,5\n", "line 2: connections from 1, requests_per_second from 0"),
        (f"{HEADER}a.org,1,-1\n", "line 2: connections from 1, requests_per_second from 0"),
        (f"{HEADER}a.org,1,nan\n", "line 2: connections from 1, requests_per_second from 0"),
        (f"{HEADER}a.org,1,inf\n", "line 2: connections from 1, requests_per_second from 0"),
        (f"{HEADER},1,1\n", "line 2: '' is no host; write photos.example.org, or the domain example.org"),
        (f"{HEADER}https://a.org/,1,1\n", "line 2: 'https://a.org/' is no host; write .*"),
    ],
)
def test_a_table_that_can_not_be_read_is_answered_with_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "own.csv"
    with pytest.raises(ParameterError, match=rf"^host_limits {path}(, |: ){sentence}$"):
        table(path, text)


def test_a_file_that_is_no_text_is_answered_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ParameterError, match=r"^host_limits .*own\.csv can't be read: "):
        host_limits.table(DEFAULT, tmp_path / "own.csv")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://photos.example.org/a.jpg", "photos.example.org"),
        ("HTTPS://Photos.Example.ORG/a.jpg", "photos.example.org"),
        ("http://photos.example.org:80/a.jpg", "photos.example.org"),
        ("https://photos.example.org:443/a.jpg", "photos.example.org"),
        ("https://photos.example.org./a.jpg", "photos.example.org"),
        ("https://photos.example.org.:443?a", "photos.example.org"),
        ("http://photos.example.org:/a.jpg", "photos.example.org"),
        ("http://me:secret@photos.example.org/a.jpg", "photos.example.org"),
        ("http://photos.example.org:8080/a.jpg", "photos.example.org:8080"),
        ("https://photos.example.org:80/a.jpg", "photos.example.org:80"),
        ("http://[::1]:80/a.jpg", "[::1]"),
        ("http://[::80]/a.jpg", "[::80]"),
        ("http://", ""),
        ("a.jpg", ""),
    ],
)
def test_a_host_is_the_same_however_a_url_writes_it(url: str, host: str) -> None:
    assert host_of(url) == host
