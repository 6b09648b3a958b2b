import pytest

from gbif_webdataset.terms.outcomes import (
    LIMIT_FAILURES,
    PERMANENT_FAILURES,
    REFUSALS,
    RETRIED_AT_ONCE,
    FetchFailure,
    Status,
    is_temporary,
)


def test_only_the_listed_failures_are_permanent() -> None:
    assert sorted(PERMANENT_FAILURES) == [
        "bad-url", "blocked-address", "gone", "http-451", "not-an-image", "not-found", "opted-out",
    ]  # fmt: skip


@pytest.mark.parametrize("code", [*FetchFailure, "http-202", "http-599", "of-a-later-version"])
def test_every_other_failure_is_temporary_or_retried_under_a_condition(code: str) -> None:
    conditional = code in PERMANENT_FAILURES | REFUSALS | LIMIT_FAILURES
    assert is_temporary(code) is not conditional


@pytest.mark.parametrize("status", ["", *Status])
def test_a_status_is_no_failure(status: str) -> None:
    assert not is_temporary(status)


def test_all_failures_that_a_run_retries_at_once_are_temporary() -> None:
    assert all(is_temporary(code) for code in RETRIED_AT_ONCE)
