"""Objects in a bucket of S3, Google Cloud Storage or Azure, through obstore.

An object of up to MAX_PUT_BYTES is one request. On S3 and Azure a larger one is sent in parts. Azure forgets the parts
of a killed upload by itself; for those on S3 see s3_parts. On Google every object is one request, because unfinished
parts cannot be listed there.
"""

import functools
import re
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.upload.local_file import LocalFile
from gbif_webdataset.upload.published_version import PublishedObject
from gbif_webdataset.upload.s3_parts import S3Parts
from gbif_webdataset.upload.store_errors import StoreError, TemporaryStoreError
from gbif_webdataset.upload.target import PublishTarget

MAX_PUT_BYTES = 128 << 20
AZURE_PART_BYTES, AZURE_PARTS_AT_ONCE = 32 << 20, 3
MAX_DELETED = 1_000  # by one request
LIST_CHUNK = 10_000
TIMEOUT = timedelta(minutes=30)
CONNECT_TIMEOUT = timedelta(seconds=10)
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
TEMPORARY_CODES = {"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "RequestTimeTooSkewed"}
"""Codes with HTTP status 400 of bodies that did not arrive as they were sent."""


class ObjectStore:
    """The objects below a target's prefix; names are relative to it."""

    def __init__(self, target: PublishTarget) -> None:
        self._target = target
        try:
            self._store = _open(target)
        except DatasetError:
            raise
        except Exception as error:  # obstore and boto3 have many kinds of errors of configuration
            raise self._explain(error) from None

    def read(self, name: str) -> bytes | None:
        """The bytes of an object; None if there is none."""
        import obstore

        try:
            return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError as error:
            if _find_code(error) == "NoSuchBucket" or "ContainerNotFound" in str(error):
                raise self._explain(error) from None
            return None
        except Exception as error:
            raise self._explain(error) from None

    def download(self, name: str, path: Path) -> None:
        """Write the bytes of an object to a file."""
        import obstore

        try:
            with path.open("wb") as file:
                for block in obstore.get(self._store, name):
                    file.write(block)
        except Exception as error:
            if isinstance(error, OSError) and error.filename is not None:  # of the file on this machine
                raise
            if isinstance(error, FileNotFoundError):
                raise StoreError.missing(self._target.option, name) from None
            raise self._explain(error) from None

    def put(self, name: str, file: LocalFile) -> None:
        """Write an object, which exists completely or not at all.

        Raises:
            DamagedFileError: the file differs from its record.
        """
        import obstore

        attributes = {"Content-Type": file.media_type}
        try:
            if not self._has_parts(file.size):
                obstore.put(self._store, name, file.read(), attributes=attributes, use_multipart=False)
            elif self._target.scheme == "s3":
                self._parts.put(name, file)
            else:
                blocks = file.iterate(AZURE_PART_BYTES)
                at_once = AZURE_PARTS_AT_ONCE
                obstore.put(
                    self._store,
                    name,
                    blocks,
                    attributes=attributes,
                    chunk_size=AZURE_PART_BYTES,
                    max_concurrency=at_once,
                )
        except DatasetError:
            raise
        except Exception as error:
            raise self._explain(error) from None

    def list_sizes(self) -> dict[str, int]:
        """The size of each object below the prefix, in bytes, by name."""
        import obstore

        try:
            chunks = obstore.list(self._store, chunk_size=LIST_CHUNK)
            return {item["path"]: item["size"] for chunk in chunks for item in chunk}
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise self._explain(error) from None

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects."""
        import obstore

        step = MAX_DELETED if self._target.scheme == "s3" else 1  # others fail at an object that is gone
        for start in range(0, len(names), step):
            try:
                obstore.delete(self._store, list(names[start : start + step]))
            except FileNotFoundError:  # a request that is repeated had deleted it
                continue
            except Exception as error:
                raise self._explain(error) from None

    def abort_uploads(self, objects: Collection[PublishedObject]) -> int:
        """Abort the unfinished uploads of these objects, which a killed run left; how many there were."""
        names = [one.name for one in objects if self._has_parts(one.bytes)]
        if self._target.scheme != "s3" or not names:
            return 0
        try:
            return self._parts.abort(names)
        except Exception as error:
            raise self._explain(error) from None

    def count_memory(self, file: LocalFile) -> int:
        """The bytes of a file that are in memory while it is sent."""
        return min(file.size, MAX_PUT_BYTES) if self._has_parts(file.size) else file.size

    @functools.cached_property
    def _parts(self) -> S3Parts:
        """Made when it is first needed, which takes half a second."""
        return S3Parts(self._target)

    def _has_parts(self, count: int) -> bool:
        return count > MAX_PUT_BYTES and self._target.scheme != "gs"

    def _explain(self, error: BaseException) -> Exception:
        """The error to raise. Its text has no part of the server's answer but its code: answers can have keys."""
        code, place = _find_code(error), self._target.option
        kind = type(error).__name__
        if code in FULL:
            return StoreError.at(place, f"the target has no space left ({code})", "free some space there, and repeat")
        if code in REDIRECTS or "redirect" in str(error):
            return StoreError.at(place, "the bucket is in another region", "set AWS_REGION to the region of the bucket")
        is_denied = kind in ("PermissionDeniedError", "UnauthenticatedError") or _find_status(error) in ("401", "403")
        if is_denied or "Credential" in kind or "Token" in kind:
            problem = f"the credentials may not read, list and write there ({code or kind})"
            remedy = "give others, or allow it (docs/publishing.md#credentials)"
            return StoreError.at(place, problem, remedy)
        if isinstance(error, FileNotFoundError):
            return StoreError.at(place, "there is no such bucket or container", "create it, or correct the address")
        if code in PERMANENT_CODES or (_find_status(error) in PERMANENT and code not in TEMPORARY_CODES):
            return StoreError.at(place, f"the target refuses a request ({code})", "check --to and --endpoint")
        if kind in ("UnknownConfigurationKeyError", "ValueError", "ProfileNotFound", "NotSupportedError"):
            return StoreError.at(
                place, f"the settings of the cloud are not valid ({kind})", "check --to and --endpoint"
            )
        return TemporaryStoreError(code or _describe_connection(error))


def _open(target: PublishTarget) -> Any:
    from obstore.store import AzureStore, GCSStore, S3Store

    options: dict[str, Any] = {
        "prefix": target.prefix or None,
        "retry_config": {"max_retries": 0},  # repeated requests are counted by the caller
        "client_options": {
            "allow_http": target.endpoint.startswith("http:"),
            "timeout": TIMEOUT,
            "connect_timeout": CONNECT_TIMEOUT,
        },
    }
    if target.endpoint:
        options["base_url" if target.scheme == "gs" else "endpoint"] = target.endpoint
    if target.scheme == "gs":
        return GCSStore(target.container, **options)
    if target.scheme == "az":
        return AzureStore(target.container, **options)
    return S3Store(target.container, credential_provider=_find_aws_credentials(target), **options)


def _find_aws_credentials(target: PublishTarget) -> Callable[[], Any]:
    """What finds the credentials as every AWS tool does: environment, profiles, SSO, roles of the machine."""
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = boto3.Session()
    if session.get_credentials() is None:
        problem = "there are no credentials for S3"
        raise StoreError.at(target.option, problem, "run `aws configure`, or see docs/publishing.md#credentials")
    return Boto3CredentialProvider(session)


def _find_code(error: BaseException) -> str:
    """The code in a server's answer, such as SlowDown, or its HTTP status; empty without an answer."""
    response: Any = getattr(error, "response", None)  # of boto3
    text = str(response.get("Error", {}).get("Code")) if isinstance(response, dict) else ""
    found = re.search(r"<Code>(\w{1,60})</Code>", str(error)) or re.fullmatch(r"([A-Za-z]\w{1,60})", text)
    return found[1] if found else _find_status(error)


def _find_status(error: BaseException) -> str:
    response: Any = getattr(error, "response", None)  # of boto3
    if isinstance(response, dict):
        return str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    found = re.search(r"status(?: code)?: (\d{3})\b", str(error))
    return found[1] if found else ""


def _describe_connection(error: BaseException) -> str:
    texts: Sequence[str] = ("timed out", "connect error", "Connection reset", "IncompleteMessage")
    return next((text for text in texts if text in str(error)), "connection failed").lower()
