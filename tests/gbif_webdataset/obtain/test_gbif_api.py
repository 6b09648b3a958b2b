from typing import Any

import pytest

from gbif_webdataset.errors import FetchError
from gbif_webdataset.obtain import gbif_api as client_side
from gbif_webdataset.obtain.credentials import Credentials
from gbif_webdataset.obtain.gbif_api import GbifDownload, GoneError, NotFoundError, remove_personal
from gbif_webdataset.obtain.http_client import TemporaryError
from tests.support.gbif_api import COL, DOI, KEY, PASSWORD, PREDICATE, USER, GbifApi, give_status, metadata_path
from tests.support.obtain_run import ObtainRun

REQUEST = {"predicate": PREDICATE, "format": "DWCA", "checklistKey": COL}


@pytest.mark.parametrize("name", [KEY, DOI])
def test_a_download_is_found_by_key_and_by_doi(name: str, server: GbifApi, run: ObtainRun) -> None:
    content = server.add().content
    download = run.api.find_download(name)
    assert (download.key, download.doi, download.status, download.size) == (KEY, DOI, "SUCCEEDED", len(content))
    assert download.link == f"{server.url}/v1/occurrence/download/request/{KEY}.zip"
    assert download.request == REQUEST | {"type": "OCCURRENCE"}


def test_our_name_is_sent(server: GbifApi, run: ObtainRun) -> None:
    server.add()
    run.api.find_download(KEY)
    assert server.log[0].headers["user-agent"].startswith("gbif-webdataset/")


@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [
        (404, NotFoundError, "GBIF has nothing there"),
        (410, GoneError, "GBIF has deleted it"),
        (400, FetchError, r"the request is refused \(status 400: <html>busy</html>\)"),
        (429, TemporaryError, "status 429"),
    ],
)
def test_a_status_is_an_error(
    status: int, error: type[Exception], sentence: str, server: GbifApi, run: ObtainRun
) -> None:
    server.before(metadata_path(), give_status(status))
    with pytest.raises(error, match=sentence):
        run.api.find_download(KEY)


@pytest.mark.parametrize(
    "answer",
    [{}, [1], {"results": [[]]}, {"key": "../../etc/passwd", "status": "SUCCEEDED"}, {"key": None}, "text", 3, None],
)
def test_an_answer_that_is_no_download_is_temporary(answer: Any, server: GbifApi, run: ObtainRun) -> None:
    server.before(metadata_path(), lambda visit: visit.send_json(answer))
    with pytest.raises(TemporaryError, match="does not describe a download"):
        run.api.find_download(KEY)


@pytest.mark.parametrize("answer", [[], {"results": []}])
def test_an_answer_without_a_download_means_that_there_is_none(answer: Any, server: GbifApi, run: ObtainRun) -> None:
    server.before(metadata_path(), lambda visit: visit.send_json(answer))
    with pytest.raises(NotFoundError, match="there is no download in it"):
        run.api.find_download(KEY)


def test_the_address_of_the_api_may_end_with_its_version(server: GbifApi, run: ObtainRun) -> None:
    server.add()
    assert client_side.GbifApi(run.client, f"{server.url}/v1/").find_download(KEY).key == KEY


@pytest.mark.parametrize("size", [None, "large", -1, True, 1.5])
def test_a_size_that_is_none_is_unknown(size: Any) -> None:
    assert GbifDownload.parse({"key": KEY, "size": size}).size == 0


def test_a_request_is_submitted_with_the_users_name_and_password(server: GbifApi, run: ObtainRun) -> None:
    key = run.api.submit(REQUEST, Credentials(USER, PASSWORD))
    assert server.downloads[key].request == REQUEST


def test_a_wrong_password_gives_a_sentence_without_it(run: ObtainRun) -> None:
    with pytest.raises(
        FetchError, match=r"user name or password is refused \(status 401\); correct GBIF_USER"
    ) as error:
        run.api.submit(REQUEST, Credentials(USER, "wr0ng"))
    assert "wr0ng" not in str(error.value)


def test_a_refused_request_quotes_gbif(run: ObtainRun) -> None:
    with pytest.raises(FetchError, match=r"status 400: Unknown JSON property 'names'\."):
        run.api.submit(REQUEST | {"names": []}, Credentials(USER, PASSWORD))


def test_an_answer_without_a_key_is_not_a_submission(server: GbifApi, run: ObtainRun) -> None:
    server.before("/v1/occurrence/download/request", lambda visit: visit.send(b"welcome", 200, "text/plain"))
    with pytest.raises(FetchError, match="the answer is not the key of a download"):
        run.api.submit(REQUEST, Credentials(USER, PASSWORD))


def test_what_a_request_says_of_its_user_is_removed() -> None:
    personal = {"creator": "moth", "notificationAddresses": ["a@example.org"], "sendNotification": True, "x": None}
    assert remove_personal(REQUEST | personal) == REQUEST
