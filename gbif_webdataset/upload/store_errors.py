"""Errors of storage at a target."""

from gbif_webdataset.errors import DatasetError


class TemporaryStoreError(Exception):
    """A request that may succeed when it is repeated. The text says what happened, without any secret."""


class StoreError(DatasetError):
    """A request that the target refuses for good."""
