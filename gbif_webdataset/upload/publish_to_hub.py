"""A version on the Hugging Face Hub, which is one commit: readers see it as a whole or not at all."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from gbif_webdataset.formatting import format_count
from gbif_webdataset.remote.local_file import LocalFile, RecordedFile
from gbif_webdataset.remote.retries import Retries
from gbif_webdataset.remote.store_errors import StoreError
from gbif_webdataset.upload.hub_repository import HubRepository
from gbif_webdataset.upload.prepare_version import PreparedVersion
from gbif_webdataset.upload.publish_to_store import UploadCounts
from gbif_webdataset.upload.published_version import NAME, PublishedVersion

BATCH_FILES = 100
MAX_FILES_IN_FOLDER, MAX_FILES_IN_COMMIT = 10_000, 25_000
"""The Hub refuses a commit with more."""


def commit_version(
    repository: HubRepository,
    retries: Retries,
    prepared: PreparedVersion,
    version: PublishedVersion,
    progress: Callable[[int, int], None],
) -> UploadCounts:
    """Send the new files of a version and commit them. `progress` gets (bytes done, all bytes).

    Raises:
        StoreError: the Hub refuses it, or has a commit that was made after it was read.
        DamagedFileError: a file differs from its record.
    """
    files: dict[str, RecordedFile] = {one.name: file for one, file in prepared.new_objects.items()}
    files[NAME] = LocalFile.of_content(Path(NAME), version.to_json())
    total, done = sum(file.size for file in files.values()), 0
    additions: list[Any] = []
    retries.run(repository.track_large_files)
    for start in range(0, len(files), BATCH_FILES):
        batch = dict(islice(files.items(), start, start + BATCH_FILES))
        additions += retries.run(partial(repository.send, batch))
        done += sum(file.size for file in batch.values())
        progress(done, total)
    deleted, content = prepared.version.earlier, files[NAME].read()
    retries.run(lambda: repository.commit(additions, deleted, f"Version {version.version}", content))
    return UploadCounts(len(files), total, len(deleted))


def check_limits(prepared: PreparedVersion, place: str) -> None:
    """Raise StoreError if the Hub would refuse the version; `place` is the option with the address."""
    folders = Counter(PurePosixPath(one.name).parent.as_posix() for one in prepared.version.objects)
    problems = [
        f"{folder}/ would have {format_count(count, 'file')}, and the Hub allows {MAX_FILES_IN_FOLDER:,}"
        for folder, count in folders.items()
        if count > MAX_FILES_IN_FOLDER
    ]
    if (new := len(prepared.new_objects)) > MAX_FILES_IN_COMMIT:
        problems.append(f"the version has {format_count(new, 'new file')}, and the Hub allows {MAX_FILES_IN_COMMIT:,}")
    if problems:
        raise StoreError.at(place, problems[0], "make fewer shards with a larger --CreateWebDataset-max-shard-size")
