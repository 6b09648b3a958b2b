"""The last attempts of images that failed: when they were, and under which limit.

They are not part of the ledger, whose bytes stay the same if an image fails again in the same way: later stages then
need not run again. Without this file an image counts as attempted once, at the `fetched_at` of the ledger.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from gbif_webdataset.fetch.image_response import HOST_FAILURES
from gbif_webdataset.fetch.ledger import Outcome
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.storage.chunks import attempts_name
from gbif_webdataset.terms.outcomes import PERMANENT_FAILURES, REFUSALS, FetchFailure, is_temporary

MAX_REFUSED_RUNS = 2
"""After so many runs that the host refuses an image, the refusal is permanent."""

ImageUrl = tuple[str, str]
"""An image path and the URL that was requested for it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last attempt of an image that failed.

    `at` is in seconds since 1970. `runs` is the number of runs in which the image failed in the same way. `max_seconds`
    is the time limit of the attempt; 0 if it is not known.
    """

    at: float
    runs: int = 1
    max_seconds: float = 0.0

    @classmethod
    def of_outcome(cls, outcome: Outcome) -> Self:
        """The attempt that led to an outcome, as far as the ledger shows it."""
        try:
            return cls(datetime.fromisoformat(outcome.fetched_at or "").timestamp())
        except ValueError:
            return cls(0.0)

    def after(self, earlier: "Attempt", *, is_repeated: bool) -> "Attempt":
        """This attempt, with the runs of the earlier one, and with this run if the image failed in the same way."""
        return Attempt(self.at, earlier.runs + is_repeated, self.max_seconds)


def load_attempts(folder: Path, chunk: int) -> dict[ImageUrl, Attempt]:
    """The attempts of a chunk in `folder` (fetched/). A missing file or a damaged line has none."""
    path = folder / attempts_name(chunk)
    attempts: dict[ImageUrl, Attempt] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                image_path, url, at, runs, max_seconds = json.loads(line)
                attempt = Attempt(float(at), int(runs), float(max_seconds))
            except (ValueError, TypeError, OverflowError, RecursionError):
                continue
            if math.isfinite(attempt.at) and math.isfinite(attempt.max_seconds):
                attempts[str(image_path), str(url)] = attempt
    return attempts


def save_attempts(folder: Path, chunk: int, attempts: Mapping[ImageUrl, Attempt]) -> None:
    """Write the attempts of a chunk. No file is written for none."""
    path = folder / attempts_name(chunk)
    if not attempts:
        path.unlink(missing_ok=True)
        return
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for (image_path, url), attempt in attempts.items():
            values = image_path, url, round(attempt.at, 3), attempt.runs, attempt.max_seconds
            file.write(json.dumps(values) + "\n")


def is_same_failure(earlier: Outcome, outcome: Outcome) -> bool:
    """Whether two failures mean the same.

    Of a host that is down, some images fail because of the host and others because it was abandoned. Chance decides
    which, so the two kinds count as the same.
    """
    errors = {earlier.error, outcome.error}
    if FetchFailure.HOST_UNAVAILABLE in errors and errors <= HOST_FAILURES | {FetchFailure.HOST_UNAVAILABLE}:
        return True
    return (earlier.error, earlier.http_status) == (outcome.error, outcome.http_status)


def is_permanent(code: str, runs: int) -> bool:
    """Whether no further run retries an image that failed with this code in so many runs."""
    return code in PERMANENT_FAILURES or (code in REFUSALS and runs >= MAX_REFUSED_RUNS)


@dataclass(frozen=True)
class RetryBacklog:
    """The images of a chunk that may succeed in a later run.

    `images` had temporary failures, the first of them at `oldest`, in seconds since 1970. `slow_images` took longer
    than `slow_limit` seconds: they may succeed with a higher limit.
    """

    images: int = 0
    oldest: float = 0.0
    slow_images: int = 0
    slow_limit: float = 0.0

    @classmethod
    def from_results(cls, results: Mapping[str, Any], written: float) -> Self:
        """The backlog in the results of a record; for a record of 0.4, written at `written`, from its counts."""
        if "retries" in results:
            values = results["retries"]
            return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
        counts: dict[str, int] = results["outcomes"]
        images = sum(number for code, number in counts.items() if is_temporary(code) or code in REFUSALS)
        return cls(images, written, counts.get(FetchFailure.TOO_SLOW, 0), 0.0)

    def to_results(self) -> dict[str, Any]:
        """The values for the results of a record."""
        return asdict(self)


def count_backlog(failures: Iterable[tuple[str, Attempt]]) -> RetryBacklog:
    """The backlog of failed images, given by code and last attempt."""
    backlog = RetryBacklog()
    for code, attempt in failures:
        if code == FetchFailure.TOO_SLOW:
            limit = min(attempt.max_seconds, backlog.slow_limit) if backlog.slow_images else attempt.max_seconds
            backlog = replace(backlog, slow_images=backlog.slow_images + 1, slow_limit=limit)
        elif is_temporary(code) or (code in REFUSALS and not is_permanent(code, attempt.runs)):
            oldest = min(attempt.at, backlog.oldest) if backlog.images else attempt.at
            backlog = replace(backlog, images=backlog.images + 1, oldest=oldest)
    return backlog
