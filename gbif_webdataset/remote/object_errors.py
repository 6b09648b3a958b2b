"""Errors of obstore and boto3 as sentences, or as temporary failures."""

import re
from collections.abc import Sequence
from typing import Any

from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError

FULL = {"507", "QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "EntityTooLarge", "StorageFull"}
"""HTTP status or error code of a target without space for the object."""
REDIRECTS = {"301", "307", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"}
"""HTTP statuses or error codes of a bucket in another region."""
PERMANENT = {"400", "405", "411", "413", "416", "501"}
"""HTTP statuses of a request that the target does not understand."""
PERMANENT_CODES = {
    "AccountIsDisabled",
    "AllAccessDisabled",
    "InvalidBucketName",
    "BillingDisabled",
    "UserProjectMissing",
}
MISSING_BUCKET = {"NoSuchBucket", "ContainerNotFound"}
TEMPORARY_CODES = {"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "RequestTimeTooSkewed"}
"""Codes with HTTP status 400 of bodies that did not arrive as they were sent."""


def explain_error(error: BaseException, place: str) -> Exception:
    """The error to raise; `place` is the option with the address.

    Its text has no part of the server's answer but its code: answers can have keys.
    """
    code = _find_code(error)
    kind = type(error).__name__
    if code in FULL:
        return StoreError.at(place, f"the target has no space left ({code})", "free some space there, and repeat")
    if code in REDIRECTS or "redirect" in str(error):
        return StoreError.at(place, "the bucket is in another region", "set AWS_REGION to the region of the bucket")
    is_denied = kind in ("PermissionDeniedError", "UnauthenticatedError") or find_status(error) in ("401", "403")
    if is_denied or "Credential" in kind or "Token" in kind:
        problem = f"the credentials may not read, list and write there ({code or kind})"
        remedy = "give others, or allow it (docs/publishing.md#credentials)"
        return StoreError.at(place, problem, remedy)
    if isinstance(error, FileNotFoundError) or code in MISSING_BUCKET:
        return StoreError.at(place, "there is no such bucket or container", "create it, or correct the address")
    if code in PERMANENT_CODES or (find_status(error) in PERMANENT and code not in TEMPORARY_CODES):
        return StoreError.at(place, f"the target refuses a request ({code})", "check the address and the endpoint")
    if kind in ("UnknownConfigurationKeyError", "ValueError", "ProfileNotFound", "NotSupportedError"):
        return StoreError.at(
            place, f"the settings of the cloud are not valid ({kind})", "check the address and the endpoint"
        )
    return TemporaryStoreError(code or _describe_connection(error))


def is_missing_bucket(error: FileNotFoundError) -> bool:
    """Whether it is the bucket or container that does not exist, not the object."""
    return _find_code(error) == "NoSuchBucket" or "ContainerNotFound" in str(error)


def _find_code(error: BaseException) -> str:
    """The code in a server's answer, such as SlowDown, or its HTTP status; empty without an answer."""
    response: Any = getattr(error, "response", None)  # of boto3
    text = str(response.get("Error", {}).get("Code")) if isinstance(response, dict) else ""
    found = re.search(r"<Code>(\w{1,60})</Code>", str(error)) or re.fullmatch(r"([A-Za-z]\w{1,60})", text)
    return found[1] if found else find_status(error)


def find_status(error: BaseException) -> str:
    """The HTTP status of the server's answer; empty without one."""
    response: Any = getattr(error, "response", None)  # of boto3
    if isinstance(response, dict):
        return str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    found = re.search(r"status(?: code)?: (\d{3})\b", str(error))
    return found[1] if found else ""


def _describe_connection(error: BaseException) -> str:
    texts: Sequence[str] = ("timed out", "connect error", "Connection reset", "IncompleteMessage")
    return next((text for text in texts if text in str(error)), "connection failed").lower()
