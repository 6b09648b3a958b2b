import pytest

from gbif_webdataset.fetch.fetch_options import RETRY_ALL, RETRY_CHOICES, RETRY_NONE, RETRY_TEMPORARY, is_retried
from gbif_webdataset.terms.outcomes import TEMPORARY_FAILURES, FetchFailure, Status


@pytest.mark.parametrize("retry_failed", RETRY_CHOICES)
@pytest.mark.parametrize("status", [Status.FETCHED, Status.CACHED])
def test_images_that_were_fetched_are_never_retried(status: Status, retry_failed: str) -> None:
    assert not is_retried(status, retry_failed)


@pytest.mark.parametrize("failure", [*FetchFailure, "http-418"])
def test_retry_failed_decides_which_failures_are_retried(failure: str) -> None:
    assert is_retried(failure, RETRY_ALL)
    assert not is_retried(failure, RETRY_NONE)
    assert is_retried(failure, RETRY_TEMPORARY) == (failure in TEMPORARY_FAILURES)
