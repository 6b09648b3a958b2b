import threading
from pathlib import Path

import pytest

from gbif_webdataset.errors import FetchError, SelectionError
from gbif_webdataset.obtain.credentials import Credentials
from gbif_webdataset.obtain.occurrence_filters import OccurrenceFilters
from gbif_webdataset.obtain.request_download import Submission, make_request, submit_request
from gbif_webdataset.obtain.request_file import resolve_request, save_sent, write_request
from gbif_webdataset.obtain.species_list import NameMatch
from tests.support.gbif_api import COL, KEY, PASSWORD, USER, Download, GbifApi, Handler, give_status
from tests.support.obtain_run import ObtainRun

ME = Credentials(USER, PASSWORD)
MATCHES = [NameMatch("a", "A"), NameMatch("b"), NameMatch("c", "A"), NameMatch("d", "D")]
REQUEST = make_request(OccurrenceFilters(countries=("DK",)), MATCHES, COL)
SUBMIT = "/v1/occurrence/download/request"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_request(tmp_path / "request.json", REQUEST)
    return tmp_path / "request.json"


def submit(run: ObtainRun, path: Path) -> Submission:
    return submit_request(run.api, path, REQUEST, ME, run.pauses)


def test_a_request_is_a_darwin_core_archive_of_the_taxa_that_were_found() -> None:
    assert (REQUEST["format"], REQUEST["checklistKey"]) == ("DWCA", COL)
    assert REQUEST["predicate"]["predicates"][0]["values"] == ["A", "D"]
    with pytest.raises(SelectionError, match="GBIF found none of the names"):
        make_request(OccurrenceFilters(), [NameMatch("b")], COL)


def test_a_request_is_submitted_and_its_key_recorded(server: GbifApi, run: ObtainRun, path: Path) -> None:
    submission = submit(run, path)
    assert submission == Submission(resolve_request(path), is_earlier=False)
    assert list(server.downloads) == [submission.key]
    assert all("authorization" not in request.headers for request in server.requests("GET", "/files/"))


@pytest.mark.parametrize("status", ["SUCCEEDED", "RUNNING", "SUSPENDED"])
def test_an_equal_request_of_the_same_user_is_not_submitted_again(
    status: str, server: GbifApi, run: ObtainRun, path: Path
) -> None:
    for number in range(120):  # on a later page of the list
        server.add(f"{number:07}-260507073636908", request={"predicate": {"type": "and"}, "format": "DWCA"})
    key = "0000000-250507073636908"
    server.downloads = {key: Download(statuses=[status], request=dict(REQUEST)), **server.downloads}
    assert submit(run, path) == Submission(key, is_earlier=True)
    assert resolve_request(path) == key
    assert not server.requests("POST")


@pytest.mark.parametrize(("creator", "status"), [("somebody", "SUCCEEDED"), (USER, "FILE_ERASED"), (USER, "FAILED")])
def test_a_request_is_submitted_if_the_equal_one_is_of_no_use(
    creator: str, status: str, server: GbifApi, run: ObtainRun, path: Path
) -> None:
    server.add(creator=creator, statuses=[status], request=dict(REQUEST))
    assert not submit(run, path).is_earlier
    assert len(server.requests("POST")) == 1


def test_a_request_that_this_file_says_was_submitted_is_submitted_again_once_its_file_is_erased(
    server: GbifApi, run: ObtainRun, path: Path
) -> None:
    first = submit(run, path)
    assert submit(run, path) == Submission(first.key, is_earlier=True)
    server.downloads[first.key].statuses = ["FILE_ERASED"]
    assert not submit(run, path).is_earlier
    save_sent(path, REQUEST, "0009999-260507073636908")  # a key that GBIF does not have
    assert len(server.requests("POST")) == 2


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (420, "GBIF has not accepted the request, because .*; run the same command again when a download is ready"),
        (429, "GBIF has not accepted the request, because .*; run the same command again when a download is ready"),
        (503, "it is not certain .*; run the same command again later"),
        (500, "it is not certain .*; run the same command again later"),
    ],
)
def test_a_submission_is_never_repeated_by_itself(
    status: int, sentence: str, server: GbifApi, run: ObtainRun, path: Path
) -> None:
    server.before(SUBMIT, give_status(status))
    with pytest.raises(FetchError, match=f"status {status}: {sentence}"):
        submit(run, path)
    assert len(server.requests("POST")) == 1
    assert run.clock.pauses == []


def test_a_submission_whose_answer_was_lost_is_found_by_the_next_command(
    server: GbifApi, run: ObtainRun, path: Path
) -> None:
    is_accepted = threading.Event()

    def accept_and_reset(visit: object) -> None:
        visit.owner.add(request=dict(REQUEST), statuses=["PREPARING"])
        is_accepted.set()
        visit.reset()

    server.before(SUBMIT, accept_and_reset)
    with pytest.raises(FetchError, match="it is not certain that GBIF has accepted the request"):
        submit(run, path)
    assert is_accepted.wait(5)
    assert submit(run, path).is_earlier
    assert len(server.requests("POST")) == 1


def test_a_wrong_password_is_reported_before_anything_is_submitted(server: GbifApi, run: ObtainRun, path: Path) -> None:
    with pytest.raises(FetchError, match="user name or password is refused"):
        submit_request(run.api, path, REQUEST, Credentials(USER, "wrong"), run.pauses)
    assert not server.requests("POST")


def test_entries_of_the_list_that_describe_no_download_are_skipped(server: GbifApi, run: ObtainRun, path: Path) -> None:
    def list_downloads(visit: Handler) -> None:
        found = Download(request=dict(REQUEST))
        listed = [{"key": "?"}, None, {"results": []}, [], visit.metadata(KEY, found, "SUCCEEDED")]
        visit.send_json({"results": listed, "endOfRecords": True})

    server.before(f"/v1/occurrence/download/user/{USER}", list_downloads)
    assert submit(run, path) == Submission(KEY, is_earlier=True)


def test_a_list_that_is_no_list_is_an_error(server: GbifApi, run: ObtainRun, path: Path) -> None:
    server.before(f"/v1/occurrence/download/user/{USER}", lambda visit: visit.send_json([]))
    with pytest.raises(FetchError, match="the answer does not list your downloads"):
        submit(run, path)
