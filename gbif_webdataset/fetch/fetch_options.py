"""The options of fetching, and which failures of earlier runs they retry."""

from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.fetch.address_guard import AddressGuard
from gbif_webdataset.fetch.host_limits import HostTable
from gbif_webdataset.fetch.host_queues import DEFAULT_BACKOFF, BackoffPolicy
from gbif_webdataset.fetch.image_response import DownloadLimits
from gbif_webdataset.fetch.inaturalist import AS_GIVEN
from gbif_webdataset.terms.outcomes import TEMPORARY_FAILURES, Status

RETRY_CHOICES = RETRY_TEMPORARY, RETRY_ALL, RETRY_NONE = "may-pass", "all", "none"
"""The failures of earlier runs that a run retries. RETRY_TEMPORARY stands for TEMPORARY_FAILURES."""


@dataclass(frozen=True)
class FetchOptions:
    """How the images of a chunk are fetched.

    `workers` requests run at the same time. An image is retried `retries` times after its first attempt, first after
    `retry_pause` seconds, then after twice as long each time. The chunk fails if more than `max_failed_share` (0 to 1)
    of its images have temporary failures, or if fewer than `min_free_bytes` are free on the disk. `cache` is an older
    folder of images to copy from. With `refetch_deleted`, images that DeleteImages deleted are fetched again.
    """

    workers: int
    retries: int
    hosts: HostTable
    limits: DownloadLimits
    guard: AddressGuard
    cache: Path | None = None
    max_failed_share: float = 0.5
    refetch_deleted: bool = False
    retry_failed: str = RETRY_TEMPORARY
    retry_pause: float = 1.0
    backoff: BackoffPolicy = DEFAULT_BACKOFF
    inaturalist_size: str = AS_GIVEN
    min_free_bytes: int = 0


def is_retried(code: str, retry_failed: str) -> bool:
    """Whether a run retries images with this outcome (a Status or a FetchFailure) of an earlier run."""
    if code in (Status.FETCHED, Status.CACHED):
        return False
    return retry_failed == RETRY_ALL or (retry_failed == RETRY_TEMPORARY and code in TEMPORARY_FAILURES)
