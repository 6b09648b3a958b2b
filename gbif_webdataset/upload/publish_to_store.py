"""A version in a bucket or a folder. Readers that start from dataset.json see one version, complete, at any time.

Objects that the published version lists are never overwritten. New objects come first; then the copies of card, page
and tables under their usual names, with shards.csv last; then dataset.json.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from gbif_webdataset.formatting import format_count
from gbif_webdataset.remote.local_file import RecordedFile
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError
from gbif_webdataset.shards.shard_files import SHARD_LIST
from gbif_webdataset.upload.prepare_version import PreparedVersion
from gbif_webdataset.upload.published_version import NAME, PublishedObject, PublishedVersion
from gbif_webdataset.upload.server_copies import is_copied
from gbif_webdataset.upload.transfer import Transfer
from gbif_webdataset.upload.upload_journal import UploadJournal


@dataclass(frozen=True)
class UploadCounts:
    """The objects that a run uploaded, their bytes, and the objects that it deleted or that the server copied."""

    objects: int = 0
    bytes: int = 0
    deleted: int = 0
    copied: int = 0


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
    transfer.check_sources(new.values())
    with _abort_leftovers(transfer, journal):
        transfer.upload(new, journal)
        if files:
            _complete(transfer, files, journal)
    return count_uploads(transfer, new.values())


def upload_copies(transfer: Transfer, prepared: PreparedVersion, journal: UploadJournal) -> UploadCounts:
    """Upload the copies that the published version lacks, or that a killed run may have replaced; shards.csv last."""
    begun = {one.name for one in journal.begun}
    new = {
        one: file
        for one, file in prepared.copies.items()
        if one not in journal.times and (one.name in begun or not prepared.is_copy_published(one))
    }
    last = {one: file for one, file in new.items() if one.path == SHARD_LIST}
    with _abort_leftovers(transfer, journal):
        transfer.upload({one: file for one, file in new.items() if one not in last}, journal)
        transfer.upload(last, journal)
    return count_uploads(transfer, new.values())


def announce_version(
    transfer: Transfer, prepared: PreparedVersion, journal: UploadJournal, version: PublishedVersion, old: bytes | None
) -> None:
    """Write dataset.json of a version in place of `old`, once the target has all its objects and copies.

    Raises:
        StoreError: another process has written dataset.json, or an object is not listed after it was uploaded twice.
    """
    files = {**{one: prepared.files[one.path] for one in version.objects}, **prepared.copies}
    with _abort_leftovers(transfer, journal):
        _complete(transfer, files, journal)
    _write_list(transfer, version, old)


def prune(transfer: Transfer, version: PublishedVersion, old: bytes) -> UploadCounts:
    """Delete what only earlier versions of the dataset list, if dataset.json is still `old`.

    Names that the target does not list are deleted as well, because lists may be late.
    """
    if transfer.retries.run(lambda: transfer.store.read(NAME)) != old:
        raise StoreError.changed(transfer.retries.place, f"{NAME} has changed")
    transfer.retries.run(lambda: transfer.store.delete(version.earlier))
    _write_list(transfer, replace(version, earlier=[]), old)
    return UploadCounts(deleted=len(version.earlier))


def _complete(transfer: Transfer, files: Mapping[PublishedObject, RecordedFile], journal: UploadJournal) -> None:
    """Upload again what the target does not list with its size."""
    if unlisted := transfer.find_unlisted(files):
        transfer.upload({one: files[one] for one in unlisted}, journal)
        if unlisted := transfer.find_unlisted(unlisted):
            count = format_count(len(unlisted), "object")
            problem = f"does not have {count}, such as {unlisted[0].name}, with the size that was sent"
            raise StoreError.at(transfer.retries.place, problem, "repeat the command later: it continues")


def _write_list(transfer: Transfer, version: PublishedVersion, old: bytes | None) -> None:
    """Write dataset.json in place of `old`, and read it back."""
    content = version.to_json()

    def write() -> None:
        transfer.store.replace(NAME, content, old)
        if transfer.store.read(NAME) != content:
            raise TemporaryStoreError(f"{NAME} is not as it was sent")

    transfer.retries.run(write)


@contextlib.contextmanager
def _abort_leftovers(transfer: Transfer, journal: UploadJournal) -> Iterator[None]:
    """Remove what this run, if it fails, and killed ones leave of uploads of the journal, when the block ends."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(StoreError, TemporaryStoreError):
            transfer.store.abort_uploads(journal.sizes_begun)
        raise
    transfer.retries.run(lambda: transfer.store.abort_uploads(journal.sizes_begun))


def count_uploads(transfer: Transfer, files: Collection[RecordedFile]) -> UploadCounts:
    """The objects that these files become."""
    sizes = [file.size for file in files if not is_copied(file, transfer.copies)]
    return UploadCounts(len(sizes), sum(sizes), copied=len(files) - len(sizes))
