import pytest

from gbif_webdataset.remote.object_errors import explain_error, is_missing_bucket
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("status: 403 <Code>AccessDenied</Code>", "may not read, list and write there"),
        ("status: 507", "no space left"),
        ("status: 301 <Code>PermanentRedirect</Code>", "another region"),
        ("status: 400 <Code>InvalidBucketName</Code>", "refuses a request"),
    ],
)
def test_refusals_are_sentences_without_the_answer(text: str, sentence: str) -> None:
    error = explain_error(OSError(f"{text} <Key>hidden</Key>"), "--dwca s3://b/x.zip")
    if "403" in text:
        error = explain_error(type("PermissionDeniedError", (Exception,), {})(text), "--dwca s3://b/x.zip")
    assert isinstance(error, StoreError)
    assert sentence in str(error)
    assert str(error).startswith("--dwca s3://b/x.zip: ")
    assert "hidden" not in str(error)


@pytest.mark.parametrize("text", ["status: 503 <Code>SlowDown</Code>", "status: 500", "Connection reset by peer"])
def test_other_failures_are_temporary(text: str) -> None:
    assert isinstance(explain_error(OSError(text), "--to s3://b"), TemporaryStoreError)


def test_a_missing_bucket_is_no_missing_object() -> None:
    assert is_missing_bucket(FileNotFoundError("status: 404 <Code>NoSuchBucket</Code>"))
    assert not is_missing_bucket(FileNotFoundError("status: 404 <Code>NoSuchKey</Code>"))
