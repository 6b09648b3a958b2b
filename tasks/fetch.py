"""FetchChunk and FetchImages: download the images."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import luigi
from luigi.interface import core

from gbif_webdataset import __version__
from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.fetch import fetch_chunk, inaturalist
from gbif_webdataset.fetch.attempts import RetryBacklog
from gbif_webdataset.fetch.earlier_outcomes import count_fetched_again
from gbif_webdataset.fetch.fetch_options import RETRY_ALL, RETRY_CHOICES, RETRY_NONE, RETRY_TEMPORARY, FetchOptions
from gbif_webdataset.fetch.host_limits import HostLimits, HostTable, read_host_table
from gbif_webdataset.fetch.host_queues import BackoffPolicy
from gbif_webdataset.fetch.image_response import DownloadLimits
from gbif_webdataset.network.address_guard import AddressGuard
from gbif_webdataset.remote.store_address import FOLDER, StoreAddress, is_store_address
from gbif_webdataset.storage.image_store import KEEP, PACKED, is_packed
from gbif_webdataset.storage.pack_store import PACK_BYTES
from gbif_webdataset.storage.recorded_files import load_deletions
from gbif_webdataset.storage.removed_images import find_chunk_removal, find_removal
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms.outcomes import Status
from tasks.framework.dataset_task import ChunkTask, DatasetTask
from tasks.framework.parameters import Choice, Count, FilePath, Flag, InputFile, Real, Text, split_list
from tasks.framework.worker_processes import run_started
from tasks.read import ReadArchive

USER_AGENT = f"gbif-webdataset/{__version__} (+https://www.gbif.org/; set FetchChunk user_agent to name yourself)"


class FetchChunk(ChunkTask):
    """Download the images of one chunk, and record the outcome for each image in the ledger."""

    cache_path: str = FilePath(
        default="",
        description="Folder `images` of an earlier dataset, with files (<datasetKey>/<coreid>[_<n>].jpg) or packs; or "
        "the address of such files, such as s3://bucket/images (also gs://, az://), where each image is asked for when "
        "it is its turn. Images found there are copied instead of downloaded, unless inaturalist_size requests them in "
        "another size. Empty: download all.",
    )
    inaturalist_size: str = Choice(
        default=inaturalist.AS_GIVEN,
        choices=inaturalist.SIZES,
        description="Size of iNaturalist's photos: original (longer side at most 2048 pixels), large (1024), medium "
        "(500) or small (240). as-given: the size that the archive names, usually original.",
    )
    num_workers: int = Count(
        default=16, minimum=1, significant=False, description="Number of downloads at the same time, in each chunk."
    )
    retries: int = Count(
        default=3,
        significant=False,
        description="Number of retries of an image in the same run, after a failure that usually passes (timeouts, "
        "broken connections, 408, 425, 429, 5xx); 0: none.",
    )
    retry_pause: float = Real(
        default=1.0,
        significant=False,
        description="Pause before the first retry of an image, in seconds; each further pause is twice as long, at "
        "most 60 seconds.",
    )
    request_timeout: float = Real(
        default=30.0,
        minimum=0.1,
        significant=False,
        description="Maximum time without a byte from the host, in seconds; after it the request fails.",
    )
    max_seconds_per_image: float = Real(
        default=300.0,
        minimum=0.1,
        significant=False,
        description="Maximum duration of one attempt to download an image, in seconds.",
    )
    max_image_bytes: int = Count(
        default=100_000_000,
        minimum=1,
        description="Maximum size of an image, in bytes; larger images are not downloaded.",
    )
    connections_per_host: int = Count(
        default=4,
        minimum=1,
        significant=False,
        description="Maximum number of requests to one host at the same time, by all chunks together.",
    )
    requests_per_second_per_host: float = Real(
        default=5.0,
        significant=False,
        description="Maximum number of requests per second to one host, by all chunks together; 0: no limit.",
    )
    host_limits: str = InputFile(
        default="",
        significant=False,
        description="CSV file (host,connections,requests_per_second) with limits for single hosts or domains. It "
        "overrides the limits above and the table of the package. Empty: no file.",
    )
    concurrent_chunks: int = Count(
        default=0,
        significant=False,
        description="Number of chunks that are fetched at the same time. The limits of each host are divided by it. "
        "0: as many as Luigi has workers.",
    )
    host_failures: int = Count(
        default=10,
        minimum=1,
        significant=False,
        description="Number of failures in a row after which a host is paused.",
    )
    host_pause: float = Real(
        default=30.0,
        significant=False,
        description="Length of the first pause of a failing host, in seconds; each further pause is twice as long. "
        "After three pauses the host's images are left to the next run.",
    )
    longest_host_pause: float = Real(
        default=600.0,
        significant=False,
        description="Longest pause that a host may ask for (Retry-After), in seconds. Images of a host that asks for "
        "more are left to the next run.",
    )
    user_agent: str = Text(
        default=USER_AGENT,
        significant=False,
        description="Name that is sent to hosts. Add your e-mail address, so that they can contact you instead of "
        "blocking you.",
    )
    respect_opt_out: bool = Flag(
        default=True,
        description="true: do not download images whose X-Robots-Tag has noai, noimageai, noml, noindex or "
        "noimageindex for all robots or for the name in user_agent, or whose tdm-reservation is 1. false: ignore these "
        "headers.",
    )
    allow_addresses: str = Text(
        default="",
        description="CIDR blocks, separated by commas, that images may be fetched from although the addresses are "
        "not public, such as 10.1.0.0/16. Empty: public addresses only.",
    )
    min_free_bytes: int = Count(
        default=1_000_000_000,
        significant=False,
        description="Minimum free space on the disk, in bytes. If less is free, fetching stops; the same command "
        "continues later.",
    )
    pack_bytes: int = Count(
        default=PACK_BYTES,
        minimum=1,
        significant=False,
        description="Maximum size of a pack, in bytes, with --store packed; an image that is larger has its own pack.",
    )
    max_failed_share: float = Real(
        default=0.5,
        maximum=1,
        significant=False,
        description="Maximum share of all images of the job, from 0 to 1, with temporary failures; with more "
        "VerifyImages fails. 401, 403, and images that are too slow or too large do not count.",
    )
    retry_failed: str = Choice(
        default=RETRY_TEMPORARY,
        choices=RETRY_CHOICES,
        significant=False,
        description="Failures of earlier runs to retry. may-pass: temporary failures older than retry_after; these are "
        "all except 404, 410, 451, opted-out images, answers that are no image, invalid URLs and blocked addresses; "
        "401 and 403 are retried once, images that are too slow or too large if the limit is raised. all: every "
        "failure. none: no failure.",
    )
    retry_after: float = Real(
        default=3600.0,
        significant=False,
        description="Time after the last attempt of an image, in seconds, from which a run retries its temporary "
        "failure; 0: retry at once.",
    )
    refetch_deleted: bool = Flag(
        default=False, description="true: download images again that DeleteImages deleted. false: leave them out."
    )
    refetch_removed: bool = Flag(
        default=False,
        significant=False,
        description="true: download images again that were removed after the report (--ReportDataset-keep-images). "
        "false: a stage that needs them says how many, and stops.",
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.guard = AddressGuard(split_list(self.allow_addresses), "--FetchChunk-allow-addresses")
        self.cache = _parse_cache(self.cache_path)

    def check_options(self, columns: Collection[str]) -> None:
        """Check the table of host limits."""
        self.hosts()

    def requires(self) -> ReadArchive:
        """The manifest."""
        return self.clone(ReadArchive)

    def find_retry_reason(self) -> str | None:
        """Return whether an earlier run left failures that this run has to retry, or removed the images."""
        if self.is_made_by_other_job:
            return None
        if find_chunk_removal(self.record()):
            return "removed images will be downloaded again" if self.refetch_removed else None
        if self.store != KEEP and is_packed(self.paths.images, self.chunk) != (self.store == PACKED):
            return f"the images will be stored as {self.store}"
        if self._has_failures_to_retry():
            return "failed downloads will be retried"
        if self._count_fetched_again():
            return "deleted images that are not damaged will be downloaded again"
        return None

    def count_retriable_images(self) -> int:
        """The number of images of a built chunk that may succeed in another run; 0 if its images were removed."""
        return 0 if find_chunk_removal(self.record()) else self._load_backlog().images

    def check_images(self) -> None:
        """Check that no images were removed, or that the user has requested them again."""
        if not self.refetch_removed and (removal := find_removal(self.paths)):
            raise MissingPieceError.at(
                "--FetchChunk-refetch-removed false",
                f"this needs the images, which were removed after the report; {removal} would be downloaded again",
                "set it to true to download them",
            )

    def inputs(self) -> dict[str, str]:
        """Return the digest of this chunk's part of the manifest."""
        name = self.paths.chunk("manifest", self.chunk).relative_to(self.paths.output).as_posix()
        return {name: self.upstream[0].output().record.files[name].sha256}

    def input_records(self) -> list[TargetRecord]:
        """This chunk's part of the manifest, its ledger, and the deleted images."""
        manifest = self.upstream[0].output().record.select_files(*self.inputs())
        return [manifest, *filter(None, [self.record()]), *load_deletions(self.paths)]

    def run(self) -> None:
        """Fetch the images that are missing, and write the ledger."""
        options, images = self.fetch_options(), self.requires().images_per_chunk()
        with self.write_target() as target, self.chunk_progress("fetch", images) as progress:

            def report_counts(counts: Counter[str]) -> None:
                failed = counts.total() - counts["fetched"] - counts["cached"]
                progress.update(counts.total(), images[self.chunk], f"{failed:,} failed" if failed else "")

            manifest = self.paths.chunk("manifest", self.chunk)
            again = self._count_fetched_again()
            if again:
                progress.print_once(
                    f"{again:,} images of chunk {self.chunk} were deleted but are not damaged: downloading them again"
                )
            result = fetch_chunk.fetch_chunk(self.paths.output, manifest, self.chunk, options, report_counts)
            target.results = {"outcomes": dict(result.counts), "retries": result.backlog.to_results()}
            if again:
                target.results["fetched_again"] = again
            target.add(self.paths.chunk("fetched", self.chunk))

    def _count_fetched_again(self) -> int:
        """The number of images that an earlier run deleted and that count as sound by now."""
        paths = self.paths
        return count_fetched_again(paths.deleted, paths.chunk("fetched", self.chunk), paths.images, self.chunk)

    def _load_backlog(self) -> RetryBacklog:
        written = self.paths.record(self.label).stat().st_mtime
        return RetryBacklog.from_results(self.output().record.results, written)

    def _has_failures_to_retry(self) -> bool:
        """Whether this run retries failures of the built chunk."""
        if self.paths.record(self.label).stat().st_mtime >= run_started():
            return False
        if self.retry_failed == RETRY_ALL:
            outcomes: dict[str, int] = self.output().record.results["outcomes"]
            return not outcomes.keys() <= {Status.FETCHED, Status.CACHED}
        if self.retry_failed == RETRY_NONE:
            return False
        backlog, latest = self._load_backlog(), run_started() - self.retry_after
        is_limit_raised = backlog.slow_images > 0 and self.max_seconds_per_image > backlog.slow_limit > 0
        return is_limit_raised or (backlog.images > 0 and backlog.oldest < latest)

    def fetch_options(self) -> FetchOptions:
        """The options of this chunk. Chunks that are fetched at the same time share the limits of each host."""
        return FetchOptions(
            workers=self.num_workers,
            retries=self.retries,
            retry_pause=self.retry_pause,
            hosts=self.hosts(),
            chunks=self.sharing,
            limits=DownloadLimits(
                self.request_timeout,
                self.max_seconds_per_image,
                self.max_image_bytes,
                self.user_agent,
                self.respect_opt_out,
            ),
            guard=self.guard,
            cache=self.cache,
            refetch_deleted=self.refetch_deleted,
            retry_failed=self.retry_failed,
            backoff=BackoffPolicy(self.host_failures, self.host_pause, max_wait=self.longest_host_pause),
            inaturalist_size=self.inaturalist_size,
            min_free_bytes=self.min_free_bytes,
            retry_after=self.retry_after,
            run_started=run_started(),
            store=self.store,
            pack_bytes=self.pack_bytes,
        )

    def slurm_options(self) -> list[str]:
        """The limits of hosts are divided by the same number as here, not by the workers of the Slurm job."""
        return ["--FetchChunk-concurrent-chunks", str(self.sharing)]

    @property
    def sharing(self) -> int:
        """The number of chunks that are fetched at the same time."""
        return self.concurrent_chunks or min(core().workers, self.chunks)

    def hosts(self) -> HostTable:
        """The limits of each host for all chunks together."""
        default = HostLimits(self.connections_per_host, self.requests_per_second_per_host)
        return read_host_table(default, Path(self.host_limits) if self.host_limits else None)


class FetchImages(DatasetTask, luigi.WrapperTask):
    """Download the images of all chunks."""

    IS_STAGE = False

    def requires(self) -> list[FetchChunk]:
        """Every chunk."""
        return [self.clone(FetchChunk, chunk=chunk) for chunk in range(self.chunks)]

    def complete(self) -> bool:
        """Return whether every chunk is fetched."""
        return all(task.is_complete() for task in self.upstream)


def _parse_cache(value: str) -> Path | StoreAddress | None:
    """Return the folder or the address of the images to copy; None without one."""
    if not is_store_address(value):
        return Path(value) if value else None
    address = StoreAddress.parse(value, option_name="--FetchChunk-cache-path")
    return Path(address.prefix) if address.scheme == FOLDER else address
