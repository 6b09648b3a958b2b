"""Buckets of S3, Google Cloud Storage and Azure, opened with the credentials of the cloud's own tools."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError

TIMEOUT = timedelta(minutes=30)
READ_TIMEOUT = timedelta(minutes=1)
"""For an answer, and between its blocks. It counts while a body is sent, and while the server copies an object."""
CONNECT_TIMEOUT = timedelta(seconds=10)


def open_object_store(address: StoreAddress, *, is_writing: bool = False) -> Any:
    """The store of obstore for an address. Names of objects are relative to its prefix.

    Only one that `is_writing` waits until a large body is sent, or copied by the server.

    Raises:
        StoreError: there are no credentials. Other errors are those of obstore and boto3.
    """
    from obstore.store import AzureStore, GCSStore, S3Store

    endpoint = find_endpoint(address)
    options: dict[str, Any] = {
        "prefix": address.prefix or None,
        "retry_config": {"max_retries": 0},  # repeated requests are counted by the caller
        "client_options": {
            "allow_http": endpoint.startswith("http:"),
            "timeout": TIMEOUT,
            "read_timeout": TIMEOUT if is_writing else READ_TIMEOUT,
            "connect_timeout": CONNECT_TIMEOUT,
        },
    }
    if endpoint:
        options["base_url" if address.scheme == "gs" else "endpoint"] = endpoint
    if address.scheme == "gs":
        return GCSStore(address.container, **options)
    if address.scheme == "az":
        return AzureStore(address.container, **options)
    return S3Store(address.container, credential_provider=_find_aws_credentials(address), **options)


def find_endpoint(address: StoreAddress) -> str:
    """The server of an address; without one, that of S3 which the environment names for every AWS tool, or empty."""
    if address.endpoint or address.scheme != "s3":
        return address.endpoint
    return (os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")).rstrip("/")


def _find_aws_credentials(address: StoreAddress) -> Callable[[], Any]:
    """What finds the credentials as every AWS tool does: environment, profiles, SSO, roles of the machine."""
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = boto3.Session()
    if session.get_credentials() is None:
        problem = "there are no credentials for S3"
        raise StoreError.at(address.option, problem, "run `aws configure`, or see docs/publishing.md#credentials")
    return Boto3CredentialProvider(session)
