"""Storage in a bucket or a folder."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.local_file import RecordedFile
from gbif_webdataset.remote.object_store import ObjectStore
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store_address import FOLDER, StoreAddress, check_packages

LIST_ATTEMPTS = 4


class Store(Protocol):
    """Objects below a target's prefix."""

    def read(self, name: str) -> bytes | None:
        """The bytes of an object; None if there is none."""

    def iterate(self, name: str) -> Iterator[bytes]:
        """The bytes of an object in blocks, without the whole object in memory.

        Raises:
            FileNotFoundError: there is no such object.
        """

    def download(self, name: str, path: Path) -> None:
        """Write the bytes of an object to a file."""

    def put(self, name: str, file: RecordedFile) -> None:
        """Write an object."""

    def replace(self, name: str, content: bytes, old: bytes | None) -> None:
        """Write an object if its bytes are still `old`, with None if there was none.

        Raises:
            StoreError: another process has changed it.
        """

    def copy(self, source: str, name: str, size: int) -> None:
        """Write an object with the bytes of another one, which has so many bytes, without reading it here."""

    def find_size(self, name: str) -> int | None:
        """The size of an object in bytes; None if there is none."""

    def list_sizes(self) -> dict[str, int]:
        """The size of each object, by name."""

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects."""

    def count_memory(self, file: RecordedFile) -> int:
        """The bytes of a file that are in memory while it is sent."""

    def abort_uploads(self, sizes: Mapping[str, int]) -> None:
        """Remove what a killed run left of uploads of objects of these sizes, by name.

        A name that ends with a slash stands for all objects that begin with it.
        """


def open_store(address: StoreAddress) -> Store:
    """The storage at an address of a bucket or a folder.

    Raises:
        ParameterError: the package for such addresses is not installed.
        StoreError: there are no credentials, or the settings of the cloud are not valid.
    """
    check_packages(address.scheme, address.option_name)
    return FolderStore(address) if address.scheme == FOLDER else ObjectStore(address)


def find_unlisted(store: Store, retries: Retries, sizes: Mapping[str, int]) -> list[str]:
    """The objects that are not listed with their sizes, though the store is asked again, as lists may be late.

    Raises:
        StoreError: the store cannot be listed.
    """
    for attempt in range(LIST_ATTEMPTS):
        if attempt:
            retries.pause_before_repeat(attempt - 1)
        listed = retries.run(store.list_sizes)
        if not (unlisted := [name for name, size in sizes.items() if listed.get(name) != size]):
            return []
    return unlisted
