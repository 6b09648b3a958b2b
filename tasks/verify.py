"""VerifyChunk and VerifyImages: the properties and validity of every downloaded image."""

from collections import Counter
from pathlib import Path

from gbif_webdataset.errors import FetchError
from gbif_webdataset.storage.image_store import open_store
from gbif_webdataset.storage.pack_store import restore_indexes
from gbif_webdataset.storage.recorded_files import is_as_recorded
from gbif_webdataset.terms.outcomes import FetchFailure, is_temporary
from gbif_webdataset.verify import jpeg_damage, verify_chunk, verify_images
from tasks.fetch import FetchChunk
from tasks.framework.dataset_task import ChunkTask, DatasetTask
from tasks.framework.parameters import Count, Flag, Text

WITHOUT_SIMPLEJPEG = (
    "simplejpeg is not installed: Pillow decodes JPEGs instead and finds truncated files, but no blocks that are "
    "zeroed, lost or from another file; install it with pip to find these, too"
)


class VerifyChunk(ChunkTask):
    """Decode and measure the images of one chunk."""

    FORMAT = 4

    num_workers: int = Count(
        default=2, minimum=1, significant=False, description="Number of images decoded at the same time, in each chunk."
    )
    max_pixels: int = Count(
        default=100_000_000,
        minimum=1,
        description="Maximum number of pixels (width x height) of an image; larger images are not decoded and left "
        "out of the dataset; their files are kept.",
    )
    strict: bool = Flag(
        default=False,
        description="true: images that the decoder only warns about (stray bytes, padding, colour profiles) are "
        "invalid, too, although every viewer shows them correctly. false: they are valid and get a warning.",
    )

    def requires(self) -> FetchChunk:
        """The ledger of the same chunk."""
        return self.clone(FetchChunk, chunk=self.chunk)

    def check_images(self) -> None:
        """Check that the images were not removed."""
        self.requires().check_images()

    def run(self) -> None:
        """Check every image of the chunk."""
        fetched = self.requires().output().record.results["outcomes"]
        total = fetched.get("fetched", 0) + fetched.get("cached", 0)
        images = self.requires().requires().images_per_chunk()
        verified = self.paths.chunk("verified", self.chunk)
        earlier = verified if self._has_intact_table(verified) else None
        with self.write_target() as target, self.chunk_progress("verify", images) as progress:
            if not jpeg_damage.HAS_SIMPLEJPEG:
                progress.print_once(WITHOUT_SIMPLEJPEG)

            def report_counts(counts: Counter[str]) -> None:
                invalid = counts.total() - counts["valid"]
                progress.update(counts.total(), total, f"{invalid:,} invalid" if invalid else "")

            ledger = self.paths.chunk("fetched", self.chunk)
            options = verify_chunk.VerifyOptions(self.max_pixels, self.strict, self.num_workers, earlier)
            restore_indexes(self.paths.images, [self.chunk])
            store = open_store(self.paths.images, self.chunk)
            found = verify_chunk.verify_chunk(ledger, store, verified, options, report_counts)
            target.results = {"findings": dict(found)}
            target.add(verified)

    def _has_intact_table(self, verified: Path) -> bool:
        """Whether an earlier run with the same options wrote the table, and it has not changed since."""
        if self.output().find_reason(with_inputs=False) is not None:
            return False
        name = verified.relative_to(self.paths.output).as_posix()
        return is_as_recorded(verified, self.output().record.files[name])


class VerifyImages(DatasetTask):
    """Combine the verified chunks, and list the damaged images.

    It fails if more than FetchChunk's max_failed_share of all images had temporary failures.
    """

    memory_limit: str = Text(
        default="1GB",
        significant=False,
        description="Memory for sorting, such as 800MB or 4GB; larger tables use temporary files in --scratch.",
    )

    def requires(self) -> list[VerifyChunk]:
        """Every chunk."""
        return [self.clone(VerifyChunk, chunk=chunk) for chunk in range(self.chunks)]

    def run(self) -> None:
        """Write verified.parquet and errors.csv."""
        with self.write_target() as target:
            paths = self.paths
            chunks = list(paths.chunks("verified", self.chunks))
            self._check_outcomes()
            findings = verify_images.combine_chunks(
                chunks, paths.verified, paths.errors, paths.scratch, self.memory_limit
            )
            target.results = {"findings": findings}
            target.add(paths.verified)
            target.add(paths.errors)

    def _check_outcomes(self) -> None:
        """Raise FetchError if no image was downloaded, or too many had temporary failures."""
        outcomes: Counter[str] = Counter()
        verified = 0
        for task in self.upstream:
            outcomes.update(task.requires().output().record.results["outcomes"])
            verified += sum(task.output().record.results["findings"].values())
        if not verified:
            raise FetchError(f"{self.paths.output}: {_explain_no_images(outcomes)}")
        failures = Counter({code: number for code, number in outcomes.items() if is_temporary(code)})
        max_failed_share = self.upstream[0].requires().max_failed_share
        if failures.total() > max_failed_share * outcomes.total():
            raise FetchError.at(
                f"--FetchChunk-max-failed-share {max_failed_share:g}",
                f"{failures.total():,} of all {outcomes.total():,} images had temporary failures ({_list(failures)})",
                "check the network and run the same command again with RETRY=1 (--FetchChunk-retry-after 0). Images "
                "that were downloaded are kept",
            )


def _list(outcomes: Counter[str]) -> str:
    return ", ".join(f"{code} {number:,}" for code, number in outcomes.most_common())


def _explain_no_images(outcomes: Counter[str]) -> str:
    remedy = "check the network and the URLs of the archive"
    if outcomes[FetchFailure.BLOCKED_ADDRESS]:
        remedy = "allow addresses that are not public with --FetchChunk-allow-addresses"
    return f"no image was downloaded ({_list(outcomes)}); {remedy}"
