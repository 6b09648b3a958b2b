import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.fetch.ledger import OUTCOME_COLUMNS
from gbif_webdataset.storage.image_store import FILES, PACKED
from tests.support.faulty_server import FaultyServer
from tests.support.fetch_run import FetchRun
from tests.support.response_cases import CASES
from tests.support.visits import photo


@pytest.fixture(params=[FILES, PACKED])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> FetchRun:
    return FetchRun(tmp_path / "dataset", request.param)


def test_another_number_of_chunks_fetches_nothing_again(run: FetchRun, server: FaultyServer) -> None:
    urls = {f"d/{name}.jpg": f"{server.url}/photo/{name}" for name in "abcdef"} | {"d/x.jpg": f"{server.url}/404"}
    rows = list(urls.items())
    for parts in (2, 3, 1, 7):
        run.carry_over(*(dict(rows[part::parts]) for part in range(parts)))
        for part in range(parts):
            run.fetch(chunk=part)
        found = {path: row["error"] for part in range(parts) for path, row in run.read_ledger(part).items()}
        assert found == {path: "not-found" if path == "d/x.jpg" else "" for path in urls}
    assert server.count_requests() == 7
    assert run.list_images() == {f"d/{name}.jpg" for name in "abcdef"}


def test_images_that_a_manifest_leaves_out_are_kept_for_the_next_one(run: FetchRun, server: FaultyServer) -> None:
    urls = {f"d/{name}.jpg": f"{server.url}/photo/{name}" for name in "abc"}
    run.carry_over(urls)
    run.fetch()
    run.carry_over({"d/a.jpg": urls["d/a.jpg"]})
    assert run.fetch() == {"fetched": 1}
    kept = pq.read_table(run.folder / "earlier" / "unused.parquet")
    assert kept.schema.equals(OUTCOME_COLUMNS)
    assert kept["image_path"].to_pylist() == ["d/b.jpg", "d/c.jpg"]
    run.carry_over({"d/c.jpg": urls["d/c.jpg"]}, urls)
    assert run.fetch(chunk=1) == {"fetched": 3}
    assert server.count_requests() == 3


def test_the_journal_of_an_unfinished_chunk_is_carried_over(run: FetchRun, server: FaultyServer) -> None:
    urls = {f"d/{name}.jpg": f"{server.url}/photo/{name}" for name in "ab"} | {"d/x.jpg": f"{server.url}/500"}
    run.carry_over(urls)
    run.stop_before_ledger(retries=0)
    server.behaviours.clear()
    run.carry_over({}, urls)
    assert not list(run.folder.glob("*.journal"))
    server.behaviours["500"] = CASES["good"].behave
    assert run.fetch(chunk=1) == {"fetched": 3}
    assert [request.path for request in server.log].count("/photo/a") == 1


def test_a_url_that_moves_to_several_chunks_is_copied_in_each(run: FetchRun, server: FaultyServer) -> None:
    url = f"{server.url}/photo/a"
    run.carry_over({"d/1.jpg": url})
    run.fetch()
    run.carry_over({"d/2.jpg": url}, {"e/3.jpg": url, "d/1.jpg": url})
    assert run.fetch(chunk=0) == {"fetched": 1}
    assert run.fetch(chunk=1) == {"fetched": 2}
    assert server.count_requests() == 1
    assert {run.read_image(name) for name in ("d/1.jpg", "d/2.jpg", "e/3.jpg")} == {photo("a")}


def test_a_path_that_changes_to_another_url_and_back_has_the_right_bytes(run: FetchRun, server: FaultyServer) -> None:
    a, b = f"{server.url}/photo/a", f"{server.url}/photo/b"
    assert len(photo("a")) == len(photo("b")), "only the ledger can distinguish them"
    for urls in ({"d/1.jpg": a}, {"d/1.jpg": b, "d/2.jpg": a}, {"d/1.jpg": a, "d/2.jpg": b}, {"d/2.jpg": a}):
        run.carry_over(urls)
        run.fetch()
        for name, url in urls.items():
            assert run.read_image(name) == photo(url[-1])
    assert server.count_requests() == 2


def test_bytes_that_another_url_replaced_are_downloaded_again(run: FetchRun, server: FaultyServer) -> None:
    a, b = f"{server.url}/photo/a", f"{server.url}/photo/b"
    for url in (a, b, a):
        run.carry_over({"d/1.jpg": url})
        assert run.fetch() == {"fetched": 1}
        assert run.read_image("d/1.jpg") == photo(url[-1])
    assert server.count_requests() == 3


def test_a_failed_url_at_a_path_does_not_change_the_bytes_of_the_earlier_url(
    run: FetchRun, server: FaultyServer
) -> None:
    a = f"{server.url}/photo/a"
    run.carry_over({"d/1.jpg": a})
    run.fetch()
    run.carry_over({"d/1.jpg": f"{server.url}/404", "d/2.jpg": a})
    assert run.fetch() == {"not-found": 1, "fetched": 1}
    run.carry_over({"d/1.jpg": a})
    assert run.fetch() == {"fetched": 1}
    assert run.read_image("d/1.jpg") == photo("a")
    assert [request.path for request in server.log] == ["/photo/a", "/404"]


@pytest.mark.parametrize("name", ["chunk-7", "a=b", "identifier=b", "moths [2024]", "o'brien", "a*b"])
@pytest.mark.parametrize("kind", [FILES, PACKED])
def test_special_characters_in_the_name_of_the_output_folder_change_nothing(
    tmp_path: Path, server: FaultyServer, name: str, kind: str
) -> None:
    run = FetchRun(tmp_path / name / "dataset", kind)
    urls = {f"d/{letter}.jpg": f"{server.url}/photo/{letter}" for letter in "ab"}
    for chunks in ([urls], [{}, urls], [urls]):
        run.carry_over(*chunks)
        assert run.fetch(chunk=len(chunks) - 1) == {"fetched": 2}
    assert server.count_requests() == 2


@pytest.mark.parametrize("moment", ["before the new one has its name", "before the old one is gone"])
def test_a_crash_while_outcomes_are_carried_over_loses_none(run: FetchRun, server: FaultyServer, moment: str) -> None:
    urls = {f"d/{name}.jpg": f"{server.url}/photo/{name}" for name in "abc"}
    run.carry_over(urls)
    run.fetch()
    run.carry_over({}, urls)
    run.fetch(chunk=0)
    earlier = run.folder / "earlier"
    if moment == "before the new one has its name":
        earlier.rename(run.folder / ".tmp-earlier-x1-old")
        (run.folder / ".tmp-earlier-x1").mkdir()
        (run.folder / ".tmp-earlier-x1" / ".tmp-chunk-00000.parquet-x").write_bytes(b"half a table")
    else:
        shutil.copytree(earlier, run.folder / ".tmp-earlier-x1-old")
    run.carry_over({}, {}, urls)
    assert run.fetch(chunk=2) == {"fetched": 3}
    assert server.count_requests() == 3
    assert sorted(path.name for path in run.folder.glob("*earlier*")) == ["earlier"]


def test_nothing_is_written_if_nothing_was_fetched_before(run: FetchRun) -> None:
    run.carry_over({"d/a.jpg": "http://a.org/a"})
    assert not run.folder.exists()


def test_files_of_older_versions_whose_names_are_devices_of_windows_are_moved_not_downloaded(
    tmp_path: Path, server: FaultyServer
) -> None:
    run = FetchRun(tmp_path / "dataset")
    urls = [f"{server.url}/photo/{name}" for name in "abc"]
    older = {"d/con.jpg": urls[0], "nul/1.jpg": urls[1], "nul/1_1.jpg": urls[2]}
    run.carry_over(older)
    run.fetch()
    before = {url: (run.images / path).read_bytes() for path, url in older.items()}
    manifest = {"d/xcon~1.jpg": urls[0], "xnul~2/1.jpg": urls[1], "xnul~2/1_1.jpg": urls[2], "e/5.jpg": urls[0]}
    run.carry_over(manifest)
    run.carry_over(manifest)
    assert run.fetch() == {"fetched": 4}
    assert server.count_requests() == 3
    assert run.list_images() == set(manifest)
    assert {path: (run.images / path).read_bytes() for path in manifest} == {
        path: before[url] for path, url in manifest.items()
    }
    assert not (run.images / "nul").exists()
