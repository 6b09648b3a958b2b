"""Upload files in parallel, within limits of bandwidth and memory."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from gbif_webdataset.remote.local_file import RecordedFile
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store import Store, find_unlisted
from gbif_webdataset.remote.store_errors import TemporaryStoreError
from gbif_webdataset.remote.stored_file import StoredFile
from gbif_webdataset.upload.published_version import PublishedObject
from gbif_webdataset.upload.server_copies import ServerCopies, is_copied
from gbif_webdataset.upload.upload_journal import UploadJournal

WORKERS = 16
MAX_BYTES_AT_ONCE = 256 << 20
"""Bytes of the files that are in memory at the same time; a larger file is alone."""


class BandwidthLimit:
    """Lets blocks start so that at most so many bytes per second are sent on average."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate, self._free_at, self._lock = bytes_per_second, time.monotonic(), threading.Lock()

    def wait(self, count: int, stopping: threading.Event) -> None:
        """Wait until a block of so many bytes may be sent after the blocks before it, or until `stopping` is set."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + count / self._rate
        stopping.wait(start - now)


class MemoryLimit:
    """Lets files be in memory as long as they have at most so many bytes together; a larger one is alone."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._used, self._changed = max_bytes, 0, threading.Condition()

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Wait until so many bytes fit; they are free again when the block ends."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + count <= self._max_bytes)
            self._used += count
        try:
            yield
        finally:
            with self._changed:
                self._used -= count
                self._changed.notify_all()


@dataclass(frozen=True)
class Transfer:
    """How objects are uploaded to a store. `progress` gets (bytes done, all bytes).

    With `copies` the server copies the files that are in the same bucket.
    """

    store: Store
    retries: Retries
    bytes_per_second: int = 0
    progress: Callable[[int, int], None] = lambda done, total: None
    copies: ServerCopies | None = None
    memory: MemoryLimit = field(default_factory=lambda: MemoryLimit(MAX_BYTES_AT_ONCE))

    def upload(self, files: Mapping[PublishedObject, RecordedFile], journal: UploadJournal) -> None:
        """Upload files, each as an object.

        Raises:
            DamagedFileError: a file differs from its record.
            StoreError: the target refuses an object.
        """
        limit, total = BandwidthLimit(self.bytes_per_second), sum(file.size for file in files.values())
        done, lock = [0], threading.Lock()

        def pace(count: int) -> None:
            limit.wait(count, self.retries.stopping)
            if self.retries.stopping.is_set():
                raise TemporaryStoreError("the upload was stopped")

        def put(one: PublishedObject, file: RecordedFile) -> None:
            with self.memory.reserve(0 if is_copied(file, self.copies) else self.store.count_memory(file)):
                if self.retries.stopping.is_set():
                    return
                journal.begin(one)
                paced = replace(file, pace=pace) if self.bytes_per_second else file
                self.retries.run(lambda: self._put(one.name, paced))
            journal.add(one)
            with lock:
                done[0] += file.size
            self.progress(done[0], total)

        with ThreadPoolExecutor(WORKERS, "upload") as executor:
            futures = [executor.submit(put, one, file) for one, file in files.items()]
            try:
                _raise_first(futures)
            except BaseException:
                self.retries.stopping.set()
                executor.shutdown(cancel_futures=True)
                raise

    def check_sources(self, files: Iterable[RecordedFile]) -> None:
        """Raise DamagedFileError if a file in a bucket or a folder has another size there than in its record.

        Each file that is not listed with its size is asked for, because lists may be late.
        """
        stored = [file for file in files if isinstance(file, StoredFile)]
        if not stored:
            return
        store, retries = stored[0].store, replace(self.retries, place=stored[0].address.option, count=0)
        try:
            sizes = retries.run(store.list_sizes)
            for file in stored:
                if sizes.get(file.name) != file.size and retries.run(partial(store.find_size, file.name)) != file.size:
                    raise file.make_error()
        finally:
            self.retries.count += retries.count

    def find_unlisted(self, objects: Iterable[PublishedObject]) -> list[PublishedObject]:
        """The objects that the target does not list with their size, though it is asked again, as lists may be late."""
        by_name = {one.name: one for one in objects}
        sizes = {name: one.bytes for name, one in by_name.items()}
        return [by_name[name] for name in find_unlisted(self.store, self.retries, sizes)]

    def _put(self, name: str, file: RecordedFile) -> None:
        if self.copies is not None and isinstance(file, StoredFile):
            self.copies.copy(file, name)
        else:
            self.store.put(name, file)


def _raise_first(futures: Sequence["Future[None]"]) -> None:
    """Wait for all futures, and raise the error of the first that fails."""
    ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in ended:
        future.result()
