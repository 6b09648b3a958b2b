"""The options of fetching, and which failures of earlier runs they retry."""

import math
from dataclasses import dataclass
from pathlib import Path

from gbif_webdataset.fetch.host_limits import HostTable
from gbif_webdataset.fetch.host_queues import DEFAULT_BACKOFF, BackoffPolicy
from gbif_webdataset.fetch.image_response import DownloadLimits
from gbif_webdataset.fetch.inaturalist import AS_GIVEN
from gbif_webdataset.network.address_guard import AddressGuard
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.storage.image_store import KEEP
from gbif_webdataset.storage.pack_store import PACK_BYTES

RETRY_CHOICES = RETRY_TEMPORARY, RETRY_ALL, RETRY_NONE = "may-pass", "all", "none"
"""The failures of earlier runs that a run retries: those that are temporary, all, or none."""

MAX_RETRY_PAUSE = 60.0
"""Longest pause between two attempts of an image, in seconds."""


@dataclass(frozen=True)
class FetchOptions:
    """How the images of a chunk are fetched.

    `workers` requests run at the same time. `hosts` has the limits of hosts for all chunks together, of which
    `chunks` are fetched at the same time. An image is retried `retries` times after its first attempt, first after
    `retry_pause` seconds, then after twice as long each time. The chunk fails if fewer than `min_free_bytes` are
    free on the disk. `cache` is an older folder of images to copy from, or its address. With `refetch_deleted`,
    images that DeleteImages deleted are fetched again. Failures of earlier runs are retried `retry_after` seconds
    after their last attempt. `run_started` is the start of this run, in seconds since 1970. `store` is one of
    storage.image_store.KINDS; packs have at most `pack_bytes` bytes.
    """

    workers: int
    retries: int
    hosts: HostTable
    limits: DownloadLimits
    guard: AddressGuard
    cache: Path | StoreAddress | None = None
    refetch_deleted: bool = False
    retry_failed: str = RETRY_TEMPORARY
    retry_pause: float = 1.0
    backoff: BackoffPolicy = DEFAULT_BACKOFF
    inaturalist_size: str = AS_GIVEN
    min_free_bytes: int = 0
    retry_after: float = 0.0
    run_started: float = math.inf
    chunks: int = 1
    store: str = KEEP
    pack_bytes: int = PACK_BYTES

    def find_retry_pause(self, attempts: int) -> float:
        """Seconds until an image is retried after so many attempts."""
        return min(self.retry_pause * 2.0 ** (attempts - 1), MAX_RETRY_PAUSE)
