"""The manifest: one row for each photo of the archives, in chunks. Every other line is rejected with its reason.

Both data files of an archive are read once. Their rows are partitioned by a hash of the record's id, so that a record
and its media are in one partition, whatever the order of the lines. Partition by partition they are joined, and images
are selected and written. The manifest's rows are in the order of that hash, then of image_path.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gbif_webdataset.errors import ArchiveError, SelectionError, option_text
from gbif_webdataset.read import dwca
from gbif_webdataset.read.archive_checklist import find_checklist, note_other_checklist
from gbif_webdataset.read.archive_set import join_checklists, open_archives
from gbif_webdataset.read.dwca import MEDIA, RECORDS, Archive
from gbif_webdataset.read.manifest_columns import ManifestColumns
from gbif_webdataset.read.manifest_writer import ManifestWriter
from gbif_webdataset.read.partition_archives import PartitionedArchives, Resources
from gbif_webdataset.read.provenance import note_dois, write_sources
from gbif_webdataset.read.rejected_lines import RejectedLines
from gbif_webdataset.read.select_media import MediaSelector
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_counts import SubsetSummary
from gbif_webdataset.read.subset_taxonomy import REMEDY
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.checklists import KEY, RELEASE, Checklist
from gbif_webdataset.terms.downloads import DownloadStatement
from gbif_webdataset.terms.reasons import MEANINGS, MediumReason

MIN_DATABASE_BYTES = 128 << 20  # for millions of rejected lines, which are sorted on the disk
FROM_OPTIONS = {
    MediumReason.NOT_IN_SUBSET: "--ReadArchive-subset-list",
    MediumReason.NOT_WHERE: "--ReadArchive-where",
    MediumReason.NOT_MEDIA_WHERE: "--ReadArchive-media-where",
    MediumReason.UNUSABLE_LICENCE: "--ReadArchive-licenses",
}
"""Reasons that the user's options give."""


@dataclass
class ManifestCounts:
    """Lines of the archives' files, and what became of them.

    Attributes:
        media_lines: media: the lines of their files, and the further URLs of lines with several.
        checklist: key of the checklist that the taxon keys belong to; None if the archive does not name it.
        checklist_release: its release or, if the archive names none, the date of the download; empty without a key.
        images: images of each chunk.
        rejected: rejected lines by MEDIA or RECORDS and by reason.
        further_urls: media in `media_lines` that are not lines of their own, because a line has several URLs.
        passed_over: files of other media extensions, which were not read, with their row types.
        notes: what a user should know about the archives.
        subset_keys: entries of subset_list.
        subset_found: how many of them occur in records.
        subset_without_media: how many of these occur only in records without media.
    """

    media_files: tuple[str, ...]
    media_lines: int
    record_lines: int
    checklist: str | None
    images: list[int] = field(default_factory=list)
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    further_urls: int = 0
    passed_over: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    subset_keys: int = 0
    subset_found: int = 0
    subset_without_media: int = 0
    checklist_release: str = ""

    @property
    def full_checklist(self) -> Checklist:
        """The checklist with its release; an unknown one without a key."""
        return Checklist(self.checklist or "", self.checklist_release)

    def add_subset(self, summary: SubsetSummary) -> None:
        """Add what became of the user's list of taxa."""
        self.subset_keys, self.subset_found = summary.entries, summary.found
        self.subset_without_media = summary.without_media
        self.notes += [f"--ReadArchive-subset-list: {note}" for note in summary.notes]


def read_archives(
    paths: Mapping[Path, DownloadStatement],
    writer: ManifestWriter,
    options: SelectionOptions,
    resources: Resources,
    progress: Callable[[int, int], None],
) -> ManifestCounts:
    """Write the manifest's chunks, rejected.parquet, source.json, and the archives' citations.txt and rights.txt.

    With a subset, subset.csv lists the records and images of each of its entries, and subset_occurrences.parquet the
    entry of each record.

    All images of a record are in one chunk, chosen by its id alone. `paths` gives what GBIF states of each
    archive; the order changes nothing. `progress` is called with the bytes read so far and the bytes in total.

    Raises:
        ArchiveError: an archive cannot be read, or the archives have different taxonomies.
        SelectionError: no image is left.
        ParameterError: two archives have the same content.
    """
    with ExitStack() as stack:
        archive_set = stack.enter_context(open_archives(paths, resources.max_expansion))
        archives = archive_set.archives
        memory = max(resources.memory // 2, MIN_DATABASE_BYTES)
        connection = stack.enter_context(tables.open_database(resources.scratch, f"{memory >> 20}MB"))
        rejected = RejectedLines(connection)
        selector = MediaSelector(connection, archives, options, rejected)
        partitioned = stack.enter_context(PartitionedArchives(archives, selector.columns, connection, resources.memory))
        notes = [*archive_set.notes, *selector.columns.notes]
        notes += partitioned.read(rejected, progress, selector.taxon_columns)
        counts = _start_counts(archives, partitioned)
        counts.notes += notes
        counts.notes += partitioned.read_vernacular_names(options.vernacular_languages)
        if subset := selector.start_subset(counts.full_checklist, writer.folder):
            stack.enter_context(subset)
        selector.prepare(partitioned.read_partitions)
        schema = selector.columns.schema
        if counts.checklist:
            schema = schema.with_metadata({KEY: counts.checklist, RELEASE: counts.checklist_release})
        counts.images = writer.write(schema, map(selector.select, partitioned.read_partitions()))
        counts.media_lines += selector.further_urls
        counts.further_urls = selector.further_urls
        rejected.write(writer.folder / "rejected.parquet", archives)
        counts.rejected = rejected.count()
        if subset is not None:
            counts.add_subset(subset.write())
        _check_counts(", ".join(str(archive.path) for archive in archives), counts, options)
        sources = write_sources(archives, writer.folder, [digest.result() for digest in archive_set.digests])
        counts.notes += note_dois(archives, sources)
        return counts


@dataclass(frozen=True)
class ArchiveOutline:
    """What meta.xml and the list of files state of archives.

    Attributes:
        total_bytes: number of bytes that `read_archives` reads, decompressed.
        columns: the manifest's columns, and all other columns of the records, which it may have, too.
    """

    total_bytes: int
    columns: tuple[str, ...]


def outline_archives(
    paths: Mapping[Path, DownloadStatement], options: SelectionOptions, max_expansion: float = dwca.MAX_EXPANSION
) -> ArchiveOutline:
    """The outline of archives. `paths` gives what GBIF states of each. No row is read.

    Raises:
        ArchiveError: an archive cannot be read, or the archives state different taxonomies.
        SelectionError, ParameterError: the options name a column that all archives lack, or `where` is not valid.
    """
    with ExitStack() as stack:
        archives = [
            stack.enter_context(dwca.open_archive(path, max_expansion, path.name, statement))
            for path, statement in paths.items()
        ]
        if len(archives) > 1:
            join_checklists(archives, list(map(find_checklist, archives)))
        names = ManifestColumns.from_archives(archives, options).schema.names
        of_records = [column.name for archive in archives for column in archive.records.columns]
        total_bytes = sum(archive.total_bytes for archive in archives)
        return ArchiveOutline(total_bytes, tuple(dict.fromkeys([*names, *of_records])))


def _start_counts(archives: Sequence[Archive], partitioned: PartitionedArchives) -> ManifestCounts:
    checklists = [
        find_checklist(archive, part.checklist) for archive, part in zip(archives, partitioned.parts, strict=True)
    ]
    checklist, notes = join_checklists(archives, checklists)
    for archive, of_archive in zip(archives, checklists, strict=True):
        notes += note_other_checklist(archive, of_archive)
    return ManifestCounts(
        media_files=tuple(name for archive in archives for name in archive.media_files),
        media_lines=partitioned.count_lines(MEDIA),
        record_lines=partitioned.count_lines(RECORDS),
        checklist=checklist.key or None,
        checklist_release=checklist.release if checklist.key else "",
        passed_over={
            f"{archive.label}/{location}" if archive.label else location: row_type
            for archive in archives
            for location, row_type in archive.skipped_media.items()
        },
        notes=[*(note for archive in archives for note in archive.name_itself(archive.notes)), *notes],
    )


def _check_counts(path: str, counts: ManifestCounts, options: SelectionOptions) -> None:
    """Raise SelectionError if there are no images, ArchiveError if the lines do not add up."""
    if not sum(counts.images):
        raise SelectionError(_explain_empty(path, counts, options))
    if counts.media_lines != sum(counts.images) + sum(counts.rejected[MEDIA].values()):
        raise ArchiveError(
            f"{path}: of {counts.media_lines:,} media {sum(counts.images):,} are images and "
            f"{sum(counts.rejected[MEDIA].values()):,} were rejected, which does not add up; report this as a bug"
        )


def _explain_empty(path: str, counts: ManifestCounts, options: SelectionOptions) -> str:
    """Why no image is left, and what to do."""
    media = counts.rejected[MEDIA]
    if not counts.media_lines:
        return f"{path}: its media file has no rows; {dwca.GET_DWCA}"
    from_options = [option for reason, option in FROM_OPTIONS.items() if reason in media]
    if from_options == [FROM_OPTIONS[MediumReason.NOT_IN_SUBSET]]:
        option = option_text("--ReadArchive-subset-list", options.subset_list)
        images = f"an image in {path} ({media[MediumReason.NOT_IN_SUBSET]:,} images)"
        entries = f"none of its {counts.subset_keys:,} {'names' if options.has_names else 'keys'} is"
        if options.has_names:
            return f"{option}: {entries} that of {images}; check subset_list"
        return (
            f"{option}: {entries} the {options.subset_key} of {images}; check subset_list and "
            f"subset_key; keys of another taxonomy do not match (checklist of the archive: {counts.full_checklist}): "
            f"{REMEDY}"
        )
    reasons = ", ".join(f"{count:,} {reason} ({MEANINGS[reason]})" for reason, count in media.items())
    remedy = f"change {' or '.join(from_options)}" if from_options else dwca.GET_DWCA
    return f"{path}: none of its {counts.media_lines:,} media is an image to fetch: {reasons}; {remedy}"
