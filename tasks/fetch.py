"""FetchChunk and FetchImages: fetch_images."""

from collections import Counter
from pathlib import Path
from typing import Any

import luigi
from luigi.interface import core

from gbif_webdataset.fetch import fetch_chunk, inaturalist
from gbif_webdataset.fetch import host_limits as rates
from gbif_webdataset.fetch.address_guard import AddressGuard
from gbif_webdataset.fetch.download import Limits
from gbif_webdataset.fetch.host_queues import Patience
from tasks.framework.dataset_task import ChunkTask, DatasetTask
from tasks.framework.parameters import Choice, Count, Flag, InputFile, Real, Text, listed
from tasks.framework.worker_processes import run_started
from tasks.read import ReadArchive

USER_AGENT = "gbif-webdataset/0.4 (+https://www.gbif.org/; set FetchChunk user_agent to name yourself)"


class FetchChunk(ChunkTask):
    """Download one part of the images, and keep a ledger of what became of each."""

    cache_path: str = Text(
        default="",
        description="an older tree of images, <datasetKey>/<coreid>[_<n>].jpg, to copy from first what is asked for "
        "in the size that the archive names",
    )
    inaturalist_size: str = Choice(
        default=inaturalist.AS_GIVEN,
        choices=inaturalist.SIZES,
        description="size to ask iNaturalist for its photos in: original (at most 2048 pixels a side), large (1024), "
        "medium (500), small (240), or as-given by the archive, which is original",
    )
    num_workers: int = Count(default=16, least=1, significant=False, description="requests under way at a time")
    retries: int = Count(
        default=3,
        significant=False,
        description="further tries of an image whose failure may pass (timeouts, 429, 5xx)",
    )
    request_timeout: float = Real(
        default=30.0, least=0.1, significant=False, description="seconds without a byte until a request is given up"
    )
    max_seconds_per_image: float = Real(
        default=300.0, least=0.1, significant=False, description="seconds that one try of one image may take in all"
    )
    max_image_bytes: int = Count(default=100_000_000, least=1, description="bytes of the largest image to accept")
    connections_per_host: int = Count(
        default=4,
        least=1,
        significant=False,
        description="requests under way at a time to one host, by the whole job",
    )
    requests_per_second_per_host: float = Real(
        default=5.0,
        significant=False,
        description="requests a second to one host, by the whole job; 0 for no limit",
    )
    host_limits: str = InputFile(
        default="",
        significant=False,
        description="a CSV of host,connections,requests_per_second for hosts, or domains, that bear more or less",
    )
    concurrent_chunks: int = Count(
        default=0,
        significant=False,
        description="chunks that are fetched at the same time, among which a host's limits are divided; 0 for as many "
        "as Luigi has workers",
    )
    host_failures: int = Count(
        default=10, least=1, significant=False, description="failures in a row after which a host is left alone"
    )
    host_pause: float = Real(
        default=30.0,
        significant=False,
        description="seconds that such a host is left alone, twice as long each time; after three times its images "
        "are left to the next run",
    )
    longest_host_pause: float = Real(
        default=600.0,
        significant=False,
        description="seconds of Retry-After to wait for; a host that asks for more is left to the next run",
    )
    user_agent: str = Text(
        default=USER_AGENT, significant=False, description="how requests name who asks; put your e-mail address there"
    )
    respect_opt_out: bool = Flag(
        default=True, description="leave images whose X-Robots-Tag says noai, noimageai, noindex or noimageindex"
    )
    allow_addresses: str = Text(
        default="", description="CIDR blocks, separated by commas, to fetch from although they are not public"
    )
    min_free_bytes: int = Count(
        default=1_000_000_000,
        significant=False,
        description="bytes to leave free on the disk: below, fetching stops and can go on later",
    )
    max_failed_share: float = Real(
        default=0.5,
        most=1,
        significant=False,
        description="share of the images, from 0 to 1, above which failures that may pass fail the chunk",
    )
    retry_failed: str = Choice(
        default=fetch_chunk.PASSING,
        choices=fetch_chunk.RETRIES,
        significant=False,
        description="failures of earlier runs to try again: those that may pass, all, or none",
    )
    refetch_deleted: bool = Flag(default=False, description="fetch again, in the same size, what DeleteImages deleted")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.guard = AddressGuard(listed(self.allow_addresses))

    def requires(self) -> ReadArchive:
        """The manifest."""
        return self.clone(ReadArchive)

    def find_retry_reason(self) -> str | None:
        """Return whether an earlier run left failures that this run has to retry."""
        if self.is_made_by_other_job or self._is_of_this_run() or not self._failures():
            return None
        return "failed downloads will be retried"

    def inputs(self) -> dict[str, str]:
        """Return the digest of this chunk's part of the manifest."""
        name = self.paths.chunk("manifest", self.chunk).relative_to(self.paths.output).as_posix()
        return {name: self.upstream[0].output().record.files[name].sha256}

    def run(self) -> None:
        """Fetch what is missing and write the ledger."""
        options, images = self.fetch_options(), self.requires().images_per_chunk()
        with self.write_target() as target, self.chunk_progress("fetch", images) as progress:

            def tell(counts: Counter[str]) -> None:
                failed = counts.total() - counts["fetched"] - counts["cached"]
                progress.update(counts.total(), images[self.chunk], f"{failed:,} failed" if failed else "")

            manifest = self.paths.chunk("manifest", self.chunk)
            outcomes = fetch_chunk.fetch_chunk(self.paths.output, manifest, self.chunk, options, tell)
            target.results = {"outcomes": dict(outcomes)}
            target.add(self.paths.chunk("fetched", self.chunk))

    def _is_of_this_run(self) -> bool:
        return self.paths.record(self.label).stat().st_mtime >= run_started()

    def _failures(self) -> int:
        """Images that failed and are to be tried again."""
        outcomes: dict[str, int] = self.output().record.results["outcomes"]
        return sum(count for code, count in outcomes.items() if fetch_chunk.is_tried_again(code, self.retry_failed))

    def fetch_options(self) -> fetch_chunk.Plan:
        """How it is fetched, by one of the processes that share what a host bears."""
        return fetch_chunk.Plan(
            workers=self.num_workers,
            retries=self.retries,
            hosts=self.hosts().divided(self.sharing),
            limits=Limits(
                self.request_timeout,
                self.max_seconds_per_image,
                self.max_image_bytes,
                self.user_agent,
                self.respect_opt_out,
            ),
            guard=self.guard,
            cache=Path(self.cache_path) if self.cache_path else None,
            max_failed_share=self.max_failed_share,
            refetch_deleted=self.refetch_deleted,
            retry_failed=self.retry_failed,
            patience=Patience(self.host_failures, self.host_pause, longest=self.longest_host_pause),
            inaturalist_size=self.inaturalist_size,
            min_free_bytes=self.min_free_bytes,
        )

    def slurm_options(self) -> list[str]:
        """The limits of hosts are divided as here, not among the workers of the element."""
        return ["--FetchChunk-concurrent-chunks", str(self.sharing)]

    @property
    def sharing(self) -> int:
        """Chunks that are fetched at the same time."""
        return self.concurrent_chunks or min(core().workers, self.chunks)

    def hosts(self) -> rates.HostTable:
        """What the whole job asks each host to bear."""
        default = rates.HostLimits(self.connections_per_host, self.requests_per_second_per_host)
        return rates.table(default, Path(self.host_limits) if self.host_limits else None)


class FetchImages(DatasetTask, luigi.WrapperTask):
    """Download all parts of the images."""

    IS_STAGE = False

    def requires(self) -> list[FetchChunk]:
        """Every chunk."""
        return [self.clone(FetchChunk, chunk=chunk) for chunk in range(self.chunks)]

    def complete(self) -> bool:
        """Return whether every chunk is fetched."""
        return all(task.is_complete() for task in self.upstream)
