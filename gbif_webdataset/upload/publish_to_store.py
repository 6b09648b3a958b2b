"""A version in a bucket or a folder. Readers that start from dataset.json see one version, complete, at any time.

Objects that the published version lists are never overwritten. New objects come first; then the copies of card, page
and tables under their usual names, with shards.csv last; then dataset.json.
"""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gbif_webdataset.formatting import format_count
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError
from gbif_webdataset.shards.shard_files import SHARD_LIST
from gbif_webdataset.upload.local_file import LocalFile
from gbif_webdataset.upload.prepare_version import PreparedVersion
from gbif_webdataset.upload.published_version import NAME, PublishedObject, PublishedVersion
from gbif_webdataset.upload.transfer import Transfer
from gbif_webdataset.upload.upload_journal import UploadJournal


@dataclass(frozen=True)
class UploadCounts:
    """The objects that a run uploaded, their bytes, and the objects that it deleted."""

    objects: int = 0
    bytes: int = 0
    deleted: int = 0


def upload_objects(
    transfer: Transfer, prepared: PreparedVersion, journal: UploadJournal, paths: Collection[str] | None = None
) -> UploadCounts:
    """Upload the new objects of a version, or those of some paths only, except those that an earlier run uploaded.

    Raises:
        StoreError: the target refuses an object, or does not list it with its size after it was uploaded twice.
        DamagedFileError: a file differs from its record.
    """
    files = {one: file for one, file in prepared.new_objects.items() if paths is None or one.path in paths}
    new = {one: file for one, file in files.items() if one not in journal.times}
    with _abort_leftovers(transfer, files.keys()):
        transfer.upload(new, journal)
        if files and (unlisted := transfer.find_unlisted(files)):
            transfer.upload({one: files[one] for one in unlisted}, journal)
            if unlisted := transfer.find_unlisted(unlisted):
                count = format_count(len(unlisted), "object")
                problem = f"does not have {count}, such as {unlisted[0].name}, with the size that was sent"
                raise StoreError.at(transfer.retries.place, problem, "repeat the command later: it continues")
    return _count(new)


def announce_version(transfer: Transfer, prepared: PreparedVersion, journal: UploadJournal, now: str) -> UploadCounts:
    """Write the copies of a version whose objects are at the target, shards.csv last, and then dataset.json."""
    new = {one: file for one, file in prepared.new_copies.items() if one not in journal.times}
    last = {one: file for one, file in new.items() if one.path == SHARD_LIST}
    with _abort_leftovers(transfer, new.keys()):
        transfer.upload({one: file for one, file in new.items() if one not in last}, journal)
        transfer.upload(last, journal)
    _write_list(transfer, replace(prepared.version, published_at=now))
    return _count(new)


def prune(transfer: Transfer, version: PublishedVersion) -> UploadCounts:
    """Delete what only earlier versions of the dataset list."""
    listed = transfer.retries.run(transfer.store.list_sizes)
    names = [name for name in version.earlier if name in listed]
    transfer.retries.run(lambda: transfer.store.delete(names))
    _write_list(transfer, replace(version, earlier=[]))
    return UploadCounts(deleted=len(names))


def _write_list(transfer: Transfer, version: PublishedVersion) -> None:
    """Write dataset.json, and read it back."""
    content = version.to_json()
    file = LocalFile.of_content(Path(NAME), content)

    def write() -> None:
        transfer.store.put(NAME, file)
        if transfer.store.read(NAME) != content:
            raise TemporaryStoreError(f"{NAME} is not as it was sent")

    transfer.retries.run(write)


@contextlib.contextmanager
def _abort_leftovers(transfer: Transfer, objects: Collection[PublishedObject]) -> Iterator[None]:
    """Remove what this run, if it fails, and killed ones leave of uploads of these objects, when the block ends."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(StoreError, TemporaryStoreError):
            transfer.store.abort_uploads(objects)
        raise
    transfer.retries.run(lambda: transfer.store.abort_uploads(objects))


def _count(files: "dict[PublishedObject, LocalFile]") -> UploadCounts:
    return UploadCounts(len(files), sum(file.size for file in files.values()))
