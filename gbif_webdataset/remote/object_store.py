"""Objects in a bucket of S3, Google Cloud Storage or Azure, through obstore.

An object of up to MAX_PUT_BYTES is one request, which is faster than parts; if the speed is limited, one of up to
PART_BYTES. On S3 and Azure a larger one is sent in parts. Azure forgets the parts of a killed upload by itself; for
those on S3 see s3_parts. On Google every object is one request, with all of its bytes in memory: obstore can send parts
there, but it cannot list and abort those of a killed upload, which Google keeps and charges for.
"""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gbif_webdataset.remote.local_file import LocalFile, RecordedFile
from gbif_webdataset.remote.object_errors import find_status, is_missing_bucket
from gbif_webdataset.remote.object_reader import ObjectReader
from gbif_webdataset.remote.open_store import open_object_store
from gbif_webdataset.remote.s3_parts import PART_BYTES, S3Parts
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError

MAX_PUT_BYTES = 128 << 20
MAX_COPY_BYTES = 5 << 30  # by one request to S3
AZURE_PARTS_AT_ONCE = 3
MAX_DELETED = 1_000  # by one request
DELETES_AT_ONCE = 16


class ObjectStore(ObjectReader):
    """The objects below a target's prefix; names are relative to it."""

    def put(self, name: str, file: RecordedFile) -> None:
        """Write an object, which exists completely or not at all.

        Raises:
            DamagedFileError: the file differs from its record.
        """
        import obstore

        attributes = {"Content-Type": file.media_type}
        with self._explained():
            if not self._has_parts(file.size, PART_BYTES if file.pace else MAX_PUT_BYTES):
                obstore.put(self._writer, name, file.read(), attributes=attributes, use_multipart=False)
            elif self._target.scheme == "s3":
                self._parts.put(name, file)
            else:
                parts: Any = {"chunk_size": PART_BYTES, "max_concurrency": AZURE_PARTS_AT_ONCE}
                obstore.put(self._writer, name, file.iterate(PART_BYTES), attributes=attributes, **parts)

    def replace(self, name: str, content: bytes, old: bytes | None) -> None:
        """Write an object if its bytes are still `old`, with None if there was none.

        A server that knows no conditions gets the object without one, directly after it was read.

        Raises:
            StoreError: another process has changed it.
        """
        with self._explained():
            current, mode = _find_condition(self._store, name)
            if current is None and old is not None:
                raise StoreError.changed(self._target.option, f"{name} was deleted")
            # a server may have stored a part of an earlier attempt
            if current is not None and current != old and not content.startswith(current):
                raise StoreError.changed(self._target.option, f"{name} has changed")
            _put_if(self._store, name, content, mode)

    def copy(self, source: str, name: str, size: int) -> None:
        """Let the server copy an object of `size` bytes to another name."""
        import obstore

        with self._explained():
            if self._target.scheme == "s3" and size > MAX_COPY_BYTES:
                self._parts.copy(source, name)
                return
            try:
                obstore.copy(self._writer, source, name)
            except FileNotFoundError as error:
                if is_missing_bucket(error):
                    raise
                raise TemporaryStoreError(f"there is no {source}") from None

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects."""
        step = MAX_DELETED if self._target.scheme == "s3" else 1  # others fail at an object that is gone
        batches = [list(names[start : start + step]) for start in range(0, len(names), step)]
        with ThreadPoolExecutor(DELETES_AT_ONCE, "delete") as executor:
            for _ in executor.map(self._delete_batch, batches):
                pass

    def _delete_batch(self, names: list[str]) -> None:
        import obstore

        # a request that is repeated may have deleted it
        with self._explained(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, names)

    def abort_uploads(self, sizes: Mapping[str, int]) -> None:
        """Abort the unfinished uploads of objects of these sizes; a name with a slash at its end is all below it."""
        names = [name for name, size in sizes.items() if self._has_parts(size, PART_BYTES)]
        if self._target.scheme != "s3" or not names:
            return
        with self._explained():
            self._parts.abort(names)

    def count_memory(self, file: RecordedFile) -> int:
        """The bytes of a file that are in memory while it is sent."""
        return min(file.size, MAX_PUT_BYTES) if self._has_parts(file.size, MAX_PUT_BYTES) else file.size

    @functools.cached_property
    def _writer(self) -> Any:
        """The store with more time for each answer."""
        return open_object_store(self._target, is_writing=True)

    @functools.cached_property
    def _parts(self) -> S3Parts:
        """Made when it is first needed, which takes half a second."""
        return S3Parts(self._target)

    def _has_parts(self, count: int, max_put_bytes: int) -> bool:
        return count > max_put_bytes and self._target.scheme != "gs"


def _find_condition(store: Any, name: str) -> tuple[bytes | None, Any]:
    """The bytes of an object, or None if there is none, and the condition that it is still like that."""
    import obstore

    try:
        found = obstore.get(store, name)
        condition = {key: found.meta[key] for key in ("e_tag", "version") if found.meta.get(key)}
        return bytes(found.bytes()), condition
    except FileNotFoundError:
        return None, "create"


def _put_if(store: Any, name: str, content: bytes, mode: Any) -> None:
    """Write an object on a condition, or without one if the server knows none."""
    import obstore

    attributes = {"Content-Type": LocalFile.of_content(Path(name), content).media_type}
    try:
        obstore.put(store, name, content, attributes=attributes, use_multipart=False, mode=mode)
    except Exception as error:
        if type(error).__name__ != "NotImplementedError" and find_status(error) != "501":
            raise
        obstore.put(store, name, content, attributes=attributes, use_multipart=False)
