"""Temporary files that killed runs left in a dataset."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gbif_webdataset.storage.atomic import TEMPORARY, delete_unless_locked
from gbif_webdataset.storage.chunks import chunk_name


def delete_leftovers(output: Path, before: int, has_killed_runs: bool) -> bool:
    """Delete the temporary files of a dataset that were modified before this time, in nanoseconds since 1970.

    Call it only if no run that changes the dataset uses files of that age. Those of an audit and of other tasks that
    only read are locked, and kept. The folder of images, which may have millions of files, is listed only with
    `has_killed_runs`, and once all chunks are fetched: a killed run that moved images may have left the only copy of
    one under its temporary name. Return whether nothing can be left.
    """
    for folder in (output, *_list_folders(output)):
        for path in _list_temporary(folder, before):
            # ReadArchive reads outcomes from these folders, and deletes them.
            if folder.name != "fetched" or not path.is_dir():
                delete_unless_locked(path)
    if not has_killed_runs or not _is_fetched(output):
        return not has_killed_runs
    for folder in (output / "images", *_list_subfolders(output / "images")):
        for path in _list_temporary(folder, before):
            delete_unless_locked(path)
    return True


def _list_folders(output: Path) -> Iterator[Path]:
    for folder in _list_subfolders(output):
        if folder.name not in ("images", "logs"):
            yield folder
            yield from _list_subfolders(folder)


def _list_subfolders(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _list_temporary(folder: Path, before: int) -> list[Path]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        found = (entry for entry in entries if entry.name.startswith(TEMPORARY))
        return [Path(entry) for entry in found if entry.stat(follow_symlinks=False).st_mtime_ns < before]
    return []


def _is_fetched(output: Path) -> bool:
    """Whether each chunk of the manifest has a ledger, and none is being fetched."""
    chunks = len(list((output / "manifest").glob("chunk-*.parquet")))
    ledgers = {path.name for path in (output / "fetched").glob("chunk-*")}
    is_whole = all(chunk_name(chunk) in ledgers for chunk in range(chunks))
    return is_whole and not any(name.endswith(".journal") for name in ledgers)
