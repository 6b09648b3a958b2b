"""Objects in a bucket of S3, Google Cloud Storage or Azure, read through obstore."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gbif_webdataset.errors import DatasetError
from gbif_webdataset.remote.local_file import write_blocks
from gbif_webdataset.remote.object_errors import explain_error, is_missing_bucket
from gbif_webdataset.remote.open_store import open_object_store
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError

LIST_CHUNK = 10_000
BLOCK_BYTES = 1 << 20
RANGE_BYTES = 8 << 20
"""Of one request to read. It ends before its bytes are used, so that no slow user of them reaches its time limit."""


class ObjectReader:
    """The objects below a target's prefix, to be read; names are relative to it."""

    def __init__(self, target: StoreAddress) -> None:
        self._target = target
        with self._explained():
            self._store = open_object_store(target)

    def read(self, name: str) -> bytes | None:
        """The bytes of an object; None if there is none."""
        with self._explained():
            return bytes(found.bytes()) if (found := _find_object(self._store, name)) else None

    def iterate(self, name: str) -> Iterator[bytes]:
        """The bytes of an object in blocks.

        Raises:
            FileNotFoundError: there is no such object.
        """
        size = self.find_size(name)
        if size is None or size <= RANGE_BYTES or not self._has_ranges(name):
            with self._explained():
                if found := _find_object(self._store, name):
                    yield from map(bytes, found.stream(min_chunk_size=BLOCK_BYTES))
                    return
            raise FileNotFoundError(name)
        for start in range(0, size, RANGE_BYTES):
            with self._explained():
                block = _find_range(self._store, name, start, min(start + RANGE_BYTES, size))
            if block is None:
                raise FileNotFoundError(name)
            yield block

    def download(self, name: str, path: Path) -> None:
        """Write the bytes of an object to a file.

        Raises:
            LocalFileError: the file cannot be written.
        """
        try:
            write_blocks(path, self.iterate(name))
        except FileNotFoundError:
            raise StoreError.missing(self._target.option, name) from None

    def find_size(self, name: str) -> int | None:
        """The size of an object in bytes; None if there is none."""
        import obstore

        with self._explained():
            try:
                return obstore.head(self._store, name)["size"]
            except FileNotFoundError:
                return None

    def list_sizes(self) -> dict[str, int]:
        """The size of each object below the prefix, in bytes, by name."""
        import obstore

        with self._explained():
            try:
                chunks = obstore.list(self._store, chunk_size=LIST_CHUNK)
                return {item["path"]: item["size"] for chunk in chunks for item in chunk}
            except FileNotFoundError:
                return {}

    def _has_ranges(self, name: str) -> bool:
        """Whether the server sends a part of an object; `rclone serve s3` sends it with the status of the whole."""
        with self._explained():
            try:
                _find_range(self._store, name, 0, 1)
            except Exception as error:
                if "NotPartial" not in str(error):
                    raise
                return False
            return True

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise the errors of obstore and boto3, of which there are many kinds, as sentences or temporary failures."""
        try:
            yield
        except (DatasetError, TemporaryStoreError):
            raise
        except Exception as error:
            raise explain_error(error, self._target.option) from None


def _find_object(store: Any, name: str) -> Any:
    """The answer of obstore for an object, whose bytes were not read yet; None if there is none."""
    import obstore

    try:
        return obstore.get(store, name)
    except FileNotFoundError as error:
        if is_missing_bucket(error):
            raise
        return None


def _find_range(store: Any, name: str, start: int, end: int) -> bytes | None:
    """The bytes of an object from `start` to before `end`; None if there is none."""
    import obstore

    try:
        return bytes(obstore.get_range(store, name, start=start, end=end))
    except FileNotFoundError as error:
        if is_missing_bucket(error):
            raise
        return None
