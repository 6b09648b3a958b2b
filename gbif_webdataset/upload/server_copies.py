"""Copies within a bucket or a folder, made by the server: the bytes do not pass through this machine."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gbif_webdataset.remote.local_file import RecordedFile
from gbif_webdataset.remote.open_store import find_endpoint
from gbif_webdataset.remote.store import Store, open_store
from gbif_webdataset.remote.store_address import FOLDER, StoreAddress
from gbif_webdataset.remote.stored_file import StoredFile


@dataclass(frozen=True)
class ServerCopies:
    """Copies of objects below `source` to names below `target`. `bucket` is the store that has both."""

    bucket: Store
    source: StoreAddress
    target: StoreAddress

    def copy(self, file: StoredFile, name: str) -> None:
        """Copy an object of `source` to a name at the target."""
        self.bucket.copy(_join(self.source.prefix, file.name), _join(self.target.prefix, name), file.size)


def find_server_copies(files: Iterable[RecordedFile], target: StoreAddress) -> ServerCopies | None:
    """What copies the files that are in the bucket of the target, or on this machine; None if there are none."""
    source = next((file.address for file in files if isinstance(file, StoredFile)), None)
    if source is None or _find_bucket(source) != _find_bucket(target):
        return None
    bucket = replace(target, prefix="/" if target.scheme == FOLDER else "", given_address=target.address)
    return ServerCopies(open_store(bucket), source, target)


def is_copied(file: RecordedFile, copies: ServerCopies | None) -> bool:
    """Whether the server copies a file, so that its bytes are not sent."""
    return copies is not None and isinstance(file, StoredFile)


def _find_bucket(address: StoreAddress) -> tuple[str, str, str]:
    return address.scheme, address.container, find_endpoint(address)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}/{name}".strip("/")
