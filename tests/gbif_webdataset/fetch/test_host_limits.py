import math
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.fetch import host_limits
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable, parse_host

DEFAULT, OWN = HostLimits(4, 5.0), HostLimits(2, 0.5)
HEADER = "host,connections,requests_per_second\n"


def table(path: Path, text: str) -> HostTable:
    """The limits with a user's table of this text."""
    path.write_text(text, encoding="utf-8")
    return host_limits.read_host_table(DEFAULT, path)


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
def test_a_host_has_the_limits_of_its_port_else_its_name_else_its_domain(
    tmp_path: Path, host: str, limits: HostLimits
) -> None:
    own = (
        "example.org,3,3\nphotos.example.org,1,1\nphotos.example.org:9000,9,9\n127.0.0.1:9001,7,0\n127.0.0.1,6,0\n"
        "[::1],5,0\n"
    )
    assert table(tmp_path / "own.csv", HEADER + own).find_limits(host) == limits


def test_hosts_for_bulk_downloads_have_higher_limits_than_the_default() -> None:
    shipped = host_limits.read_host_table(DEFAULT)
    assert shipped.find_limits("photos.museum.example") == DEFAULT
    assert shipped.find_limits("inaturalist-open-data.s3.amazonaws.com").requests_per_second == 0
    assert shipped.find_limits("bucket.s3.eu-west-1.amazonaws.com").connections > DEFAULT.connections


def test_a_line_of_the_users_table_overrides_hosts_csv_and_keeps_its_other_lines(tmp_path: Path) -> None:
    host = "static.inaturalist.org"
    own = table(tmp_path / "own.csv", f"{HEADER}{host},2,0.5\n")
    assert own.find_limits(host) == OWN
    assert host_limits.read_host_table(DEFAULT).find_limits(host) != OWN
    assert own.find_limits("upload.wikimedia.org") == host_limits.read_host_table(DEFAULT).find_limits(
        "upload.wikimedia.org"
    )


def test_a_table_may_have_comments_blank_lines_other_columns_capitals_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = (
        "\ufeff# Of our partners.\n\nwhy,requests_per_second,host,connections\nasked us,0.5, Photos.Example.ORG ,2\n\n"
    )
    assert table(tmp_path / "own.csv", text).find_limits("photos.example.org") == OWN


@pytest.mark.parametrize("chunks", [1, 2, 3, 4, 7])
def test_chunks_that_are_fetched_at_the_same_time_share_the_limits_of_a_host(chunks: int) -> None:
    part = HostLimits(10, 7).divide(chunks)
    assert math.isclose(part.requests_per_second * chunks, 7)
    assert part.connections == 10 // chunks
    assert HostLimits(8, 0).divide(chunks).requests_per_second == 0


def test_a_chunk_has_at_least_one_connection() -> None:
    assert DEFAULT.divide(100).connections == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the columns are missing; make host,connections,requests_per_second the first line"),
        ("example.org,4,5\n", "the columns are missing; make host,connections,requests_per_second the first line"),
        (
            f"# Ours.\n\n{HEADER}a.org,1,1\nb.org,many,5\n",
            "line 5: .*'many'; write a host and two numbers, separated by commas",
        ),
        (f"{HEADER}a.org,4\n", "line 2: .*; write a host and two numbers, separated by commas"),
        (f"{HEADER}a.org;4;5\n", "line 2: .*; write a host and two numbers, separated by commas"),
        (f"{HEADER}a.org,1.5,5\n", "line 2: .*; write a host and two numbers, separated by commas"),
        (f"{HEADER}a.org,0,5\n", "line 2: connections 0 is too low; set it to 1 or more"),
        (f"{HEADER}a.org,1,-1\n", "line 2: requests_per_second -1 is not a rate; set it to 0 .no limit. or more"),
        (f"{HEADER}a.org,1,nan\n", "line 2: requests_per_second nan is not a rate; set it to 0 .no limit. or more"),
        (f"{HEADER}a.org,1,inf\n", "line 2: requests_per_second inf is not a rate; set it to 0 .no limit. or more"),
        (f"{HEADER},1,1\n", "line 2: '' is not a host; write .* photos.example.org, or a domain such as example.org"),
        (f"{HEADER}https://a.org/,1,1\n", "line 2: 'https://a.org/' is not a host; write .*"),
    ],
)
def test_a_mistake_in_a_table_is_an_error_with_file_and_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "own.csv"
    with pytest.raises(ParameterError, match=rf"^--FetchChunk-host-limits {path}(, |: ){sentence}$"):
        table(path, text)


def test_a_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(
        ParameterError, match=r"^--FetchChunk-host-limits .*own\.csv: cannot be read .*; give a CSV file in UTF-8$"
    ):
        host_limits.read_host_table(DEFAULT, tmp_path / "own.csv")


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
def test_all_spellings_of_a_host_in_urls_give_the_same_host(url: str, host: str) -> None:
    assert parse_host(url) == host
