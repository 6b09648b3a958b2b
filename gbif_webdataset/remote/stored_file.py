"""A file of the dataset that is in a bucket or a folder, read in blocks and never copied to this machine."""

import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from gbif_webdataset.read_ahead import read_ahead
from gbif_webdataset.remote.local_file import RecordedFile
from gbif_webdataset.remote.store import Store
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import TemporaryStoreError
from gbif_webdataset.storage.target_record import TargetRecord

SHARDS_OPTION = "--CreateWebDataset-to"


@dataclass(frozen=True)
class StoredFile(RecordedFile):
    """An object below `address`, which is open as `store`; `path` is its name there."""

    store: Store
    address: StoreAddress

    @property
    def name(self) -> str:
        """Its name below the address."""
        return self.path.as_posix()

    @property
    def place(self) -> str:
        """The address of the object."""
        return f"{self.address.address}/{self.name}"

    def read_blocks(self, block_bytes: int) -> Iterator[bytes]:
        """The bytes of the object as it is now."""
        block, free = io.BytesIO(), block_bytes
        for received in self._receive():
            view = memoryview(received)
            while view:
                taken = block.write(view[:free])
                view, free = view[taken:], free - taken
                if not free:
                    yield block.getvalue()
                    block, free = io.BytesIO(), block_bytes
        if free < block_bytes:
            yield block.getvalue()

    def _receive(self) -> Iterator[bytes]:
        """The bytes as they arrive. A thread reads them: obstore panics if it is used while it asks for blocks."""
        try:
            with closing(read_ahead(self.store.iterate(self.name), 1)) as pieces:
                yield from pieces
        except TemporaryStoreError as error:  # which would otherwise be taken for one of the target
            raise TemporaryStoreError(f"{error} at {self.place}") from None


def find_shard_address(record: TargetRecord | None) -> StoreAddress | None:
    """The address that the record of CreateWebDataset has for the shards; None if they are on this machine's disk."""
    return StoreAddress.parse(record.store, option_name=SHARDS_OPTION) if record and record.store else None
