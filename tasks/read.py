"""ReadArchive: archives to manifest."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from luigi.task_register import Register

from gbif_webdataset.errors import ParameterError, option_text
from gbif_webdataset.fetch.carry_over import carry_over
from gbif_webdataset.read import containers, dwca
from gbif_webdataset.read.manifest_writer import ManifestWriter
from gbif_webdataset.read.partition_archives import Resources
from gbif_webdataset.read.read_archive import ManifestCounts, outline_archives, read_archives
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_counts import SUBSET
from gbif_webdataset.read.subset_list import SubsetList, read_subset_list
from gbif_webdataset.read.subset_taxonomy import REMEDY
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_folder
from gbif_webdataset.storage.chunks import chunk_name, list_packed_chunks
from gbif_webdataset.storage.crosswalk_table import CrosswalkTable
from gbif_webdataset.storage.list_match import describe_match
from gbif_webdataset.storage.target_record import TargetRecord
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.downloads import NO_STATEMENT, DownloadStatement
from tasks.archive import FetchArchive
from tasks.framework import validation
from tasks.framework.dataset_task import DatasetTask
from tasks.framework.messages import print_note
from tasks.framework.parameters import Count, InputFile, Real, Text, split_list

LATER_STAGES = ("CleanDataset", "SplitDataset", "CreateWebDataset")
"""The tasks whose parameters name columns of the archive."""


class ReadArchive(DatasetTask):
    """Read the archive and write the manifest: one row for each photo, in chunks.

    All other lines of the archive go to manifest/rejected.parquet, each with the reason. If several archives have an
    occurrence, the record of the newest counts, and media that only older ones have are added; the order in which
    --dwca names the archives changes nothing. If an archive has several media extensions, the first with rows is read,
    in the order Multimedia, Audubon Core, Image, Document. The record, .made/ReadArchive.json, lists the files of the
    other media extensions in `passed_over`, and faults of parts that are not read, or a missing DOI, in `notes`.
    """

    FORMAT = 3
    HAS_SLURM_JOB = True

    subset_list: str = InputFile(
        default="",
        description="File of taxa: take only their occurrences. A JSON list or a text file with a key or a name per "
        "line, or a CSV with the columns scientificName, taxonKey, rank, kingdom. Keys are values of subset_key. Names "
        "are those of any rank without author (a higher taxon includes all taxa below it), or scientific names exactly "
        "as in the archive. Empty takes all.",
    )
    crosswalk: str = InputFile(
        default="",
        description="crosswalk.csv of `make crosswalk`, from the taxonomy of the keys in subset_list to that of this "
        "archive. Empty: the keys are compared as they are.",
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
        description="Further columns of the occurrence file for the manifest and later tables, separated by commas, "
        "for your own use. Columns that other parameters name, such as category_key, are added by themselves. Empty "
        "adds no further columns.",
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
    vernacular_language: str = Text(
        default="en",
        description="Language of vernacularName, as a code such as en or fr; separate several with commas, the "
        "preferred one first. It counts if the archive has an extension of vernacular names. Otherwise, and where "
        "it has no name in these languages, the archive's column vernacularName is used, or else any other language.",
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

    def requires(self) -> list[DatasetTask]:
        """Return the task that downloads the archive, if it is not on this machine."""
        fetch = self.clone(FetchArchive)
        return [fetch] if fetch.is_needed else []

    @property
    def archives(self) -> tuple[Path, ...]:
        """The paths of the archives."""
        return tuple(dict.fromkeys(self.clone(FetchArchive).list_archives()))

    @property
    def statements(self) -> dict[Path, DownloadStatement]:
        """What GBIF states of each archive; nothing of those that were on this machine."""
        return dict.fromkeys(self.archives, NO_STATEMENT) | self.clone(FetchArchive).list_statements()

    def inputs(self) -> dict[str, str]:
        """A digest of the archives, the number of chunks, and the columns that parameters of later stages name."""
        inputs = {"archive": containers.compute_joint_identity(self.archives), "chunks": str(self.chunks)}
        columns = self.later_columns()
        return inputs | {"columns": ",".join(columns)} if columns else inputs

    def later_columns(self) -> list[str]:
        """The columns of the archive that later stages need beyond the usual ones.

        If the present manifest has them and more, they are those of the manifest: it need not be made again.
        """
        own = {*split_list(self.extra_columns), *([self.subset_key] if self.needs_subset_key else [])}
        columns = [name for name in validation.list_later_columns(LATER_STAGES) if name not in own]
        record = self.record()
        present = split_list(record.fingerprint.inputs.get("columns", "")) if record else ()
        return list(present) if set(columns) <= set(present) else columns

    @property
    def needs_subset_key(self) -> bool:
        """Whether subset_key is used."""
        return bool(self.subset_list or self.num_images_per_category)

    def selection_options(self) -> SelectionOptions:
        """The images and columns to select. Raises ParameterError if a value or subset_list is not valid."""
        return SelectionOptions(
            subset_key=self.subset_key,
            subset=read_subset_list(Path(self.subset_list)) if self.subset_list else None,
            subset_list=self.subset_list,
            crosswalk=self._read_crosswalk(),
            same_taxonomy=self.same_taxonomy,
            vernacular_languages=split_list(self.vernacular_language),
            num_images_per_category=self.num_images_per_category,
            random_seed=self.random_seed,
            extra_columns=split_list(self.extra_columns),
            later_columns=tuple(self.later_columns()),
            licenses=licences.parse_licences(split_list(self.licenses)),
            where=self.where,
            media_where=self.media_where,
        )

    def check_archive(self, report: Callable[[str], None]) -> int:
        """Check all stages against the columns of the archives. The number of bytes to read."""
        outline = outline_archives(self.statements, self.selection_options(), self.max_expansion)
        validation.check_options(self, outline.columns, report)
        return outline.total_bytes

    def input_records(self) -> list[TargetRecord]:
        """The ledgers, which are carried over to the new manifest."""
        records = (TargetRecord.load(path) for path in sorted(self.paths.records.glob("FetchChunk-*.json")))
        return list(filter(None, records))

    def run(self) -> None:
        """Write the new manifest beside the old one, carry the ledgers over to it, and replace the old one."""
        paths, options = self.paths, self.selection_options()
        scratch = Path(self.temp_dir) if self.temp_dir else paths.scratch
        memory = tables.parse_memory_limit(self.memory_limit)
        resources = Resources(memory, scratch, self.max_expansion)
        total = self.check_archive(print_note)
        with self.write_target() as target, self.progress("read", "bytes", total) as progress:
            with atomic_folder(paths.manifest) as folder:
                writer = ManifestWriter(folder, self.chunks)
                counts = read_archives(self.statements, writer, options, resources, progress.update)
                for note in counts.notes:
                    progress.print_once(note if len(self.archives) > 1 else f"{self.dwca}: {note}")
                if options.subset is not None:
                    self._report_subset(counts, options.subset, progress.print_once)
                chunks = [folder / chunk_name(chunk) for chunk in range(self.chunks)]
                validation.check_manifest(self, chunks, progress.print_once)
                if (packed := len(list_packed_chunks(paths.images))) not in (0, self.chunks):
                    progress.print_once(
                        f"copying the images from the packs of {packed} chunks to those of {self.chunks}; nothing is "
                        "downloaded again"
                    )
                pack_bytes = self.clone(Register.get_task_cls("FetchChunk"), chunk=0).pack_bytes
                carry_over(paths.fetched, folder, scratch, self.memory_limit, pack_bytes)
            names = sorted(path.name for path in self.archives)
            target.results = {"archive": ", ".join(names), **asdict(counts)}
            for path in sorted(paths.manifest.iterdir()):
                target.add(path)

    def _report_subset(self, counts: ManifestCounts, subset: SubsetList, report: Callable[[str], None]) -> None:
        option = option_text("--ReadArchive-subset-list", self.subset_list)
        check = "check their spelling" if subset.has_names else f"check that they are values of {self.subset_key}"
        remedy = f"manifest/{SUBSET} lists all of them; {check}"
        if not subset.has_only_names:
            remedy += f" (checklist of the archive: {counts.full_checklist}): {REMEDY}"
        entries = "names" if subset.has_names else "keys"
        report(describe_match(option, entries, counts.subset_found, counts.subset_keys, remedy))
        if missing := counts.subset_without_media:
            report(
                f"{option}: {missing:,} of these {entries} {'has' if missing == 1 else 'have'} no media in the "
                f"archive; the column note of manifest/{SUBSET} says which"
            )

    def _read_crosswalk(self) -> CrosswalkTable | None:
        option = "--ReadArchive-crosswalk"
        if self.crosswalk and not self.subset_list:
            problem = "there is no list of keys to translate"
            raise ParameterError.at(f"{option} {self.crosswalk}", problem, "set --ReadArchive-subset-list")
        return CrosswalkTable.read(Path(self.crosswalk), option) if self.crosswalk else None

    def images_per_chunk(self) -> list[int]:
        """Return the number of images in each chunk."""
        return list(self.output().record.results["images"])
