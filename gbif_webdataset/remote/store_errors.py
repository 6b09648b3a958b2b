"""Errors of storage at a target."""

from typing import Self

from gbif_webdataset.errors import DatasetError


class TemporaryStoreError(Exception):
    """A request that may succeed when it is repeated. The text says what happened, without any secret."""


class StoreError(DatasetError):
    """A request that the target refuses for good."""

    @classmethod
    def missing(cls, place: str, name: str) -> Self:
        """Return the error for an object that dataset.json lists, but that is gone."""
        remedy = "restore it, or delete dataset.json there to publish the dataset as a new one"
        return cls.at(place, f"{name} is missing, which dataset.json lists", remedy)

    @classmethod
    def changed(cls, place: str, what: str) -> Self:
        """Return the error for a target that another process changed since this one read it."""
        problem = f"{what} since this command began, so another process publishes there"
        return cls.at(place, problem, "wait until it has ended, and repeat the command")


class UnansweredError(StoreError):
    """A request that failed in all attempts."""
