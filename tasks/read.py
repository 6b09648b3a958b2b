"""ReadArchive: the loading half of every script."""

from dataclasses import asdict
from pathlib import Path

from gbif_webdataset.fetch import ledger
from gbif_webdataset.read import containers, dwca, partition_archive, read_archive, select_media
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_folder
from gbif_webdataset.terms import licences
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.parameters import Count, InputFile, Real, Text, listed


class ReadArchive(DatasetTask):
    """Read the archive: one row per photo, in chunks, and every other line with the reason why it is none.

    Of several media extensions the plainest that has lines is read; `passed_over` in the record's facts names the rest.
    """

    FORMAT = 3
    HAS_SLURM_JOB = True

    subset_list: str = InputFile(
        default="", description="take only occurrences whose subset_key is in this file: a JSON list, or a key a line"
    )
    subset_key: str = Text(
        default="acceptedTaxonKey",
        description="column of the occurrence file that subset_list and num_images_per_category go by",
    )
    num_images_per_category: int = Count(default=0, description="images to take of each value of subset_key, 0 for all")
    random_seed: int = Count(default=42, description="seed of the choice that num_images_per_category makes")
    extra_columns: str = Text(
        default="", description="further columns of the occurrence file to carry along, separated by commas"
    )
    licenses: str = Text(
        default="",
        description="take only media under these licences, with commas between, such as cc0,cc-by; all without",
    )
    where: str = Text(
        default="",
        description="take only occurrences for which this SQL condition on their columns and coreid, all text, "
        "holds, such as \"basisOfRecord = 'HUMAN_OBSERVATION' AND year >= '2015'\"",
    )
    max_expansion: float = Real(
        default=dwca.MAX_EXPANSION,
        least=1,
        significant=False,
        description="times that a file of the archive may expand when it is inflated",
    )
    memory_limit: str = Text(
        default="1GB", significant=False, description="memory for the join before it spills to disk, such as 4GB"
    )
    temp_dir: str = Text(default="", significant=False, description="folder to spill to, --scratch where none is given")

    def inputs(self) -> dict[str, str]:
        """What the archive holds, and in how many parts the images are wanted."""
        return {"archive": containers.identity(Path(self.dwca)), "chunks": str(self.chunks)}

    def run(self) -> None:
        """Build the manifest beside the old one, hand over what was fetched for the old one, and change them."""
        paths = self.paths
        scratch = Path(self.temp_dir) if self.temp_dir else paths.scratch
        selection = select_media.Selection(
            key=self.subset_key,
            subset=read_archive.read_keys(Path(self.subset_list)) if self.subset_list else None,
            cap=self.num_images_per_category,
            seed=self.random_seed,
            extra_columns=listed(self.extra_columns),
            licenses=licences.accepted(listed(self.licenses)),
            where=self.where,
        )
        memory = tables.parse_memory_limit(self.memory_limit)
        resources = partition_archive.Resources(memory, scratch, self.max_expansion)
        total = read_archive.bytes_of(Path(self.dwca), self.max_expansion)
        with self.write_target() as target, self.progress("read", "bytes", total) as progress:
            with atomic_folder(paths.manifest) as folder:
                counts = read_archive.build(Path(self.dwca), folder, self.chunks, selection, resources, progress.update)
                ledger.carry(paths.fetched, folder, self.chunks, scratch, self.memory_limit)
            target.results = {"archive": Path(self.dwca).name, **asdict(counts)}
            for path in sorted(paths.manifest.iterdir()):
                target.add(path)

    def images_per_chunk(self) -> list[int]:
        """Return the number of images in each chunk."""
        return list(self.output().record.results["images"])
