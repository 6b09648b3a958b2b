"""The order of what is written, and runs that end at each of its steps."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.remote.folder_store import FolderStore
from gbif_webdataset.remote.local_file import LocalFile
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.upload.prepare_version import PreparedVersion, prepare_version, read_published
from gbif_webdataset.upload.publish_options import PublishOptions
from gbif_webdataset.upload.publish_to_store import announce_version, prune, upload_copies, upload_objects
from gbif_webdataset.upload.published_version import NAME
from gbif_webdataset.upload.transfer import Transfer
from gbif_webdataset.upload.upload_journal import UploadJournal
from tests.support.publishable import Publishable, check_complete

NOW = "2026-11-28T12:00:00Z"


class WatchedStore(FolderStore):
    """A folder that notes the names of what is written, and refuses everything after `allowed` files."""

    def __init__(self, target: StoreAddress, allowed: int = 1_000) -> None:
        super().__init__(target)
        self.written: list[str] = []
        self.allowed, self.lock = allowed, threading.Lock()

    def put(self, name: str, file: LocalFile) -> None:
        with self.lock:
            if len(self.written) >= self.allowed:
                raise StoreError("no more")
            super().put(name, file)
            self.written.append(name)


@pytest.fixture
def dataset(tmp_path: Path) -> Publishable:
    return Publishable.made(tmp_path / "dataset", 16)


@pytest.fixture
def target(tmp_path: Path) -> StoreAddress:
    return StoreAddress.parse(f"file://{tmp_path}/target")


def prepare(dataset: Publishable, target: StoreAddress) -> PreparedVersion:
    published = read_published(FolderStore(target).read(NAME), target)
    return prepare_version(
        dataset.paths, target, published, PublishOptions(continues=published.dataset if published else "")
    )


def publish(dataset: Publishable, target: StoreAddress, allowed: int = 1_000) -> WatchedStore:
    store = WatchedStore(target, allowed)
    transfer, prepared = Transfer(store, Retries(target.option, pause=0)), prepare(dataset, target)
    try:
        with UploadJournal(dataset.paths.publish_journal(target.name)) as journal:
            upload_objects(transfer, prepared, journal)
            upload_copies(transfer, prepared, journal)
            version = replace(prepared.version, published_at=NOW)
            announce_version(transfer, prepared, journal, version, store.read(NAME))
    except StoreError:
        assert len(store.written) == allowed
    return store


def test_the_lists_are_written_last(dataset: Publishable, target: StoreAddress) -> None:
    written = publish(dataset, target).written
    prepared = prepare(dataset, target)
    assert written[-2:] == ["shards.csv", NAME]
    objects = {one.name for one in prepared.version.objects}
    assert set(written[: len(objects)]) == objects
    assert set(written[len(objects) : -1]) == set(prepared.version.copies)


def test_a_run_that_ended_anywhere_is_continued_and_readers_see_a_version_or_none(
    dataset: Publishable, target: StoreAddress
) -> None:
    read = FolderStore(target).read
    total = len(publish(dataset, target).written)
    dataset.paths.publish_journal(target.name).unlink()
    dataset.rows["train"] = dataset.rows["train"][1:]
    dataset.make("1.0.1")
    done: list[str] = []
    for _ in range(total):
        written = publish(dataset, target, allowed=3).written
        assert not set(written) & set(done)
        done += written
        if NAME in written:
            break
        assert check_complete(read).version == "1.0.0"
    assert check_complete(read).version == "1.0.1"


def test_prune_leaves_the_names_of_other_files(dataset: Publishable, target: StoreAddress) -> None:
    publish(dataset, target)
    dataset.rows["train"] = dataset.rows["train"][1:]
    dataset.make("1.0.1")
    publish(dataset, target)
    (Path(target.prefix) / "notes.txt").write_text("mine")
    store = FolderStore(target)
    version = prepare(dataset, target).version
    old = store.read(NAME)
    assert old is not None
    counts = prune(Transfer(store, Retries(target.option, pause=0)), version, old)
    assert counts.deleted == len(version.earlier) > 0
    assert set(store.list_sizes()) == {*version.names, NAME, "notes.txt"}
    assert check_complete(store.read).earlier == []


def test_prune_deletes_objects_that_late_lists_do_not_show(
    dataset: Publishable, target: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(dataset, target)
    dataset.rows["train"] = dataset.rows["train"][1:]
    dataset.make("1.0.1")
    publish(dataset, target)
    store, version = FolderStore(target), prepare(dataset, target).version
    old = store.read(NAME)
    assert old is not None
    monkeypatch.setattr(store, "list_sizes", dict)
    prune(Transfer(store, Retries(target.option, pause=0)), version, old)
    assert set(FolderStore(target).list_sizes()) == {*version.names, NAME}


def test_objects_that_could_not_be_deleted_are_still_named(
    dataset: Publishable, target: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(dataset, target)
    dataset.rows["train"] = dataset.rows["train"][1:]
    dataset.make("1.0.1")
    publish(dataset, target)
    store, version = FolderStore(target), prepare(dataset, target).version
    old = store.read(NAME)
    assert old is not None

    def refuse(names: Sequence[str]) -> None:
        raise StoreError("refused")

    monkeypatch.setattr(store, "delete", refuse)
    with pytest.raises(StoreError, match="refused"):
        prune(Transfer(store, Retries(target.option, pause=0)), version, old)
    assert set(check_complete(store.read).earlier) == set(version.earlier)
