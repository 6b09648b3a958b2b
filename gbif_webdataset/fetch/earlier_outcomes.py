"""The outcomes of earlier runs, and which of them a run keeps."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa

from gbif_webdataset.fetch.attempts import Attempt, ImageUrl, is_permanent, is_same_failure, load_attempts
from gbif_webdataset.fetch.fetch_options import RETRY_ALL, RETRY_NONE, FetchOptions
from gbif_webdataset.fetch.inaturalist import change_photo_size
from gbif_webdataset.fetch.journal import journal_path, read_journal
from gbif_webdataset.fetch.ledger import OUTCOME_COLUMNS, READ_ROWS, Outcome
from gbif_webdataset.storage import arrow, tables
from gbif_webdataset.storage.chunks import chunk_name
from gbif_webdataset.storage.image_store import ImageStore, open_store
from gbif_webdataset.terms.outcomes import DELETED_UNDAMAGED, WITHOUT_FILE, FetchFailure, Status

_DELETION = ("image_path", "identifier", "reason")
"""Columns of deleted.csv in every version."""


class EarlierOutcomes:
    """The outcomes of earlier runs for the images of a chunk, by requested URL and image path."""

    def __init__(self) -> None:
        self._by_url: dict[str, Outcome | dict[str, Outcome]] = {}  # most URLs have one path and need no dict
        self._attempts: dict[ImageUrl, Attempt] = {}
        self._url_of_file: dict[str, str] = {}  # the URL whose bytes the file at an image path has

    @classmethod
    def load(cls, folder: Path, chunk: int) -> Self:
        """All outcomes for a chunk in `folder` (fetched/): of earlier manifests, of the ledger and of the journal.

        Raises:
            DamagedFileError: a table is damaged.
        """
        earlier = cls()
        earlier._attempts = load_attempts(folder, chunk)
        for path in (folder / "earlier" / chunk_name(chunk), folder / chunk_name(chunk)):
            if path.exists():
                for batch in arrow.iterate_parquet(path, READ_ROWS, OUTCOME_COLUMNS.names):
                    for row in batch.to_pylist():
                        earlier.add(Outcome(**row))
                    pa.default_memory_pool().release_unused()
        for outcome in read_journal(journal_path(folder, chunk)):
            earlier.add_interrupted(outcome)
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

    def add_interrupted(self, outcome: Outcome) -> None:
        """Add an outcome of a run that did not finish the chunk. Of equal failures the ledger's outcome is kept."""
        if outcome.has_bytes:
            self.add(outcome)
            return
        image = outcome.image_path, outcome.requested_url
        previous = self._find_all(outcome.requested_url).get(outcome.image_path)
        attempt = Attempt.of_outcome(outcome)
        if previous and not previous.has_bytes and is_same_failure(previous, outcome):
            attempt = attempt.after(self.find_attempt(previous), is_repeated=previous.error == outcome.error)
        else:
            self.add(outcome)
        self._attempts[image] = attempt

    def find_attempt(self, outcome: Outcome) -> Attempt:
        """The last attempt that led to an outcome."""
        return self._attempts.get((outcome.image_path, outcome.requested_url)) or Attempt.of_outcome(outcome)

    def find(self, url: str, image_path: str) -> Outcome | None:
        """The latest outcome of a URL at a path; None if there is none, or if the file now has another URL's bytes."""
        outcome = self._find_all(url).get(image_path)
        return None if outcome and outcome.has_bytes and self._url_of_file[image_path] != url else outcome

    def find_downloaded(self, url: str) -> list[Outcome]:
        """The outcomes of a URL that have bytes, at any path."""
        return [outcome for outcome in self._find_all(url).values() if outcome.has_bytes]

    def list_downloaded(self) -> dict[str, str]:
        """The SHA-256 of each image that was downloaded, by its path."""
        outcomes = ((path, self._find_all(url).get(path)) for path, url in self._url_of_file.items())
        return {path: outcome.sha256 for path, outcome in outcomes if outcome and outcome.sha256}

    def _find_all(self, url: str) -> dict[str, Outcome]:
        present = self._by_url.get(url)
        if isinstance(present, Outcome):
            return {present.image_path: present}
        return present or {}


def load_unused_images(folder: Path) -> dict[str, str]:
    """The SHA-256 of the images in `folder` (fetched/) that the present manifest lacks, by their paths."""
    unused = folder / "earlier" / "unused.parquet"
    if not unused.exists():
        return {}
    rows = arrow.read_parquet(unused, ["image_path", "status", "sha256"]).to_pylist()
    return {row["image_path"]: row["sha256"] for row in rows if row["status"] != Status.FAILED and row["sha256"]}


def is_retried(outcome: Outcome, attempt: Attempt, options: FetchOptions) -> bool:
    """Whether a run with these options retries an image whose `attempt` failed."""
    if options.retry_failed == RETRY_ALL:
        return True
    if outcome.error in WITHOUT_FILE:  # marks of CreateWebDataset
        return True
    if outcome.error == FetchFailure.TOO_LARGE:
        return (outcome.bytes or 0) <= options.limits.max_bytes
    if outcome.error == FetchFailure.OPTED_OUT:
        return not options.limits.respect_opt_out
    if outcome.error == FetchFailure.BLOCKED_ADDRESS:
        return options.guard.has_allowed_blocks
    if options.retry_failed == RETRY_NONE or is_permanent(outcome.error, attempt.runs):
        return False
    if outcome.error == FetchFailure.TOO_SLOW and attempt.max_seconds:
        return options.limits.max_seconds > attempt.max_seconds
    return attempt.at < options.run_started - options.retry_after


def has_whole_file(outcome: Outcome, store: ImageStore) -> bool:
    """Whether the store has an image that was downloaded, in its recorded size."""
    return store.size(outcome.image_path) == outcome.bytes


@dataclass(frozen=True)
class Settlement:
    """Decides which images need no work: `earlier` outcomes that remain valid, and files in `deleted`."""

    earlier: EarlierOutcomes
    store: ImageStore
    options: FetchOptions
    deleted: set[str]

    def is_settled(self, outcome: Outcome) -> bool:
        """Whether the outcome's file is whole or was deleted on purpose, or its failure is not retried."""
        if not outcome.has_bytes:
            return not is_retried(outcome, self.earlier.find_attempt(outcome), self.options)
        return has_whole_file(outcome, self.store) or outcome.image_path in self.deleted


def is_fetched_again(deletion: Mapping[str, str]) -> bool:
    """Whether the image of a line of deleted.csv is downloaded again.

    It is if its file was missing or had changed. Versions before 0.5, which wrote no version, also deleted sound files
    as damaged. This version deletes a sound file only on request, and it stays deleted.
    """
    reason = deletion["reason"]
    return reason in WITHOUT_FILE or (reason in DELETED_UNDAMAGED and not deletion.get("version"))


def count_fetched_again(deleted_csv: Path, ledger: Path, images: Path, chunk: int) -> int:
    """The number of deleted images of a chunk that are to be downloaded again because they were not damaged."""
    if not deleted_csv.exists() or not ledger.exists():
        return 0
    status = deleted_csv.stat()
    candidates = _list_fetched_again(deleted_csv, status.st_mtime_ns, status.st_size)
    if not candidates:
        return 0
    rows = arrow.read_parquet(ledger, ["image_path", "identifier", "status"]).to_pylist()
    store = open_store(images, chunk)
    return sum(
        row["status"] != Status.FAILED
        and (row["image_path"], row["identifier"]) in candidates
        and store.size(row["image_path"]) is None
        for row in rows
    )


@functools.lru_cache(maxsize=1)
def _list_fetched_again(deleted_csv: Path, modified: int, size: int) -> frozenset[tuple[str, str]]:
    with tables.open_made_csv(deleted_csv, _DELETION) as rows:
        return frozenset((row["image_path"], row["identifier"]) for row in rows if is_fetched_again(row))


def find_deleted_images(deleted_csv: Path, earlier: EarlierOutcomes, options: FetchOptions) -> set[str]:
    """The paths of downloaded images that DeleteImages deleted and that stay so; empty with `refetch_deleted`."""
    if options.refetch_deleted or not deleted_csv.exists():
        return set()
    deleted = set()
    with tables.open_made_csv(deleted_csv, _DELETION) as rows:
        for row in rows:
            if is_fetched_again(row):
                continue
            url = change_photo_size(row["identifier"], options.inaturalist_size)
            outcome = earlier.find(url, row["image_path"])
            if outcome and outcome.has_bytes:
                deleted.add(outcome.image_path)
    return deleted
