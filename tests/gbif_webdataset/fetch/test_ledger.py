import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import BusyError, FetchError
from gbif_webdataset.fetch.ledger import OUTCOME, Journal, Known, Outcome, journal_path, read_journal, table
from tests.support.faulty_server import CASES, MisbehavingServer, photo
from tests.support.fetch_run import Fetching


@pytest.fixture
def fetching(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path / "dataset")


def outcome(path: str = "d/a.jpg", url: str = "http://a.org/a", **changes: object) -> Outcome:
    values = {"status": "fetched", "http_status": 200, "attempts": 1, "bytes": 3, "sha256": "00"} | changes
    return Outcome(path, url, **values)  # type: ignore[arg-type]


# The journal.


def test_a_line_of_the_journal_is_there_before_the_journal_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "fetched" / "chunk-00000.journal"
    with Journal(path) as journal:
        journal.append(outcome())
        assert list(read_journal(path)) == [outcome()]
        journal.append(outcome("d/\u00fc\n.jpg", 'http://a.org/"', error="not-found", status="failed"))
    assert [each.image_path for each in read_journal(path)] == ["d/a.jpg", "d/\u00fc\n.jpg"]


def test_a_journal_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path), pytest.raises(BusyError, match="another process"), Journal(path):
        pass
    with Journal(path):
        pass


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_half_a_last_line_is_no_outcome_and_does_not_spoil_the_next(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.append(outcome("d/a.jpg"))
        journal.append(outcome("d/b.jpg"))
    path.write_bytes(path.read_bytes()[:-cut])
    assert [each.image_path for each in read_journal(path)] == ["d/a.jpg"]
    with Journal(path) as journal:
        journal.append(outcome("d/c.jpg"))
    assert [each.image_path for each in read_journal(path)] == ["d/a.jpg", "d/c.jpg"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_no_journal_holds_no_outcome(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "journal")) == []


# What is known.


def test_later_sources_stand_over_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "earlier").mkdir()
    for folder, code in (("earlier", "timeout"), (".", "connection")):
        pq.write_table(table([outcome(status="failed", error=code)]), tmp_path / folder / "chunk-00003.parquet")
    known = Known.load(tmp_path, 3).at("http://a.org/a", "d/a.jpg")
    assert known is not None
    assert known.error == "connection"
    with Journal(journal_path(tmp_path, 3)) as journal:
        journal.append(outcome())
    assert Known.load(tmp_path, 3).at("http://a.org/a", "d/a.jpg") == outcome()
    assert Known.load(tmp_path, 4).at("http://a.org/a", "d/a.jpg") is None


def test_the_bytes_of_a_url_are_known_at_every_path(tmp_path: Path) -> None:
    known = Known()
    known.add(outcome("d/a.jpg"))
    known.add(outcome("d/b.jpg"))
    known.add(outcome("d/c.jpg", status="failed", error="timeout"))
    assert [each.image_path for each in known.with_bytes("http://a.org/a")] == ["d/a.jpg", "d/b.jpg"]
    assert known.with_bytes("http://a.org/b") == []
    assert known.at("http://a.org/a", "d/z.jpg") is None


# A new manifest.


def test_another_number_of_chunks_fetches_nothing_again(fetching: Fetching, server: MisbehavingServer) -> None:
    urls = {f"d/{name}.jpg": f"{server.url}/photo/{name}" for name in "abcdef"} | {"d/x.jpg": f"{server.url}/404"}
    rows = list(urls.items())
    for parts in (2, 3, 1, 7):
        fetching.carry(*(dict(rows[part::parts]) for part in range(parts)))
        for part in range(parts):
            fetching.fetch(chunk=part)
        found = {path: row["error"] for part in range(parts) for path, row in fetching.ledger(part).items()}
        assert found == {path: "not-found" if path == "d/x.jpg" else "" for path in urls}
    assert server.asked() == 7
    assert fetching.files() == {f"d/{name}.jpg" for name in "abcdef"}


def test_what_a_manifest_leaves_out_is_there_for_the_next(fetching: Fetching, server: MisbehavingServer) -> None:
    urls = {f"d/{name}.jpg": f"{server.url}/photo/{name}" for name in "abc"}
    fetching.carry(urls)
    fetching.fetch()
    fetching.carry({"d/a.jpg": urls["d/a.jpg"]})
    assert fetching.fetch() == {"fetched": 1}
    kept = pq.read_table(fetching.folder / "earlier" / "unused.parquet")
    assert kept.schema.equals(OUTCOME)
    assert kept["image_path"].to_pylist() == ["d/b.jpg", "d/c.jpg"]
    fetching.carry({"d/c.jpg": urls["d/c.jpg"]}, urls)
    assert fetching.fetch(chunk=1) == {"fetched": 3}
    assert server.asked() == 3


def test_an_unfinished_chunk_is_carried_by_its_journal(fetching: Fetching, server: MisbehavingServer) -> None:
    urls = {f"d/{name}.jpg": f"{server.url}/photo/{name}" for name in "ab"} | {"d/x.jpg": f"{server.url}/500"}
    fetching.carry(urls)
    with pytest.raises(FetchError):
        fetching.fetch(retries=0, max_failed_share=0.1)
    server.behaviours.clear()
    fetching.carry({}, urls)
    assert not list(fetching.folder.glob("*.journal"))
    server.behaviours["500"] = CASES["good"].behave
    assert fetching.fetch(chunk=1) == {"fetched": 3}
    assert [request.path for request in server.log].count("/photo/a") == 1


def test_a_url_that_moves_to_other_chunks_is_copied_in_each(fetching: Fetching, server: MisbehavingServer) -> None:
    url = f"{server.url}/photo/a"
    fetching.carry({"d/1.jpg": url})
    fetching.fetch()
    fetching.carry({"d/2.jpg": url}, {"e/3.jpg": url, "d/1.jpg": url})
    assert fetching.fetch(chunk=0) == {"fetched": 1}
    assert fetching.fetch(chunk=1) == {"fetched": 2}
    assert server.asked() == 1
    assert {fetching.bytes_of(name) for name in ("d/1.jpg", "d/2.jpg", "e/3.jpg")} == {photo("a")}


def test_a_path_that_goes_to_another_url_and_back_is_not_mixed_up(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    a, b = f"{server.url}/photo/a", f"{server.url}/photo/b"
    assert len(photo("a")) == len(photo("b")), "only the ledger can tell them apart"
    for urls in ({"d/1.jpg": a}, {"d/1.jpg": b, "d/2.jpg": a}, {"d/1.jpg": a, "d/2.jpg": b}, {"d/2.jpg": a}):
        fetching.carry(urls)
        fetching.fetch()
        for name, url in urls.items():
            assert fetching.bytes_of(name) == photo(url[-1])
    assert server.asked() == 2


def test_bytes_that_another_url_replaced_are_forgotten(fetching: Fetching, server: MisbehavingServer) -> None:
    a, b = f"{server.url}/photo/a", f"{server.url}/photo/b"
    for url in (a, b, a):
        fetching.carry({"d/1.jpg": url})
        assert fetching.fetch() == {"fetched": 1}
        assert fetching.bytes_of("d/1.jpg") == photo(url[-1])
    assert server.asked() == 3


def test_a_url_that_failed_at_a_path_leaves_the_bytes_there_to_their_url(
    fetching: Fetching, server: MisbehavingServer
) -> None:
    a = f"{server.url}/photo/a"
    fetching.carry({"d/1.jpg": a})
    fetching.fetch()
    fetching.carry({"d/1.jpg": f"{server.url}/404", "d/2.jpg": a})
    assert fetching.fetch() == {"not-found": 1, "fetched": 1}
    fetching.carry({"d/1.jpg": a})
    assert fetching.fetch() == {"fetched": 1}
    assert fetching.bytes_of("d/1.jpg") == photo("a")
    assert [request.path for request in server.log] == ["/photo/a", "/404"]


@pytest.mark.parametrize("name", ["chunk-7", "a=b", "identifier=b", "moths [2024]", "o'brien", "a*b"])
def test_the_name_of_the_output_folder_means_nothing(tmp_path: Path, server: MisbehavingServer, name: str) -> None:
    fetching = Fetching(tmp_path / name / "dataset")
    urls = {f"d/{letter}.jpg": f"{server.url}/photo/{letter}" for letter in "ab"}
    for chunks in ([urls], [{}, urls], [urls]):
        fetching.carry(*chunks)
        assert fetching.fetch(chunk=len(chunks) - 1) == {"fetched": 2}
    assert server.asked() == 2


@pytest.mark.parametrize("moment", ["before the new one has its name", "before the old one is gone"])
def test_a_crash_while_outcomes_are_dealt_loses_none(
    fetching: Fetching, server: MisbehavingServer, moment: str
) -> None:
    urls = {f"d/{name}.jpg": f"{server.url}/photo/{name}" for name in "abc"}
    fetching.carry(urls)
    fetching.fetch()
    fetching.carry({}, urls)
    fetching.fetch(chunk=0)
    earlier = fetching.folder / "earlier"
    if moment == "before the new one has its name":
        earlier.rename(fetching.folder / ".tmp-earlier-x1-old")
        (fetching.folder / ".tmp-earlier-x1").mkdir()
        (fetching.folder / ".tmp-earlier-x1" / ".tmp-chunk-00000.parquet-x").write_bytes(b"half a table")
    else:
        shutil.copytree(earlier, fetching.folder / ".tmp-earlier-x1-old")
    fetching.carry({}, {}, urls)
    assert fetching.fetch(chunk=2) == {"fetched": 3}
    assert server.asked() == 3
    assert sorted(path.name for path in fetching.folder.glob("*earlier*")) == ["earlier"]


def test_there_is_nothing_to_carry_where_nothing_was_fetched(fetching: Fetching) -> None:
    fetching.carry({"d/a.jpg": "http://a.org/a"})
    assert not fetching.folder.exists()
