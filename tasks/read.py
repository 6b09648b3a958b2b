"""ReadArchive: archive to manifest."""

from dataclasses import asdict
from pathlib import Path

from gbif_webdataset.fetch.carry_over import carry_over
from gbif_webdataset.read import containers, dwca
from gbif_webdataset.read.manifest_writer import ManifestWriter
from gbif_webdataset.read.partition_archive import Resources
from gbif_webdataset.read.read_archive import count_bytes, read_archive
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_list import read_subset_list
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_folder
from gbif_webdataset.terms import licences
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.parameters import Count, InputFile, Real, Text, split_list


class ReadArchive(DatasetTask):
    """Read the archive and write the manifest: one row for each photo, in chunks.

    All other lines of the archive go to manifest/rejected.parquet, each with the reason. If the archive has several
    media extensions, the first with rows is read, in the order Multimedia, Audubon Core, Image, Document; the files
    of the others are in the record's `passed_over`. Faults of parts that are not read, and a DOI that is missing, are
    in its `notes`.
    """

    FORMAT = 3
    HAS_SLURM_JOB = True

    subset_list: str = InputFile(
        default="",
        description="File of keys: take only occurrences whose subset_key is in it. A JSON list, or a text file with "
        "one key per line. Empty takes all.",
    )
    subset_key: str = Text(
        default="acceptedTaxonKey",
        description="Column of the occurrence file that subset_list and num_images_per_category refer to.",
    )
    num_images_per_category: int = Count(
        default=0,
        description="Maximum number of images for each value of subset_key, chosen at random; 0 takes all.",
    )
    random_seed: int = Count(default=42, description="Seed of the random choice that num_images_per_category makes.")
    extra_columns: str = Text(
        default="",
        description="Further columns of the occurrence file for the manifest and later tables, separated by commas.",
    )
    licenses: str = Text(
        default="",
        description="Take only images under these licences, separated by commas, such as cc0,cc-by. Empty takes all.",
    )
    where: str = Text(
        default="",
        description="Take only occurrences that meet this SQL condition on their columns and on coreid, such as "
        "\"basisOfRecord = 'HUMAN_OBSERVATION' AND year >= '2015'\". Every column is text; to compare numbers, write "
        '"TRY_CAST(decimalLatitude AS DOUBLE) > 50". Empty takes all.',
    )
    media_where: str = Text(
        default="",
        description="Take only media that meet this SQL condition on the columns of the media file, such as "
        "\"format = 'image/jpeg' AND coalesce(description, '') NOT LIKE '%Sonogram%'\". Every column is text, as in "
        "where. Empty takes all.",
    )
    max_expansion: float = Real(
        default=dwca.MAX_EXPANSION,
        minimum=1,
        significant=False,
        description="How many times a file of the archive may expand when it is decompressed; an archive that expands "
        "more is refused, because it may be an attack.",
    )
    memory_limit: str = Text(
        default="1GB",
        significant=False,
        description="Memory for joining records and media, such as 800MB or 4GB; larger tables use temporary files.",
    )
    temp_dir: str = Text(
        default="", significant=False, description="Folder for temporary files. Empty uses the folder of --scratch."
    )

    def inputs(self) -> dict[str, str]:
        """A digest of the archive, and the number of chunks."""
        return {"archive": containers.compute_identity(Path(self.dwca)), "chunks": str(self.chunks)}

    def run(self) -> None:
        """Write the new manifest beside the old one, carry the ledgers over to it, and replace the old one."""
        paths = self.paths
        scratch = Path(self.temp_dir) if self.temp_dir else paths.scratch
        options = SelectionOptions(
            subset_key=self.subset_key,
            subset=read_subset_list(Path(self.subset_list)) if self.subset_list else None,
            num_images_per_category=self.num_images_per_category,
            random_seed=self.random_seed,
            extra_columns=split_list(self.extra_columns),
            licenses=licences.parse_licences(split_list(self.licenses)),
            where=self.where,
            media_where=self.media_where,
        )
        memory = tables.parse_memory_limit(self.memory_limit)
        resources = Resources(memory, scratch, self.max_expansion)
        total = count_bytes(Path(self.dwca), self.max_expansion)
        with self.write_target() as target, self.progress("read", "bytes", total) as progress:
            with atomic_folder(paths.manifest) as folder:
                writer = ManifestWriter(folder, self.chunks)
                counts = read_archive(Path(self.dwca), writer, options, resources, progress.update)
                for note in counts.notes:
                    progress.print_once(f"{self.dwca}: {note}")
                carry_over(paths.fetched, folder, self.chunks, scratch, self.memory_limit)
            target.results = {"archive": Path(self.dwca).name, **asdict(counts)}
            for path in sorted(paths.manifest.iterdir()):
                target.add(path)

    def images_per_chunk(self) -> list[int]:
        """Return the number of images in each chunk."""
        return list(self.output().record.results["images"])
