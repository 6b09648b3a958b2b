"""Compare the tables that a stage reads with their records, so that a damaged table is never used."""

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gbif_webdataset.errors import DamagedFileError
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import FileRecord, TargetRecord, digest_of_file, record_path


def check_recorded_files(output: Path, records: Iterable[TargetRecord]) -> None:
    """Read the files of the records, and compare them. Files that were read before and have not changed are not read.

    Raises:
        DamagedFileError: a file is missing or has other bytes. If a task can make it again, the record of this task is
            deleted, so that the next run does so.
        IsADirectoryError: a folder is in the place of a file.
    """
    for record, name in find_damaged_files(output, records):
        if (output / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output / name))
        if _is_kept(name):
            if (output / name).exists():  # who deletes such a list wants to do without it
                raise DamagedFileError.of_list(output / name)
            continue
        record_path(output, record.task).unlink(missing_ok=True)
        raise DamagedFileError(
            f"{output / name}: differs from what {record.task} wrote; run the same command again, which makes it again"
        )


def find_damaged_files(output: Path, records: Iterable[TargetRecord]) -> Iterator[tuple[TargetRecord, str]]:
    """The record and the name of each file of the records that is missing or has other bytes."""
    for record in records:
        for name, file in record.files.items():
            if not is_as_recorded(output / name, file):
                yield record, name


def is_as_recorded(path: Path, file: FileRecord) -> bool:
    """Whether a file has its recorded size and SHA-256."""
    try:
        return path.stat().st_size == file.bytes and digest_of_file(path) == file.sha256
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def load_deletions(paths: DatasetPaths) -> list[TargetRecord]:
    """The record of deleted.csv, if there is one. Users may edit or delete the other lists that DeleteImages writes."""
    record = TargetRecord.load(paths.record("DeleteImages"))
    return [record.select_files(paths.deleted.name)] if record else []


def _is_kept(name: str) -> bool:
    """Whether a file has what no task can find out again: the outcomes of downloads, and what was deleted."""
    return name.startswith("fetched/") or name == "deleted.csv"
