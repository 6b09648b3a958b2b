"""PublishDataset: upload a dataset as a version that readers see as a whole, or not at all."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from gbif_webdataset.errors import ParameterError, option_text
from gbif_webdataset.formatting import format_count, format_size
from gbif_webdataset.publish.description import read_shards
from gbif_webdataset.remote.address_claim import OWNER
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store import Store, open_store
from gbif_webdataset.remote.store_address import HUB, StoreAddress
from gbif_webdataset.storage.checked_json import write_checked_json
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.shard_names import find_shard
from gbif_webdataset.upload.changes import Changes, NewVersion, count_first_version, find_changes, write_changes
from gbif_webdataset.upload.files_to_publish import select_files
from gbif_webdataset.upload.hub_repository import HubRepository
from gbif_webdataset.upload.prepare_version import (
    PreparedVersion,
    check_version,
    load_publish_record,
    prepare_version,
    read_published,
)
from gbif_webdataset.upload.publish_options import PublishOptions, check_options
from gbif_webdataset.upload.publish_to_hub import check_limits, commit_version
from gbif_webdataset.upload.publish_to_store import UploadCounts, announce_version, prune, upload_copies, upload_objects
from gbif_webdataset.upload.published_version import NAME, PublishedObject, PublishedVersion
from gbif_webdataset.upload.server_copies import find_server_copies, is_copied
from gbif_webdataset.upload.transfer import Transfer
from gbif_webdataset.upload.upload_journal import UploadJournal, format_now

SHOWN_NAMES = 10


class Publication:
    """A dataset that is being published to a target.

    Raises:
        StoreError: the target refuses a request, has another dataset, or cannot be reached.
        ParameterError: the version is too low, an option is not for this target, or `only` matches nothing.
        DamagedFileError: a file differs from its record; readers see nothing of the version.
        MissingPieceError: a stage has not run.
    """

    def __init__(self, paths: DatasetPaths, target: StoreAddress, options: PublishOptions) -> None:
        check_options(target, options)
        self._paths, self._target, self._options = paths, target, options
        self._retries = Retries(target.option, options.retry_pause)
        self._changes: Changes | None = None
        self._store = HubRepository(target) if target.scheme == HUB else open_store(target)
        self._journal = UploadJournal(paths.publish_journal(target.name))
        self._prepared = self._prepare()
        self._selected = _select(self._prepared, options)
        self._copies = find_server_copies(self._prepared.files.values(), target)

    @property
    def bytes(self) -> int:
        """The bytes to upload; those that a killed run uploaded count as well."""
        return 0 if self._options.dry_run else sum(one.bytes for one in self._list_new())

    def run(self, progress: Callable[[int, int], None] = lambda done, total: None) -> str:
        """Publish the dataset; return a summary of a few lines. `progress` gets (bytes done, all bytes)."""
        if self._options.dry_run:
            return self._describe_plan()
        if isinstance(self._store, HubRepository):
            return self._commit(self._store, progress)
        transfer = Transfer(self._store, self._retries, self._options.bytes_per_second, progress, self._copies)
        journal, prepared, now = self._journal, self._prepared, format_now()
        with journal:
            counts = [upload_objects(transfer, prepared, journal, self._selected)]
            if self._selected is not None:
                return self._describe_part(counts)
            self._write_record(journal.times, now)  # a run that is killed now has proof that the dataset is its own
            counts.append(upload_copies(transfer, prepared, journal))
            version, old = _add_leftovers(prepared.version, journal, now, self._has_shards), self._list
            if not prepared.is_published or version.earlier != prepared.version.earlier:
                announce_version(transfer, prepared, journal, version, old)
                old = version.to_json()
            if self._options.prune and version.earlier and old is not None:
                counts.append(prune(transfer, version, old))
        self._write_record(journal.times, now)
        journal.delete()
        return self._describe(counts)

    def _commit(self, repository: HubRepository, progress: Callable[[int, int], None]) -> str:
        prepared, counts, now = self._prepared, UploadCounts(), format_now()
        if not prepared.is_published:
            self._write_record(dict.fromkeys(prepared.new_objects, now), now)  # as in `run`
            version = replace(prepared.version, published_at=now, earlier=[])
            counts = commit_version(repository, self._retries, prepared, version, progress)
        self._write_record(dict.fromkeys(prepared.new_objects, now), now)
        return self._describe([counts])

    def _list_new(self) -> list[PublishedObject]:
        """The objects to upload."""
        return [one for one in self._prepared.new_objects if self._selected is None or one.path in self._selected]

    def _prepare(self) -> PreparedVersion:
        """The version to publish, with CHANGES.csv written. Raises ParameterError if its number is too low."""
        self._list = self._retries.run(lambda: self._store.read(NAME))
        published = read_published(self._list, self._target)
        prepare = partial(prepare_version, self._paths, self._target, published, self._options)
        prepared, self._has_shards = prepare(), False
        if not isinstance(self._store, HubRepository):
            own = {one.name for one in self._journal.begun}
            own |= load_publish_record(self._paths, self._target).get("objects", {}).keys()
            self._has_shards = _has_shards(self._store, self._retries, prepared, own)
            prepared = prepare(self._has_shards) if self._has_shards else prepared
        if prepared.is_published:
            return prepared
        if self._target.scheme == HUB:
            check_limits(prepared, self._target.option)
        names = prepared.shard_names
        if published is None:
            self._changes = count_first_version(read_shards(self._paths.shard_list), names)
        else:

            def download(name: str, path: Path) -> None:
                self._retries.run(lambda: self._store.download(name, path))

            version = NewVersion(prepared.files, names, published, download)
            self._changes = find_changes(version, self._paths.scratch)
        write_changes(self._paths.publish_changes(self._target.name), self._changes)
        check_version(prepared, self._changes, self._target)
        return prepared

    def _write_record(self, times: Mapping[PublishedObject, str], now: str) -> None:
        """Write publish/<target>.json: each object's size, SHA-256 and the time when it was uploaded."""
        prepared = self._prepared
        before = load_publish_record(self._paths, self._target).get("objects", {})
        objects = {}
        for one in prepared.version.objects:
            old = before.get(one.name, {})
            earlier = old.get("uploaded_at") if old.get("sha256") == one.sha256 else None
            uploaded_at = times.get(one) or earlier or (prepared.published.published_at if prepared.published else now)
            objects[one.name] = {"path": one.path, "bytes": one.bytes, "sha256": one.sha256, "uploaded_at": uploaded_at}
        values = {
            "target": self._target.address,
            "endpoint": self._target.endpoint,
            "dataset": prepared.version.dataset,
            "title": prepared.version.title,
            "version": prepared.version.version,
            "repeated_requests": self._retries.count,
            "objects": objects,
        }
        write_checked_json(self._paths.publish_record(self._target.name), values)

    def _describe_plan(self) -> str:
        new, version = self._list_new(), self._prepared.version
        lines = [f"Version {version.version} of {version.title}, to {self._target.address}"]
        sent = [one.bytes for one in new if not is_copied(self._prepared.files[one.path], self._copies)]
        lines.append(f"  would upload {_describe_uploads(len(sent), sum(sent), len(new) - len(sent))}")
        lines += [f"    {one.name}" for one in new[:SHOWN_NAMES]]
        lines += [f"    and {len(new) - SHOWN_NAMES:,} more"] if len(new) > SHOWN_NAMES else []
        if self._options.prune or self._target.scheme == HUB:
            lines.append(f"  would delete {format_count(len(version.earlier), 'object')} of earlier versions")
        return "\n".join([*lines, *self._describe_changes()])

    def _describe_part(self, counts: list[UploadCounts]) -> str:
        return (
            f"{self._describe_counts(counts)} to {self._target.address}. Readers do not see them until the command has "
            f"run without --only, which writes {NAME} of version {self._prepared.version.version}."
        )

    def _describe(self, counts: list[UploadCounts]) -> str:
        prepared = self._prepared
        version = f"version {prepared.version.version} of {prepared.version.title}"
        if prepared.is_published:
            lines = [f"Nothing to upload: {self._target.address} has {version}."]
        else:
            lines = [f"Published {version} at {self._target.address}", f"  {self._describe_counts(counts)}"]
        if deleted := sum(one.deleted for one in counts):
            lines.append(f"  Deleted {format_count(deleted, 'object')} of earlier versions")
        return "\n".join([*lines, *self._describe_changes()])

    def _describe_counts(self, counts: list[UploadCounts]) -> str:
        sent = (sum(one.objects for one in counts), sum(one.bytes for one in counts))
        text, repeated = _describe_uploads(*sent, sum(one.copied for one in counts)), self._retries.count
        return f"Uploaded {text}" + (f"; {format_count(repeated, 'request')} repeated" if repeated else "")

    def _describe_changes(self) -> list[str]:
        if self._changes is None:
            return []
        return [f"  Changes: {self._changes} ({self._paths.publish_changes(self._target.name)})"]


def _describe_uploads(objects: int, size: int, copied: int) -> str:
    """Such as `12 objects, 3.4 MB; 5 shards copied by the server`."""
    by_server = f"; {format_count(copied, 'shard')} copied by the server" if copied else ""
    return f"{format_count(objects, 'object')}, {format_size(size)}{by_server}"


def _has_shards(store: Store, retries: Retries, prepared: PreparedVersion, own: Collection[str]) -> bool:
    """Whether the target has shards that CreateWebDataset writes there, or others with the names of new objects.

    `own` are the names of objects that this dataset has uploaded.
    """
    if retries.run(lambda: store.read(OWNER)) is not None:
        return True
    names = {one.name for one in prepared.new_objects if find_shard(one.name)}.difference(own)
    return bool(names) and not names.isdisjoint(retries.run(store.list_sizes))


def _add_leftovers(version: PublishedVersion, journal: UploadJournal, now: str, has_shards: bool) -> PublishedVersion:
    """The version, whose `earlier` has the objects of attempts that were not published as well.

    With `has_shards` the shards without a digest in their names are those of CreateWebDataset, which are never pruned.
    """
    leftovers = {one.name for one in journal.begun} - version.names
    earlier = {name for name in {*version.earlier, *leftovers} if not (has_shards and find_shard(name))}
    return replace(version, published_at=now, earlier=sorted(earlier))


def _select(prepared: PreparedVersion, options: PublishOptions) -> set[str] | None:
    """The paths that `only` selects; None for all. Raises ParameterError if there are none."""
    if not options.only:
        return None
    if not (selected := select_files(prepared.files, options.only)):
        remedy = "give paths at the target with * and ?, or folders, such as train or *.md"
        raise ParameterError.at(option_text("--only", ",".join(options.only)), "matches no file", remedy)
    return selected
