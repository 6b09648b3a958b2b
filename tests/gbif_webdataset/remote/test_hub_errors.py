import errno

import pytest

from gbif_webdataset.remote.hub_errors import explain_hub_errors, find_disk_fault
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError

pytest.importorskip("huggingface_hub", reason="optional: needs pip install -e .[hub]")
ADDRESS = StoreAddress.parse("hf://datasets/me/moths")


class AnswerError(Exception):
    """An error of an HTTP library."""

    def __init__(self, status: int) -> None:
        super().__init__("hidden")
        self.response = type("Response", (), {"status_code": status})()


@pytest.mark.parametrize(("status", "kind"), [(403, StoreError), (400, StoreError), (429, TemporaryStoreError)])
def test_statuses_are_refusals_or_temporary(status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=str(status)) as raised, explain_hub_errors(ADDRESS):
        raise AnswerError(status)
    assert "hidden" not in str(raised.value)


def test_a_version_that_is_too_large_says_what_makes_it_smaller() -> None:
    with (
        pytest.raises(StoreError, match=r"too many files for the Hub \(HTTP 413\); make fewer shards"),
        explain_hub_errors(ADDRESS),
    ):
        raise AnswerError(413)


def test_faults_of_a_disk_are_found_among_the_causes() -> None:
    full, denied = OSError(errno.ENOSPC, "full"), PermissionError(errno.EACCES, "denied", "a.tar")
    for fault in (full, denied):
        error = RuntimeError("hidden")
        error.__cause__ = fault
        assert find_disk_fault(error) is fault
    for other in (ConnectionResetError(errno.ECONNRESET, "reset"), PermissionError(errno.EACCES, "firewall"), None):
        assert find_disk_fault(other) is None


def test_the_cause_of_an_error_has_the_status() -> None:
    with pytest.raises(StoreError, match=r"HTTP 507"), explain_hub_errors(ADDRESS):
        raise RuntimeError("hidden") from AnswerError(507)
