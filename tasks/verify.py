"""VerifyChunk and VerifyImages: verify_images."""

from collections import Counter

from gbif_webdataset.errors import FetchError
from gbif_webdataset.verify import jpeg_damage, verify_chunk
from tasks.fetch import FetchChunk
from tasks.framework.dataset_task import ChunkTask, DatasetTask
from tasks.framework.parameters import Count, Flag, Text

WITHOUT_SIMPLEJPEG = (
    "simplejpeg is not installed: JPEGs are decoded by Pillow, which finds where one breaks off, but not blocks "
    "that are zeroed, lost or another file's"
)


class VerifyChunk(ChunkTask):
    """Decode and measure one part of the images."""

    FORMAT = 3

    num_workers: int = Count(default=2, least=1, significant=False, description="images decoded at a time")
    max_pixels: int = Count(
        default=100_000_000, least=1, description="pixels, width times height, of the largest image to decode"
    )
    strict: bool = Flag(
        default=False, description="count as corrupt, too, what only warns in files that every viewer shows well"
    )

    def requires(self) -> FetchChunk:
        """The same chunk's ledger, and no other."""
        return self.clone(FetchChunk, chunk=self.chunk)

    def run(self) -> None:
        """Look at every image of the chunk."""
        fetched = self.requires().output().record.results["outcomes"]
        total = fetched.get("fetched", 0) + fetched.get("cached", 0)
        images = self.requires().requires().images_per_chunk()
        with self.write_target() as target, self.chunk_progress("verify", images) as progress:
            if not jpeg_damage.IS_STRICT:
                progress.print_once(WITHOUT_SIMPLEJPEG)

            def tell(counts: Counter[str]) -> None:
                bad = counts.total() - counts["valid"]
                progress.update(counts.total(), total, f"{bad:,} bad" if bad else "")

            verified = self.paths.chunk("verified", self.chunk)
            ledger = self.paths.chunk("fetched", self.chunk)
            found = verify_chunk.verify_chunk(
                ledger, self.paths.images, verified, self.num_workers, self.max_pixels, self.strict, tell
            )
            target.results = {"findings": dict(found)}
            target.add(verified)


class VerifyImages(DatasetTask):
    """Put the verified parts together, and list the images to delete."""

    memory_limit: str = Text(
        default="1GB", significant=False, description="memory for sorting before it spills to disk"
    )

    def _why_nothing_came(self) -> str:
        outcomes: Counter[str] = Counter()
        for task in self.upstream:
            outcomes.update(task.requires().output().record.results["outcomes"])
        hint = "; addresses that are not public are opened with --FetchChunk-allow-addresses"
        blocked = hint if outcomes["blocked-address"] else ""
        return f"no image came: {', '.join(f'{code} {n:,}' for code, n in outcomes.most_common())}{blocked}"

    def requires(self) -> list[VerifyChunk]:
        """Every chunk."""
        return [self.clone(VerifyChunk, chunk=chunk) for chunk in range(self.chunks)]

    def run(self) -> None:
        """Write verified.parquet and errors.csv."""
        with self.write_target() as target:
            paths = self.paths
            chunks = list(paths.chunks("verified", self.chunks))
            if not sum(sum(task.output().record.results["findings"].values()) for task in self.upstream):
                raise FetchError(self._why_nothing_came())
            findings = verify_chunk.combine(chunks, paths.verified, paths.errors, paths.scratch, self.memory_limit)
            target.results = {"findings": findings}
            target.add(paths.verified)
            target.add(paths.errors)
