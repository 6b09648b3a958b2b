"""The files of a dataset that are published, with their paths at the target: those of `shards/` at its top."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.remote.local_file import LocalFile, RecordedFile
from gbif_webdataset.remote.store import open_store
from gbif_webdataset.remote.stored_file import StoredFile, find_shard_address
from gbif_webdataset.shards.shard_files import SHARD_LIST
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import TargetRecord

TASKS = ("SplitDataset", "CreateWebDataset", "ReportDataset")
"""The tasks whose files are published, in the order in which they write them."""
PAGE = "index.html"
BALANCE = "splits/balance.csv"  # the page links to it; all other files of the splits have been read into the shards


def list_files(paths: DatasetPaths) -> dict[str, RecordedFile]:
    """The files by path: shards, indexes, tables, card, Croissant, citation, attribution, page and its figures.

    Shards that CreateWebDataset wrote to an address are read there; their indexes are on the disk.

    Raises:
        MissingPieceError: a stage has no record, or no shard is recorded.
        StoreError, ParameterError: the address of the shards cannot be opened.
    """
    files: dict[str, RecordedFile] = {}
    for task in TASKS:
        record = TargetRecord.load(paths.record(task))
        if record is None:
            raise MissingPieceError(f"{paths.output}: {task} has not run; run `make report` first")
        for name, file in record.files.items():
            path = _find_published_path(name)
            if path and (path not in files or not name.startswith("report/")):
                files[path] = LocalFile(paths.output / name, file.bytes, file.sha256)
        if address := find_shard_address(record):
            store = open_store(address)
            for name, file in record.objects.items():
                files.setdefault(name, StoredFile(Path(name), file.bytes, file.sha256, store, address))
    if SHARD_LIST not in files:
        raise MissingPieceError(f"{paths.shard_list}: it is not recorded; run CreateWebDataset again")
    return files


def select_files(paths: Iterable[str], patterns: Iterable[str]) -> set[str]:
    """The paths that a pattern of --only selects: all files of a split or a folder, or a path with * and ?."""
    listed = list(patterns)
    return {path for path in paths if any(fnmatchcase(path, one) or path.startswith(f"{one}/") for one in listed)}


def _find_published_path(name: str) -> str:
    """The path at the target of a file of the dataset; empty if it is not published."""
    folder, _, path = name.partition("/")
    if folder in ("shards", "report") and path:
        return path
    return {"accounting.csv": "accounting.csv", BALANCE: "balance.csv"}.get(name, "")
