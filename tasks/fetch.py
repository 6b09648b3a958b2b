"""FetchChunk and FetchImages: fetch_images."""

from collections import Counter
from pathlib import Path
from typing import Any

import luigi

from tasks.archive import ReadArchive
from tasks.core import fetch
from tasks.core.addresses import AddressGuard
from tasks.core.download import Limits
from tasks.core.hosts import HostLimits
from tasks.dataset import ChunkTask, DatasetTask
from tasks.parameters import Count, Flag, Real, Text, listed

USER_AGENT = "gbif-webdataset/0.2 (+https://www.gbif.org/; set FetchChunk user_agent to name yourself)"


class FetchChunk(ChunkTask):
    """Download one part of the images, and keep a ledger of what became of each."""

    cache_path: str = Text(
        default="", description="an older tree of images, <datasetKey>/<coreid>[_<n>].jpg, to copy from first"
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
        description="requests under way at a time to one host, by each chunk that runs",
    )
    requests_per_second_per_host: float = Real(
        default=5.0,
        significant=False,
        description="requests a second to one host, by each chunk that runs; 0 for no limit",
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
    max_failed_share: float = Real(
        default=0.5,
        most=1,
        significant=False,
        description="share of the images, from 0 to 1, above which failures that may pass fail the chunk",
    )
    refetch_deleted: bool = Flag(default=False, description="fetch again what DeleteImages deleted")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.guard = AddressGuard(listed(self.allow_addresses))

    def requires(self) -> ReadArchive:
        """The manifest."""
        return self.clone(ReadArchive)

    def inputs(self) -> dict[str, str]:
        """This chunk's part of the manifest, and no other's."""
        name = self.paths.chunk("manifest", self.chunk).relative_to(self.paths.output).as_posix()
        return {name: self.requires().output().record.files[name].sha256}

    def run(self) -> None:
        """Fetch what is missing and write the ledger."""
        plan = fetch.Plan(
            self.num_workers,
            self.retries,
            HostLimits(self.connections_per_host, self.requests_per_second_per_host),
            Limits(
                self.request_timeout,
                self.max_seconds_per_image,
                self.max_image_bytes,
                self.user_agent,
                self.respect_opt_out,
            ),
            self.guard,
            Path(self.cache_path) if self.cache_path else None,
            self.max_failed_share,
            self.refetch_deleted,
        )
        images = self.requires().chunk_facts()
        with self.making() as making, self.chunk_progress("fetch", images) as progress:

            def tell(counts: Counter[str]) -> None:
                failed = counts.total() - counts["fetched"] - counts["cached"]
                progress.update(counts.total(), images[self.chunk], f"{failed:,} failed" if failed else "")

            manifest = self.paths.chunk("manifest", self.chunk)
            making.facts = {"outcomes": dict(fetch.fetch_chunk(self.paths.output, manifest, self.chunk, plan, tell))}
            making.add(self.paths.chunk("fetched", self.chunk))


class FetchImages(DatasetTask, luigi.WrapperTask):
    """Download all parts of the images."""

    def requires(self) -> list[FetchChunk]:
        """Every chunk."""
        return [self.clone(FetchChunk, chunk=chunk) for chunk in range(self.chunks)]

    def complete(self) -> bool:
        """Whether every chunk is fetched."""
        return all(task.complete() for task in self.needed)
