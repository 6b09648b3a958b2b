import pytest

from gbif_webdataset.remote.retries import MAX_ATTEMPTS, Retries
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError


class Server:
    """Fails so often before it answers."""

    def __init__(self, failures: int) -> None:
        self.failures, self.requests = failures, 0

    def answer(self) -> int:
        self.requests += 1
        if self.requests <= self.failures:
            raise TemporaryStoreError("SlowDown")
        return self.requests


@pytest.mark.parametrize("failures", [0, 1, MAX_ATTEMPTS - 1])
def test_temporary_failures_are_repeated_and_counted(failures: int) -> None:
    retries, server = Retries("--to s3://b", pause=0), Server(failures)
    assert retries.run(server.answer) == failures + 1
    assert retries.count == failures


def test_the_last_failure_gives_one_sentence() -> None:
    retries, server = Retries("--to s3://b", pause=0), Server(MAX_ATTEMPTS)
    with pytest.raises(
        StoreError, match="--to s3://b: 8 attempts failed, the last one with: SlowDown; repeat the command"
    ):
        retries.run(server.answer)
    assert server.requests == MAX_ATTEMPTS


def test_refusals_are_not_repeated() -> None:
    retries = Retries("--to s3://b", pause=0)

    def refuse() -> None:
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        retries.run(refuse)
    assert retries.count == 0


def test_nothing_is_repeated_after_another_upload_has_failed() -> None:
    retries, server = Retries("--to s3://b", pause=60), Server(1)
    retries.stopping.set()
    with pytest.raises(StoreError):
        retries.run(server.answer)
    assert server.requests == 1
