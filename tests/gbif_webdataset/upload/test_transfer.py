import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError
from gbif_webdataset.remote.stored_file import StoredFile
from gbif_webdataset.upload.published_version import PublishedObject
from gbif_webdataset.upload.transfer import BandwidthLimit, MemoryLimit, Transfer
from gbif_webdataset.upload.upload_journal import UploadJournal


class MemoryStore:
    """A store in memory. The first `failures` requests fail; `hidden` names are missing in so many lists."""

    def __init__(self, failures: int = 0, refused: str = "", hidden: int = 0) -> None:
        self.objects: dict[str, bytes] = {}
        self.failures, self.refused, self.hidden = failures, refused, hidden
        self.lock = threading.Lock()

    def put(self, name: str, file: LocalFile) -> None:
        with self.lock:
            self.failures -= 1
            if self.failures >= 0:
                raise TemporaryStoreError("SlowDown")
        if name == self.refused:
            raise StoreError("refused")
        self.objects[name] = file.read()

    def replace(self, name: str, content: bytes, old: bytes | None) -> None:
        self.objects[name] = content

    def list_sizes(self) -> dict[str, int]:
        self.hidden -= 1
        return {} if self.hidden >= 0 else {name: len(data) for name, data in self.objects.items()}

    def read(self, name: str) -> bytes | None:
        return self.objects.get(name)

    def download(self, name: str, path: Path) -> None:
        path.write_bytes(self.objects[name])

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            del self.objects[name]

    def count_memory(self, file: LocalFile) -> int:
        return file.size

    def abort_uploads(self, objects: Collection[PublishedObject]) -> int:
        return 0


def files(count: int) -> dict[PublishedObject, LocalFile]:
    made = {f"{number}.csv": LocalFile.of_content(Path("x.csv"), b"x" * number) for number in range(count)}
    return {PublishedObject(name, name, file.size, file.sha256): file for name, file in made.items()}


def transfer(store: MemoryStore) -> Transfer:
    return Transfer(store, Retries("--to s3://b", pause=0))


def test_all_files_are_uploaded_and_noted(tmp_path: Path) -> None:
    store, found, progress = MemoryStore(failures=5), files(40), []
    sending = Transfer(
        store, Retries("--to s3://b", pause=0), progress=lambda done, total: progress.append((done, total))
    )
    with UploadJournal(tmp_path / "x.journal") as journal:
        sending.upload(found, journal)
        assert journal.times.keys() == found.keys()
    assert {name: len(data) for name, data in store.objects.items()} == {one.name: one.bytes for one in found}
    assert sending.retries.count == 5
    assert max(progress) == (780, 780)


def test_a_refusal_ends_the_upload(tmp_path: Path) -> None:
    store = MemoryStore(refused="0.csv")
    with UploadJournal(tmp_path / "x.journal") as journal, pytest.raises(StoreError, match="refused"):
        transfer(store).upload(files(200), journal)
    assert len(store.objects) < 200


def test_lists_that_are_late_are_asked_for_again() -> None:
    store, found = MemoryStore(hidden=2), list(files(3))
    store.objects = {one.name: b"x" * one.bytes for one in found}
    sending = transfer(store)
    assert sending.find_unlisted(found) == []
    assert sending.retries.count == 2


def test_objects_of_another_size_are_unlisted() -> None:
    store, found = MemoryStore(), list(files(3))
    store.objects = {"1.csv": b"x", "2.csv": b"x"}
    assert [one.name for one in transfer(store).find_unlisted(found)] == ["0.csv", "2.csv"]


def test_blocks_start_no_faster_than_the_bandwidth() -> None:
    limit, stopping = BandwidthLimit(1_000), threading.Event()
    start = time.monotonic()
    for _ in range(4):
        limit.wait(100, stopping)
    assert time.monotonic() - start >= 0.3


def test_memory_is_reserved_for_few_files_at_once() -> None:
    limit, used, largest, lock = MemoryLimit(100), [0], [0], threading.Lock()

    def use(count: int) -> None:
        with limit.reserve(count):
            with lock:
                used[0] += count
                largest[0] = max(largest[0], used[0] if count <= 100 else 0)
                assert used[0] == count or used[0] <= 100
            time.sleep(0.002)
            with lock:
                used[0] -= count

    threads = [threading.Thread(target=use, args=(count,)) for count in [30, 70, 10, 50, 400, 90] * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert used[0] == 0
    assert 0 < largest[0] <= 100


class BlockStore(MemoryStore):
    """A store that reads files in blocks of 100 bytes, and notes when each begins."""

    def __init__(self, refused: str = "") -> None:
        super().__init__(refused=refused)
        self.moments: list[float] = []

    def put(self, name: str, file: LocalFile) -> None:
        for _ in file.iterate(100):
            self.moments.append(time.monotonic())
        super().put(name, file)


def test_blocks_within_a_file_are_no_faster_than_the_bandwidth(tmp_path: Path) -> None:
    store, file = BlockStore(), LocalFile.of_content(Path("x.tar"), bytes(1_000))
    sending = Transfer(store, Retries("--to s3://b", pause=0), bytes_per_second=5_000)
    with UploadJournal(tmp_path / "x.journal") as journal:
        sending.upload({PublishedObject("x.tar", "x.tar", file.size, file.sha256): file}, journal)
    assert len(store.moments) == 10
    assert all(moment - store.moments[0] >= 0.02 * number for number, moment in enumerate(store.moments))


def test_a_refusal_ends_uploads_that_wait_for_bandwidth(tmp_path: Path) -> None:
    store, file = BlockStore(refused="0.csv"), LocalFile.of_content(Path("x.tar"), bytes(100_000))
    found = {**files(1), PublishedObject("x.tar", "x.tar", file.size, file.sha256): file}
    sending = Transfer(store, Retries("--to s3://b", pause=0), bytes_per_second=10)
    with UploadJournal(tmp_path / "x.journal") as journal, pytest.raises(StoreError, match="refused"):
        sending.upload(found, journal)
    assert "x.tar" not in store.objects


class LateStore(FolderStore):
    """A folder whose first list fails, and whose later lists have nothing."""

    failures = 1

    def list_sizes(self) -> dict[str, int]:
        self.failures -= 1
        if self.failures >= 0:
            raise TemporaryStoreError("SlowDown")
        return {}


def test_sources_are_asked_for_if_their_list_is_late_and_repeated_requests_are_counted(tmp_path: Path) -> None:
    address = StoreAddress.parse(f"file://{tmp_path}", option_name="--CreateWebDataset-to")
    store, content = LateStore(address), LocalFile.of_content(Path("a.tar"), b"data")
    store.put("a.tar", content)
    sending = Transfer(store, Retries("--to s3://b", pause=0))
    file = StoredFile(Path("a.tar"), content.size, content.sha256, store, address)
    sending.check_sources([file])
    assert sending.retries.count == 1
    for other in (replace(file, size=5), replace(file, path=Path("missing.tar"))):
        with pytest.raises(DamagedFileError, match=rf"^file://{tmp_path}/.*: changed since it was recorded"):
            sending.check_sources([other])
