import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.fetch.inaturalist import AS_GIVEN, SIZES, change_photo_size
from gbif_webdataset.fetch.journal import journal_path
from gbif_webdataset.storage.chunks import chunk_name
from tests.support.faulty_server import FaultyServer
from tests.support.fetch_run import FetchRun
from tests.support.visits import Visit, photo

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
def test_the_url_of_a_photo_gets_the_requested_size(before: str, given: str, after: str, size: str) -> None:
    assert change_photo_size(f"{before}{given}{after}", size) == f"{before}{size}{after}"


@pytest.mark.parametrize(("before", "given", "after"), PHOTOS)
def test_as_given_leaves_urls_unchanged(before: str, given: str, after: str) -> None:
    assert change_photo_size(f"{before}{given}{after}", AS_GIVEN) == f"{before}{given}{after}"


def test_a_url_that_has_the_requested_size_is_unchanged() -> None:
    assert change_photo_size(f"{STATIC}/1/Large.jpg", "large") == f"{STATIC}/1/Large.jpg"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("url", OTHERS)
def test_urls_that_are_not_of_inaturalists_photos_are_unchanged(url: str, size: str) -> None:
    assert change_photo_size(url, size) == url


# Fetching in another size: the server acts as a proxy for static.inaturalist.org.

PHOTO = "http://static.inaturalist.org/photos"
NEVER = f"{PHOTO}/never"
URLS = {f"d/{number}.jpg": f"{PHOTO}/{number}/original.jpg?15" for number in (1, 2)}


@pytest.fixture
def run(tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> FetchRun:
    monkeypatch.setenv("http_proxy", server.url)
    for number in (1, 2):
        for size in SIZES[1:]:
            server.behaviours[f"{PHOTO}/{number}/{size}.jpg?15"] = _photo_of(number, size)
    return FetchRun(tmp_path / "dataset")


def _photo_of(number: int, size: str) -> Callable[[Visit], None]:
    return lambda visit: visit.answer(photo(f"{number} {size:<8}"))


def _check_size(run: FetchRun, size: str) -> None:
    """Check that both photos have this size, also in the ledger. Files of all sizes have the same length."""
    for name, row in run.read_ledger().items():
        assert run.read_image(name) == photo(f"{row['coreid']} {size:<8}")
        assert row["identifier"] == URLS[name]
        assert row["requested_url"] == row["final_url"] == URLS[name].replace("original", size)


def test_photos_have_the_requested_size_and_the_ledger_has_both_urls(run: FetchRun, server: FaultyServer) -> None:
    assert run.fetch(URLS, inaturalist_size="medium") == {"fetched": 2}
    _check_size(run, "medium")
    assert run.fetch(inaturalist_size="medium") == {"fetched": 2}
    assert server.count_requests() == 2


def test_each_change_of_the_size_fetches_the_photos_again(run: FetchRun, server: FaultyServer) -> None:
    for size in ("as-given", "large", "medium", "original"):
        assert run.fetch(URLS, inaturalist_size=size) == {"fetched": 2}
        _check_size(run, "original" if size == "as-given" else size)
    assert server.count_requests() == 8
    assert run.fetch(inaturalist_size="as-given") == {"fetched": 2}
    assert server.count_requests() == 8, "the archive names original"


def test_sizes_that_a_stopped_run_mixed_are_distinguished(run: FetchRun, server: FaultyServer) -> None:
    run.fetch(URLS, inaturalist_size="large")
    server.behaviours[f"{PHOTO}/2/small.jpg?15"] = lambda visit: visit.answer(b"", "500 Internal Server Error")
    run.stop_before_ledger(inaturalist_size="small", retries=0)
    assert journal_path(run.folder, 0).exists()
    server.log.clear()
    assert run.fetch(inaturalist_size="large") == {"fetched": 2}
    _check_size(run, "large")
    assert [request.path for request in server.log] == [f"{PHOTO}/1/large.jpg?15"]


@pytest.mark.parametrize("sizes", [(), ("small",), ("small", "large"), ("small", "large", "small")])
def test_a_new_manifest_does_not_mix_up_sizes(run: FetchRun, server: FaultyServer, sizes: tuple[str, ...]) -> None:
    """The journals of stopped runs may have both sizes of a photo, one after the other."""
    run.fetch(URLS, inaturalist_size="large")
    server.behaviours[NEVER] = lambda visit: visit.answer(b"", "500 Internal Server Error")
    run.write_manifest(URLS | {"d/3.jpg": NEVER})
    for size in sizes:
        run.stop_before_ledger(inaturalist_size=size, retries=0)
    last, other = ("small", "large") if sizes[-1:] == ("small",) else ("large", "small")
    server.log.clear()
    moved = {"d/2.jpg": URLS["d/1.jpg"], "d/1.jpg": URLS["d/2.jpg"]}
    run.carry_over({}, moved)
    assert run.fetch(chunk=1, inaturalist_size=last) == {"fetched": 2}
    assert server.count_requests() == 0
    assert run.read_image("d/1.jpg") == photo(f"2 {last:<8}")
    assert run.fetch(chunk=1, inaturalist_size=other) == {"fetched": 2}
    assert run.read_image("d/2.jpg") == photo(f"1 {other:<8}")
    assert server.count_requests() == 2


def test_two_sizes_of_a_photo_in_the_archive_become_one_request(run: FetchRun, server: FaultyServer) -> None:
    urls = {"d/1.jpg": f"{PHOTO}/1/original.jpg?15", "d/2.jpg": f"{PHOTO}/1/medium.jpg?15"}
    assert run.fetch(urls, inaturalist_size="large") == {"fetched": 2}
    assert server.count_requests() == 1
    rows = run.read_ledger()
    assert {name: row["identifier"] for name, row in rows.items()} == urls
    assert {row["requested_url"] for row in rows.values()} == {f"{PHOTO}/1/large.jpg?15"}
    assert run.read_image("d/1.jpg") == run.read_image("d/2.jpg") == photo("1 large   ")


def test_the_cache_has_photos_in_the_size_that_the_archive_names(
    run: FetchRun, server: FaultyServer, tmp_path: Path
) -> None:
    older = tmp_path / "older" / "d"
    older.mkdir(parents=True)
    (older / "1.jpg").write_bytes(photo("1 original"))
    assert run.fetch(URLS, cache=older.parent, inaturalist_size="large") == {"fetched": 2}
    _check_size(run, "large")
    assert run.fetch(cache=older.parent) == {"fetched": 1, "cached": 1}
    assert run.read_ledger()["d/1.jpg"]["requested_url"] == URLS["d/1.jpg"]


def test_a_ledger_without_requested_urls_has_the_archives_urls(run: FetchRun, server: FaultyServer) -> None:
    run.fetch(URLS)
    path = run.folder / chunk_name(0)
    pq.write_table(pq.read_table(path).drop_columns("requested_url"), path)
    assert run.fetch() == {"fetched": 2}
    _check_size(run, "original")
    pq.write_table(pq.read_table(path).drop_columns("requested_url"), path)
    run.carry_over({}, URLS)
    assert run.fetch(chunk=1, inaturalist_size="original") == {"fetched": 2}
    assert server.count_requests() == 2
    assert run.fetch(chunk=1, inaturalist_size="small") == {"fetched": 2}
    assert server.count_requests() == 4


def test_a_journal_without_requested_urls_has_the_archives_urls(run: FetchRun, server: FaultyServer) -> None:
    server.behaviours[NEVER] = lambda visit: visit.answer(b"", "500 Internal Server Error")
    run.stop_before_ledger(URLS | {"d/3.jpg": NEVER}, retries=0)
    journal = journal_path(run.folder, 0)
    lines = [json.loads(line)[:11] for line in journal.read_text().splitlines()]
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert run.fetch(URLS) == {"fetched": 2}
    assert server.count_requests() == 3
