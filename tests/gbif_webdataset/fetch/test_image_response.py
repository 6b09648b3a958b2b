import io
import time
from collections.abc import Iterator

import pytest

from gbif_webdataset.fetch.download import Downloader
from gbif_webdataset.fetch.image_response import Download, DownloadError
from gbif_webdataset.network.address_guard import AddressGuard
from gbif_webdataset.terms.outcomes import FetchFailure
from tests.support.faulty_server import FaultyServer
from tests.support.fetch_run import limits
from tests.support.response_cases import CASES
from tests.support.visits import JPEG

LOOPBACK = AddressGuard(["127.0.0.1/32"])


@pytest.fixture
def downloader() -> Iterator[Downloader]:
    with Downloader(limits(), LOOPBACK) as downloader:
        yield downloader


@pytest.mark.parametrize("seconds", ["30", "date"])
def test_retry_after_is_parsed_as_seconds_and_as_a_date(
    server: FaultyServer, downloader: Downloader, seconds: str
) -> None:
    in_30_seconds = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    stated = in_30_seconds if seconds == "date" else seconds
    server.behaviours["busy"] = lambda visit: visit.answer(b"", "503 Service Unavailable", Retry_After=stated)
    with pytest.raises(DownloadError) as raised:
        downloader.download_image(f"{server.url}/busy", io.BytesIO())
    assert 25 < raised.value.retry_after <= 30


@pytest.mark.parametrize("path", [name for name, case in CASES.items() if case.code == "opted-out"])
def test_opted_out_images_are_downloaded_without_respect_opt_out(server: FaultyServer, path: str) -> None:
    with Downloader(limits(respect_opt_out=False), LOOPBACK) as downloader:
        assert downloader.download_image(f"{server.url}/{path}", io.BytesIO()).bytes == len(JPEG)


@pytest.mark.parametrize(
    ("code", "status", "is_host_failure", "is_busy"),
    [
        (FetchFailure.TIMEOUT, None, True, False),
        (FetchFailure.TOO_MANY_REQUESTS, 429, True, True),
        (FetchFailure.SERVER_ERROR, 503, True, True),
        (FetchFailure.SERVER_ERROR, 500, True, False),
        (FetchFailure.NOT_FOUND, 404, False, False),
        (FetchFailure.NOT_AN_IMAGE, 200, False, False),
    ],
)
def test_an_error_tells_whether_the_host_is_down_or_busy(
    code: str, status: int | None, is_host_failure: bool, is_busy: bool
) -> None:
    error = DownloadError(code, Download(status))
    assert (error.is_host_failure, error.is_busy) == (is_host_failure, is_busy)
