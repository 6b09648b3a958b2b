"""The address to which CreateWebDataset wrote its shards, and the objects that it has."""

from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

from gbif_webdataset.remote.recorded_objects import check_owner, list_objects
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store import Store, open_store
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.terms.shard_names import find_shard


class StoredShards:
    """The objects at an address to which the dataset in a folder wrote its shards.

    Nothing is read before the first request, and threads may share it after that.
    """

    def __init__(self, address: StoreAddress, dataset: Path) -> None:
        self.address, self._dataset = address, dataset
        self.retries = Retries(address.option)

    @cached_property
    def store(self) -> Store:
        """The open store."""
        return open_store(self.address)

    def list_sizes(self) -> dict[str, int]:
        """The size of each object in bytes, by name.

        Raises:
            StoreError: the address does not exist, refuses the request, does not answer, or has no shards.json of the
                dataset.
        """
        sizes = list_objects(self.address, self.store, self.retries)
        self.check_owner()
        return sizes

    def check_owner(self) -> None:
        """Read shards.json, so that a failure for another object is one of this object.

        Raises:
            StoreError: it cannot be read, or is not that of the dataset.
        """
        check_owner(self.address, self.store, self.retries, self._dataset)

    def name_file(self, name: str) -> str:
        """The address of an object, by which findings name it."""
        return f"{self.address.address}/{name}"


def list_unrecorded(listed: Collection[str], recorded: Collection[str]) -> Iterator[str]:
    """The names of objects that are named like those of CreateWebDataset, although no record names them."""
    shards = (name for name in sorted(listed) if name.startswith(".parts/") or find_shard(name))
    return (name for name in shards if name not in recorded)
