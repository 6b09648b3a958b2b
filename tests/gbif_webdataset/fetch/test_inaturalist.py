import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.fetch.inaturalist import AS_GIVEN, SIZES, in_size
from gbif_webdataset.fetch.ledger import journal_path
from gbif_webdataset.storage.chunks import chunk_name
from tests.support.faulty_server import MisbehavingServer, Visit, photo
from tests.support.fetch_run import Fetching

STATIC, OPEN = "https://static.inaturalist.org/photos", "https://inaturalist-open-data.s3.amazonaws.com/photos"
PHOTOS = [
    (f"{STATIC}/1234/", "original", ".jpg?1545345"),
    (f"{STATIC}/1234/", "original", ".JPG?1545345"),
    (f"{STATIC}/1/", "medium", ".jpeg?"),
    (f"{OPEN}/98765/", "original", ".jpg"),
    (f"{OPEN}/98765/", "large", ".jpeg"),
    (f"{OPEN}/98765/", "square", ".PNG"),
    (f"{OPEN}/98765/", "thumb", ".gif"),
    ("HTTP://Static.iNaturalist.org/photos/7/", "small", ".Gif#here"),
]
OTHERS = [
    "https://www.inaturalist.org/photos/1234",
    "https://www.inaturalist.org/photos/1234/original.jpg",
    f"{STATIC}/1234/original.tiff",
    f"{STATIC}/1234/original",
    f"{STATIC}/1234/huge.jpg",
    f"{STATIC}/abc/original.jpg",
    f"{STATIC}/1234/original.jpg/original.jpg",
    f"{STATIC}/1234/originals.jpg",
    "https://static.inaturalist.org.example.org/photos/1234/original.jpg",
    "https://example.org/?https://static.inaturalist.org/photos/1234/original.jpg",
    "https://me@static.inaturalist.org/photos/1234/original.jpg",
    "https://static.inaturalist.org/sounds/1234/original.jpg",
    "",
]


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize(("before", "given", "after"), PHOTOS)
def test_a_photo_of_inaturalist_is_named_in_the_size(before: str, given: str, after: str, size: str) -> None:
    assert in_size(f"{before}{given}{after}", size) == f"{before}{size}{after}"


@pytest.mark.parametrize(("before", "given", "after"), PHOTOS)
def test_as_given_a_url_stays_as_it_stands(before: str, given: str, after: str) -> None:
    assert in_size(f"{before}{given}{after}", AS_GIVEN) == f"{before}{given}{after}"


def test_a_url_that_names_the_size_already_stays_letter_for_letter() -> None:
    assert in_size(f"{STATIC}/1/Large.jpg", "large") == f"{STATIC}/1/Large.jpg"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("url", OTHERS)
def test_any_other_url_stays_as_it_stands(url: str, size: str) -> None:
    assert in_size(url, size) == url


# Fetching in another size: the server stands in as a proxy for static.inaturalist.org.

PHOTO = "http://static.inaturalist.org/photos"
NEVER = f"{PHOTO}/never"
URLS = {f"d/{number}.jpg": f"{PHOTO}/{number}/original.jpg?15" for number in (1, 2)}


@pytest.fixture
def fetching(tmp_path: Path, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> Fetching:
    monkeypatch.setenv("http_proxy", server.url)
    for number in (1, 2):
        for size in SIZES[1:]:
            server.behaviours[f"{PHOTO}/{number}/{size}.jpg?15"] = _photo_of(number, size)
    return Fetching(tmp_path / "dataset")


def _photo_of(number: int, size: str) -> Callable[[Visit], None]:
    return lambda visit: visit.answer(photo(f"{number} {size:<8}"))


def _are_there_in(fetching: Fetching, size: str) -> None:
    """Both photos are there in this size, as the ledger says; the files of all sizes have the same length."""
    for name, row in fetching.ledger().items():
        assert fetching.bytes_of(name) == photo(f"{row['coreid']} {size:<8}")
        assert row["identifier"] == URLS[name]
        assert row["requested_url"] == row["final_url"] == URLS[name].replace("original", size)


def test_photos_come_in_the_size_asked_for_and_the_ledger_has_both_urls(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    assert fetching.fetch(URLS, inaturalist_size="medium") == {"fetched": 2}
    _are_there_in(fetching, "medium")
    assert fetching.fetch(inaturalist_size="medium") == {"fetched": 2}
    assert server.asked() == 2


def test_another_size_is_fetched_and_so_is_the_first_one_again(fetching: Fetching, server: MisbehavingServer) -> None:
    for size in ("as-given", "large", "medium", "original"):
        assert fetching.fetch(URLS, inaturalist_size=size) == {"fetched": 2}
        _are_there_in(fetching, "original" if size == "as-given" else size)
    assert server.asked() == 8
    assert fetching.fetch(inaturalist_size="as-given") == {"fetched": 2}
    assert server.asked() == 8, "original is what was given"


def test_sizes_that_a_stopped_run_mixed_are_told_apart(fetching: Fetching, server: MisbehavingServer) -> None:
    fetching.fetch(URLS, inaturalist_size="large")
    server.behaviours[f"{PHOTO}/2/small.jpg?15"] = lambda visit: visit.answer(b"", "500 Internal Server Error")
    with pytest.raises(FetchError):
        fetching.fetch(inaturalist_size="small", max_failed_share=0, retries=0)
    assert journal_path(fetching.folder, 0).exists()
    server.log.clear()
    assert fetching.fetch(inaturalist_size="large") == {"fetched": 2}
    _are_there_in(fetching, "large")
    assert [request.path for request in server.log] == [f"{PHOTO}/1/large.jpg?15"]


@pytest.mark.parametrize("sizes", [(), ("small",), ("small", "large"), ("small", "large", "small")])
def test_a_new_manifest_mixes_no_sizes_up(
    fetching: Fetching, server: MisbehavingServer, sizes: tuple[str, ...]
) -> None:
    """The journal of runs that were stopped may have both sizes of a photo, one after the other."""
    fetching.fetch(URLS, inaturalist_size="large")
    server.behaviours[NEVER] = lambda visit: visit.answer(b"", "500 Internal Server Error")
    fetching.ask_for(URLS | {"d/3.jpg": NEVER})
    for size in sizes:
        with pytest.raises(FetchError):
            fetching.fetch(inaturalist_size=size, max_failed_share=0, retries=0)
    last, other = ("small", "large") if sizes[-1:] == ("small",) else ("large", "small")
    server.log.clear()
    moved = {"d/2.jpg": URLS["d/1.jpg"], "d/1.jpg": URLS["d/2.jpg"]}
    fetching.carry({}, moved)
    assert fetching.fetch(chunk=1, inaturalist_size=last) == {"fetched": 2}
    assert server.asked() == 0
    assert fetching.bytes_of("d/1.jpg") == photo(f"2 {last:<8}")
    assert fetching.fetch(chunk=1, inaturalist_size=other) == {"fetched": 2}
    assert fetching.bytes_of("d/2.jpg") == photo(f"1 {other:<8}")
    assert server.asked() == 2


def test_two_sizes_in_the_archive_become_one_request(fetching: Fetching, server: MisbehavingServer) -> None:
    urls = {"d/1.jpg": f"{PHOTO}/1/original.jpg?15", "d/2.jpg": f"{PHOTO}/1/medium.jpg?15"}
    assert fetching.fetch(urls, inaturalist_size="large") == {"fetched": 2}
    assert server.asked() == 1
    rows = fetching.ledger()
    assert {name: row["identifier"] for name, row in rows.items()} == urls
    assert {row["requested_url"] for row in rows.values()} == {f"{PHOTO}/1/large.jpg?15"}
    assert fetching.bytes_of("d/1.jpg") == fetching.bytes_of("d/2.jpg") == photo("1 large   ")


def test_an_older_tree_has_photos_as_the_archive_names_them(
    fetching: Fetching, server: MisbehavingServer, tmp_path: Path
) -> None:
    older = tmp_path / "older" / "d"
    older.mkdir(parents=True)
    (older / "1.jpg").write_bytes(photo("1 original"))
    assert fetching.fetch(URLS, cache=older.parent, inaturalist_size="large") == {"fetched": 2}
    _are_there_in(fetching, "large")
    assert fetching.fetch(cache=older.parent) == {"fetched": 1, "cached": 1}
    assert fetching.ledger()["d/1.jpg"]["requested_url"] == URLS["d/1.jpg"]


def test_a_ledger_from_before_there_were_sizes_is_of_the_archives_urls(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    fetching.fetch(URLS)
    path = fetching.folder / chunk_name(0)
    pq.write_table(pq.read_table(path).drop_columns("requested_url"), path)
    assert fetching.fetch() == {"fetched": 2}
    _are_there_in(fetching, "original")
    pq.write_table(pq.read_table(path).drop_columns("requested_url"), path)
    fetching.carry({}, URLS)
    assert fetching.fetch(chunk=1, inaturalist_size="original") == {"fetched": 2}
    assert server.asked() == 2
    assert fetching.fetch(chunk=1, inaturalist_size="small") == {"fetched": 2}
    assert server.asked() == 4


def test_a_journal_from_before_there_were_sizes_is_of_the_archives_urls(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    server.behaviours[NEVER] = lambda visit: visit.answer(b"", "500 Internal Server Error")
    with pytest.raises(FetchError):
        fetching.fetch(URLS | {"d/3.jpg": NEVER}, max_failed_share=0, retries=0)
    journal = journal_path(fetching.folder, 0)
    lines = [json.loads(line)[:11] for line in journal.read_text().splitlines()]
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert fetching.fetch(URLS) == {"fetched": 2}
    assert server.asked() == 3
