"""How many files a job creates with either store, and whether they fit into what is allowed.

Cluster file systems often limit files: 500,000 or one million for a user or a project. A folder counts as a file.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gbif_webdataset.storage.file_limits import FileAllowance
from gbif_webdataset.storage.image_store import FILES, PACKED

PER_CHUNK = 10
"""manifest, ledger, its attempts, verified table; records of FetchChunk, VerifyChunk, ShardChunk; their Slurm logs."""
PER_PACKED_CHUNK = 2
"""The index of a chunk's packs, and their folder."""
PER_SHARD = 3
"""A shard, and its indexes for DALI and Energon."""
OTHER_FILES = 250
"""Tables, records, the report with its figures, and folders, rounded up."""
ASSUMED_IMAGE_BYTES = 1_000_000
"""The size of an image if no size is known."""


@dataclass(frozen=True)
class JobSize:
    """What a job still has to store: `images` of `bytes` bytes in total, None if it is not known, in `chunks` chunks.

    `shard_bytes` is the size of a shard, `pack_bytes` that of a pack.
    """

    images: int
    bytes: float | None
    chunks: int
    shard_bytes: int
    pack_bytes: int


@dataclass(frozen=True)
class FileCounts:
    """The number of files that a job creates with the store `files` and with the store `packed`."""

    files: int
    packed: int


def estimate_files(job: JobSize) -> FileCounts:
    """The number of files that a job creates with either store, rounded up. Folders of images are not counted."""
    total = job.images * ASSUMED_IMAGE_BYTES if job.bytes is None else job.bytes
    common = OTHER_FILES + PER_CHUNK * job.chunks + PER_SHARD * math.ceil(total / job.shard_bytes)
    packs = job.chunks + math.floor(total / job.pack_bytes)  # the last pack of a chunk is not full
    return FileCounts(common + job.images, common + PER_PACKED_CHUNK * job.chunks + packs)


def describe_files(job: JobSize, store: str, allowance: FileAllowance) -> Iterator[str]:
    """A line with the files that either store creates and the files that are allowed; a warning if they do not fit.

    `store` is FILES or PACKED, the store of the dataset.
    """
    counts = estimate_files(job)
    by_store = {FILES: counts.files, PACKED: counts.packed}
    each = ", ".join(f"about {number:,} with --store {name}" for name, number in by_store.items())
    assumed = "; images count as 1 MB each, because their sizes are not known" if job.bytes is None else ""
    yield f"files  {each}{assumed}; {describe_allowance(allowance)}"
    allowed = allowance.files
    if allowed is None or by_store[store] <= allowed:
        return
    problem = f"WARNING: --store {store}: about {by_store[store]:,} files do not fit, because {allowance.limit} allows"
    if store == FILES and counts.packed <= allowed:
        remedy = f"use --store {PACKED}, which creates about {counts.packed:,}"
    elif store == FILES:
        remedy = f"use --store {PACKED}, which creates about {counts.packed:,}, with another --output or fewer --chunks"
    else:
        remedy = "choose another --output, fewer --chunks or a larger --CreateWebDataset-max-shard-size"
    yield f"{problem} only {allowed:,.0f} more; {remedy}"


def describe_allowance(allowance: FileAllowance) -> str:
    """How many files may still be created, as the part of a sentence."""
    if allowance.files is None:
        text = "how many files are allowed is not known"
    elif math.isinf(allowance.files):
        text = "no limit on files was found"
    else:
        text = f"{allowance.limit} allows {allowance.files:,.0f} more"
    return f"{text}, {' and '.join(allowance.unread)} could not be read" if allowance.unread else text
