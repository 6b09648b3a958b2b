"""The manifest: one row for each photo of an archive, in chunks. Every other line is rejected with its reason.

Both data files are read once. Their rows are partitioned by a hash of the record's id, so that a record and its media
are in one partition, whatever the order of the lines. Partition by partition they are joined, and images are selected
and written. The manifest's rows are in the order of that hash, then of image_path.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gbif_webdataset.errors import ArchiveError, SelectionError, option_text
from gbif_webdataset.read import dwca
from gbif_webdataset.read.archive_checklist import find_checklist
from gbif_webdataset.read.dwca import MEDIA, RECORDS, Archive
from gbif_webdataset.read.manifest_columns import ManifestColumns
from gbif_webdataset.read.manifest_writer import ManifestWriter
from gbif_webdataset.read.partition_archive import PartitionedArchive, Resources
from gbif_webdataset.read.provenance import digest_in_background, write_source
from gbif_webdataset.read.rejected_lines import RejectedLines
from gbif_webdataset.read.select_media import MediaSelector
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_taxonomy import REMEDY
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.checklists import KEY, RELEASE, Checklist
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
    """Lines of the archive's files, and what became of them.

    Attributes:
        media_lines: media: the lines of their files, and the further URLs of lines with several.
        checklist: key of the checklist that the taxon keys belong to; None if the archive does not name it.
        checklist_release: its release or, if the archive names none, the date of the download; empty without a key.
        images: images of each chunk.
        rejected: rejected lines by MEDIA or RECORDS and by reason.
        further_urls: media in `media_lines` that are not lines of their own, because a line has several URLs.
        passed_over: files of other media extensions, which were not read, with their row types.
        notes: what a user should know about the archive.
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


def read_archive(
    path: Path,
    writer: ManifestWriter,
    options: SelectionOptions,
    resources: Resources,
    progress: Callable[[int, int], None],
) -> ManifestCounts:
    """Write the manifest's chunks, rejected.parquet, source.json, and the archive's citations.txt and rights.txt.

    With a subset, subset.csv lists the records and images of each of its entries, and subset_occurrences.parquet the
    entry of each record.

    All images of a record are in one chunk, chosen by its id alone. `progress` is called with the bytes read so far
    and the bytes in total.

    Raises:
        ArchiveError: the archive cannot be read.
        SelectionError: no image is left.
    """
    with ExitStack() as stack:
        archive = stack.enter_context(dwca.open_archive(path, resources.max_expansion))
        digest = stack.enter_context(digest_in_background(path))
        memory = max(resources.memory // 2, MIN_DATABASE_BYTES)
        connection = stack.enter_context(tables.open_database(resources.scratch, f"{memory >> 20}MB"))
        rejected = RejectedLines(connection)
        selector = MediaSelector(connection, archive, options, rejected)
        partitioned = stack.enter_context(PartitionedArchive(archive, selector.columns, connection, resources.memory))
        partitioned.read(rejected, progress, selector.taxon_columns)
        counts = _start_counts(archive, partitioned)
        counts.notes += selector.read_vernacular_names()
        if subset := selector.start_subset(counts.full_checklist, writer.folder):
            stack.enter_context(subset)
        selector.prepare(partitioned.read_partitions)
        schema = selector.columns.schema
        if counts.checklist:
            schema = schema.with_metadata({KEY: counts.checklist, RELEASE: counts.checklist_release})
        counts.images = writer.write(schema, map(selector.select, partitioned.read_partitions()))
        counts.media_lines += selector.further_urls
        counts.further_urls = selector.further_urls
        rejected.write(writer.folder / "rejected.parquet", archive)
        counts.rejected = rejected.count()
        if subset is not None:
            summary = subset.write()
            counts.subset_keys, counts.subset_found = summary.entries, summary.found
            counts.subset_without_media = summary.without_media
            counts.notes += [f"--ReadArchive-subset-list: {note}" for note in summary.notes]
        _check_counts(path, counts, options)
        source = write_source(archive, writer.folder, digest.result())
        counts.notes += source.notes
        return counts


@dataclass(frozen=True)
class ArchiveOutline:
    """What meta.xml and the list of files state of an archive.

    Attributes:
        total_bytes: number of bytes that `read_archive` reads, decompressed.
        columns: the manifest's columns, and all other columns of the records, which it may have, too.
    """

    total_bytes: int
    columns: tuple[str, ...]


def outline_archive(path: Path, options: SelectionOptions, max_expansion: float = dwca.MAX_EXPANSION) -> ArchiveOutline:
    """The outline of an archive. No row is read.

    Raises:
        ArchiveError: the archive cannot be read.
        SelectionError, ParameterError: the options name a column that the archive lacks, or `where` is not valid.
    """
    with dwca.open_archive(path, max_expansion) as archive:
        names = ManifestColumns.from_archive(archive, options).schema.names
        return ArchiveOutline(
            archive.total_bytes, tuple(dict.fromkeys([*names, *(column.name for column in archive.records.columns)]))
        )


def _start_counts(archive: Archive, partitioned: PartitionedArchive) -> ManifestCounts:
    stated = find_checklist(archive)
    checklist = partitioned.checklist or stated.key or None
    return ManifestCounts(
        media_files=archive.media_files,
        media_lines=partitioned.lines[MEDIA],
        record_lines=partitioned.lines[RECORDS],
        checklist=checklist,
        checklist_release=stated.release if checklist else "",
        passed_over=archive.skipped_media,
        notes=list(archive.notes),
    )


def _check_counts(path: Path, counts: ManifestCounts, options: SelectionOptions) -> None:
    """Raise SelectionError if there are no images, ArchiveError if the lines do not add up."""
    if not sum(counts.images):
        raise SelectionError(_explain_empty(path, counts, options))
    if counts.media_lines != sum(counts.images) + sum(counts.rejected[MEDIA].values()):
        raise ArchiveError(
            f"{path}: of {counts.media_lines:,} media {sum(counts.images):,} are images and "
            f"{sum(counts.rejected[MEDIA].values()):,} were rejected, which does not add up; report this as a bug"
        )


def _explain_empty(path: Path, counts: ManifestCounts, options: SelectionOptions) -> str:
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
