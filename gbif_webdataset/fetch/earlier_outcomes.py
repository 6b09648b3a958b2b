"""The outcomes of earlier runs, and which of them a run keeps."""

import contextlib
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.fetch.fetch_options import RETRY_ALL, FetchOptions, is_retried
from gbif_webdataset.fetch.inaturalist import change_photo_size
from gbif_webdataset.fetch.journal import journal_path, read_journal
from gbif_webdataset.fetch.ledger import OUTCOME_COLUMNS, READ_ROWS, Outcome
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.chunks import chunk_name
from gbif_webdataset.terms.outcomes import FetchFailure, Status


class EarlierOutcomes:
    """The outcomes of earlier runs for the images of a chunk, by requested URL and image path."""

    def __init__(self) -> None:
        self._by_url: dict[str, Outcome | dict[str, Outcome]] = {}  # most URLs have one path and need no dict
        self._url_of_file: dict[str, str] = {}  # the URL whose bytes the file at an image path has

    @classmethod
    def load(cls, folder: Path, chunk: int) -> Self:
        """All outcomes for a chunk in `folder` (fetched/): of earlier manifests, of the ledger and of the journal."""
        earlier = cls()
        for path in (folder / "earlier" / chunk_name(chunk), folder / chunk_name(chunk)):
            if path.exists():
                columns = OUTCOME_COLUMNS.names
                for batch in pq.ParquetFile(path).iter_batches(READ_ROWS, columns=columns, use_threads=False):
                    for row in batch.to_pylist():
                        earlier.add(Outcome(**row))
                    pa.default_memory_pool().release_unused()
        for outcome in read_journal(journal_path(folder, chunk)):
            earlier.add(outcome)
        return earlier

    def add(self, outcome: Outcome) -> None:
        """Add an outcome. It replaces an older one of the same URL and path."""
        present = self._by_url.get(outcome.requested_url)
        if isinstance(present, dict):
            present[outcome.image_path] = outcome
        elif present is None or present.image_path == outcome.image_path:
            self._by_url[outcome.requested_url] = outcome
        else:
            self._by_url[outcome.requested_url] = {present.image_path: present, outcome.image_path: outcome}
        if outcome.has_bytes:
            self._url_of_file[outcome.image_path] = outcome.requested_url

    def find(self, url: str, image_path: str) -> Outcome | None:
        """The latest outcome of a URL at a path; None if there is none, or if the file now has another URL's bytes."""
        outcome = self._find_all(url).get(image_path)
        return None if outcome and outcome.has_bytes and self._url_of_file[image_path] != url else outcome

    def find_downloaded(self, url: str) -> list[Outcome]:
        """The outcomes of a URL that have bytes, at any path."""
        return [outcome for outcome in self._find_all(url).values() if outcome.has_bytes]

    def _find_all(self, url: str) -> dict[str, Outcome]:
        present = self._by_url.get(url)
        if isinstance(present, Outcome):
            return {present.image_path: present}
        return present or {}


def is_kept(outcome: Outcome, images: Path, options: FetchOptions) -> bool:
    """Whether an earlier outcome remains valid: its file is complete, or with these options its failure is final."""
    if outcome.status == Status.FAILED and options.retry_failed == RETRY_ALL:
        return False
    if outcome.error == FetchFailure.TOO_LARGE:
        return (outcome.bytes or 0) > options.limits.max_bytes
    if outcome.error == FetchFailure.OPTED_OUT:
        return options.limits.respect_opt_out
    if outcome.error == FetchFailure.BLOCKED_ADDRESS:
        return not options.guard.has_allowed_blocks
    if not outcome.has_bytes:
        return not is_retried(outcome.error, options.retry_failed)
    with contextlib.suppress(FileNotFoundError):
        return (images / outcome.image_path).stat().st_size == outcome.bytes
    return False


def is_settled(outcome: Outcome, images: Path, options: FetchOptions, deleted: set[str]) -> bool:
    """Whether an image needs no work: its earlier outcome is kept, or its file was deleted on purpose."""
    return is_kept(outcome, images, options) or (outcome.has_bytes and outcome.image_path in deleted)


def find_deleted_images(deleted_csv: Path, earlier: EarlierOutcomes, options: FetchOptions) -> set[str]:
    """The paths of downloaded images that DeleteImages deleted; empty with `refetch_deleted`."""
    if options.refetch_deleted or not deleted_csv.exists():
        return set()
    deleted = set()
    with tables.open_csv(deleted_csv) as rows:
        for row in rows:
            url = change_photo_size(row["identifier"], options.inaturalist_size)
            outcome = earlier.find(url, row["image_path"])
            if outcome and outcome.has_bytes:
                deleted.add(outcome.image_path)
    return deleted
