"""The version of a dataset to publish: its objects, and what changes from the published version."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gbif_webdataset import __version__
from gbif_webdataset.errors import MissingPieceError, ParameterError, option_text
from gbif_webdataset.publish.croissant import CROISSANT
from gbif_webdataset.remote.local_file import RecordedFile
from gbif_webdataset.remote.store_address import HUB, StoreAddress
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.storage.checked_json import DamagedJsonError, digest_of, read_checked_json
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.shard_names import find_shard
from gbif_webdataset.upload.adapt_files import TargetNames, adapt_files
from gbif_webdataset.upload.changes import Changes
from gbif_webdataset.upload.files_to_publish import list_files
from gbif_webdataset.upload.object_names import name_other_files, name_shard_files
from gbif_webdataset.upload.publish_options import PublishOptions, check_shards_address
from gbif_webdataset.upload.published_version import NAME, ForeignListError, PublishedObject, PublishedVersion
from gbif_webdataset.upload.version_numbers import order_version, propose_version

ID_DIGITS = 16


@dataclass(frozen=True)
class PreparedVersion:
    """A version to publish, its files by path, and the version that the target has; None if it has none."""

    version: PublishedVersion
    files: Mapping[str, RecordedFile]
    published: PublishedVersion | None

    @property
    def shard_names(self) -> dict[str, str]:
        """The name of each shard and index at the target, by path."""
        return {one.path: one.name for one in self.version.objects if find_shard(one.path)}

    @property
    def is_published(self) -> bool:
        """Whether the target has this version."""
        return self.published is not None and _contents(self.published) == _contents(self.version)

    @property
    def new_objects(self) -> dict[PublishedObject, RecordedFile]:
        """The objects that the published version does not list with the same SHA-256, and their files."""
        old = set(self.published.objects) if self.published else set()
        return {one: self.files[one.path] for one in self.version.objects if one not in old}

    @property
    def copies(self) -> dict[PublishedObject, RecordedFile]:
        """The copies, and their files."""
        return {
            PublishedObject(path, path, self.files[path].size, sha256): self.files[path]
            for path, sha256 in self.version.copies.items()
        }

    def is_copy_published(self, one: PublishedObject) -> bool:
        """Whether the published version has this copy."""
        return self.published is not None and self.published.copies.get(one.path) == one.sha256


def read_published(data: bytes | None, target: StoreAddress) -> PublishedVersion | None:
    """The version that the content of a target's dataset.json describes; None without one.

    Raises:
        StoreError: it is not a list of this tool.
    """
    if data is None:
        return None
    try:
        return PublishedVersion.of_json(data)
    except ForeignListError as error:
        problem = f"the {NAME} there {error}"
        raise StoreError.at(target.option, problem, "choose another address, or delete that file") from None


def prepare_version(
    paths: DatasetPaths,
    target: StoreAddress,
    published: PublishedVersion | None,
    options: PublishOptions,
    has_shards: bool = False,
) -> PreparedVersion:
    """The version of the dataset in `paths`, with the names that it gets at the target.

    `has_shards` says whether the target has unpublished shards, such as those that CreateWebDataset writes.

    Raises:
        StoreError: the target has another dataset.
        MissingPieceError: a stage has not run.
        DamagedFileError: a file differs from its record.
        ParameterError: the target is the Hub, and the shards are not on the disk.
    """
    created = TargetRecord.load(paths.record("CreateWebDataset"))
    check_shards_address(target, created.store if created else "")
    files = list_files(paths)
    title, number = json.loads(files[CROISSANT].read())["name"], _find_version(paths)
    _check_same_dataset(paths, target, published, options.continues)
    if target.scheme == HUB:
        names = {path: path for path in files}
        files = adapt_files(files, TargetNames(names, lists_names=False, public_url=options.public_url))
        copies = {}
    else:
        names = name_shard_files(files, published, has_shards)
        files = adapt_files(files, TargetNames(names, lists_names=True, public_url=options.public_url))
        others = name_other_files(files, number, published)
        copies = {path: files[path].sha256 for path in sorted(others)}
        names |= others
    objects = [PublishedObject(names[path], path, file.size, file.sha256) for path, file in sorted(files.items())]
    first = digest_of({"title": title, "objects": [one.sha256 for one in objects]})[:ID_DIGITS]
    earlier = {*published.names, *published.earlier} if published else set()
    version = PublishedVersion(
        dataset=published.dataset if published else first,
        title=title,
        version=number,
        objects=objects,
        copies=copies,
        earlier=sorted(earlier.difference(names.values(), copies)),
        software=__version__,
    )
    return PreparedVersion(version, files, published)


def check_version(prepared: PreparedVersion, changes: Changes, target: StoreAddress) -> None:
    """Raise ParameterError if the version is too low for what it changes in the published one."""
    published, number = prepared.published, prepared.version.version
    if published is None:
        return
    proposed = propose_version(published.version, changes.part)
    if order_version(number) < order_version(proposed):
        raise ParameterError.at(
            option_text("--ReportDataset-version", number),
            f"too low, because {target.address} has version {published.version}, and this one differs: {changes}",
            f"set --ReportDataset-version {proposed}",
        )


def load_publish_record(paths: DatasetPaths, target: StoreAddress) -> dict[str, Any]:
    """The record of what was published to a target; empty without one, or if it is damaged."""
    try:
        return read_checked_json(paths.publish_record(target.name))[0]
    except (FileNotFoundError, DamagedJsonError):
        return {}


def _check_same_dataset(
    paths: DatasetPaths, target: StoreAddress, published: PublishedVersion | None, continues: str
) -> None:
    """Raise StoreError unless this folder has published the dataset there, or the user states that it is the same."""
    if published is None or published.dataset in (continues, load_publish_record(paths, target).get("dataset")):
        return
    problem = f"has a dataset that this folder has not published: {published.title!r}, version {published.version}"
    same = option_text("--continues", published.dataset)
    remedy = f"choose another address, or, if this is a newer version of that dataset, add {same}"
    raise StoreError.at(target.option, problem, remedy)


def _find_version(paths: DatasetPaths) -> str:
    record = TargetRecord.load(paths.record("ReportDataset"))
    if record is None or "version" not in record.fingerprint.parameters:
        raise MissingPieceError(f"{paths.output}: ReportDataset has not run; run `make report` first")
    return str(record.fingerprint.parameters["version"])


def _contents(version: PublishedVersion) -> set[tuple[str, str]]:
    return {(one.path, one.sha256) for one in version.objects}
