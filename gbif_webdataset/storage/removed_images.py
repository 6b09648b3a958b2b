"""Images that were removed after the report, because `keep_images` is false.

The record of each chunk's ledger has their number and bytes. It is written before the first image is removed, so that
no run takes the images for lost ones and downloads them again. Fetching the chunk again writes a new record.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.formatting import format_count, format_size
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.image_store import ImageStore, open_store
from gbif_webdataset.storage.pack_store import restore_indexes
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.outcomes import Status

RESULT = "removed_images"
"""The name of the numbers among the results of a record."""
BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Removal:
    """The images that were removed and their bytes. `is_complete` is False while some of them may still exist."""

    images: int
    bytes: int
    is_complete: bool

    @property
    def state(self) -> str:
        """The verb of a sentence about these images."""
        return "removed" if self.is_complete else "are being removed"

    def __str__(self) -> str:
        return f"{format_count(self.images, 'image')} ({format_size(self.bytes)})"


def find_chunk_removal(record: TargetRecord | None) -> Removal | None:
    """The images of a chunk that were removed, from the record of its ledger; None if they are kept."""
    values = record.results.get(RESULT) if record else None
    return Removal(**values) if values else None


def find_removal(paths: DatasetPaths) -> Removal | None:
    """The images of a dataset that were removed and not downloaded again; None if all are kept."""
    records = list(_load_records(paths))
    found = [removal for record in records if (removal := find_chunk_removal(record))]
    if not found:
        return None
    is_complete = len(found) == len(records) and all(removal.is_complete for removal in found)
    return Removal(sum(one.images for one in found), sum(one.bytes for one in found), is_complete)


def remove_images(paths: DatasetPaths, chunks: int, progress: Callable[[int], None]) -> Removal:
    """Remove the images of all chunks; what is removed by now. A run that is killed continues here the next time.

    `progress` is called with the number of images of the chunks that are done.

    Raises:
        MissingPieceError: a ledger has no record.
    """
    restore_indexes(paths.images)
    removals = [_begin_removal(paths, chunk) for chunk in range(chunks)]
    done = 0
    for chunk, removal in enumerate(removals):
        if not removal.is_complete:
            _discard_images(paths, chunk)
            _save_removal(paths, chunk, replace(removal, is_complete=True))
        done += removal.images
        progress(done)
    for folder in (*paths.images.iterdir(), paths.images) if paths.images.is_dir() else ():
        with contextlib.suppress(OSError):  # it has files that no ledger names
            folder.rmdir()
    return Removal(done, sum(removal.bytes for removal in removals), is_complete=True)


def _begin_removal(paths: DatasetPaths, chunk: int) -> Removal:
    """Record that the images of a chunk count as removed from now on, unless an earlier run has."""
    removal = find_chunk_removal(_load_record(paths, chunk))
    if removal is None:
        store = open_store(paths.images, chunk)
        sizes = [store.size(name) or 0 for name in _list_images(paths.chunk("fetched", chunk), store)]
        removal = Removal(len(sizes), sum(sizes), is_complete=False)
        _save_removal(paths, chunk, removal)
    return removal


def _discard_images(paths: DatasetPaths, chunk: int) -> None:
    """Remove the images of a chunk; with the first chunk also those of URLs that only an earlier manifest has."""
    unused = paths.fetched / "earlier" / "unused.parquet"
    ledgers = [paths.chunk("fetched", chunk), *([unused] if chunk == 0 and unused.exists() else [])]
    store = open_store(paths.images, chunk)
    with store.writing():
        store.discard([name for ledger in ledgers for name in _list_images(ledger, store)])


def _load_record(paths: DatasetPaths, chunk: int) -> TargetRecord:
    path = paths.record(f"FetchChunk-{chunk:05d}")
    record = TargetRecord.load(path)
    if record is None:
        raise MissingPieceError(f"{path}: the record was deleted during the run; run the command again")
    return record


def _save_removal(paths: DatasetPaths, chunk: int, removal: Removal) -> None:
    record = _load_record(paths, chunk)
    replace(record, results={**record.results, RESULT: asdict(removal)}).save(paths.record(record.task))


def _load_records(paths: DatasetPaths) -> Iterator[TargetRecord | None]:
    """The records of the ledgers, without those of chunks that an earlier number of chunks had."""
    read = TargetRecord.load(paths.record("ReadArchive"))
    chunks = read.fingerprint.inputs.get("chunks", "") if read else ""
    for path in sorted(paths.records.glob("FetchChunk-?????.json")):
        chunk = path.stem.rpartition("-")[2]
        if chunk.isdigit() and not (chunks.isdigit() and int(chunk) >= int(chunks)):
            yield TargetRecord.load(path)


def _list_images(ledger: Path, store: ImageStore) -> Iterator[str]:
    """The path of each downloaded image of a chunk that its store has."""
    for batch in arrow.iterate_parquet(ledger, BATCH_ROWS, ["image_path", "status"]):
        for name, status in zip(*(batch.column(at).to_pylist() for at in range(2)), strict=True):
            if status != Status.FAILED and ".." not in name.split("/") and store.size(name) is not None:
                yield name
