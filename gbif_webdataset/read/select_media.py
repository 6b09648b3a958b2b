"""Which media of a partition are images to fetch. The others become rejected lines."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.category_cap import CategoryCap
from gbif_webdataset.read.columns import HASH, MEDIUM_COLUMNS, cast_texts, coalesce_columns
from gbif_webdataset.read.dwca import MEDIA, RECORDS, Archive
from gbif_webdataset.read.image_paths import ImagePaths
from gbif_webdataset.read.manifest_columns import OWN_COLUMNS, ManifestColumns
from gbif_webdataset.read.media_decisions import REASONS, MediaDecisions, Numbers
from gbif_webdataset.read.media_rules import MediaRules
from gbif_webdataset.read.partition_archive import Partition
from gbif_webdataset.read.rejected_lines import RejectedLines
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_counts import SubsetCounts
from gbif_webdataset.read.subset_match import SubsetMatcher
from gbif_webdataset.read.subset_taxonomy import relate_keys
from gbif_webdataset.read.urls import resolve_urls
from gbif_webdataset.read.vernacular_names import VernacularNames
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.checklists import Checklist
from gbif_webdataset.terms.reasons import LineFault, MediumReason

LICENCE_TEXT = "mediaLicense"


@dataclass(frozen=True)
class SelectedImages:
    """Images of a partition, in the manifest's order. The manifest's rows are made of them late, to save memory.

    Attributes:
        schema: the manifest's columns.
        records, media: the partition's tables, with the columns that are copied.
        images: OWN_COLUMNS, the row of each image in `records` and `media`, and its hash.
    """

    schema: pa.Schema
    records: pa.Table
    media: pa.Table
    images: pa.Table

    @property
    def hashes(self) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
        """The hash of each image's record id, ascending."""
        return np.from_dlpack(self.images.column("hash").combine_chunks()).astype(np.uint64, copy=False)

    def slice(self, begin: int, end: int) -> "SelectedImages":
        """The images from `begin` to before `end`."""
        return replace(self, images=self.images.slice(begin, end - begin))

    def make_rows(self) -> pa.Table:
        """The manifest's rows."""
        images = self.images.combine_chunks()
        columns = {name: images.column(name) for name in OWN_COLUMNS}
        for source, rows in ((self.records, images.column("record")), (self.media, images.column("medium"))):
            columns |= {name: source.column(name).take(rows) for name in source.column_names}
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)


class MediaSelector:
    """Selects the images of an archive, partition by partition. Rows are in the order of their lines.

    `columns` are those of the manifest. `subset` counts what the user's list matches; None without one.

    Attributes:
        further_urls: media that are not lines of their own, because a line has several URLs.

    Raises:
        SelectionError, ParameterError: the options name a column that the archive lacks, or `where` is not valid.
        ArchiveError: the media have no column for a URL.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        archive: Archive,
        options: SelectionOptions,
        rejected: RejectedLines,
    ) -> None:
        self.columns = ManifestColumns.from_archive(archive, options)
        self.further_urls = 0
        self._rejected, self._of_events = rejected, archive.is_of_events
        self._rules = MediaRules(self.columns, options, archive.is_of_events)
        self._paths = ImagePaths(connection)
        self._cap = CategoryCap(connection, options) if options.num_images_per_category else None
        self._options = options
        read = self.columns.selections[RECORDS].names
        self._matcher = SubsetMatcher(options.subset, options.subset_key, read) if options.subset is not None else None
        self._names: VernacularNames | None = None
        self._connection, self._archive = connection, archive
        self.subset: SubsetCounts | None = None

    @property
    def taxon_columns(self) -> list[str]:
        """The columns that the user's list is compared with; empty without a list."""
        return self._matcher.read_columns if self._matcher is not None else []

    def read_vernacular_names(self) -> list[str]:
        """Read the archive's extension of vernacular names, if it has one; a note if the extension cannot be read."""
        if layout := self._archive.vernacular_names:
            languages = self._options.vernacular_languages
            try:
                self._names = VernacularNames(self._connection, self._archive, layout, languages)
            except ArchiveError as error:
                return [f"the vernacular names are not used: {error}"]
        return []

    def start_subset(self, checklist: Checklist, folder: Path) -> SubsetCounts | None:
        """Compare the records with the user's list; `checklist` is that of their keys. The counts go to `folder`.

        Raises:
            SelectionError: the list has keys of another checklist, and no names.
        """
        if self._matcher is not None:
            remarks = relate_keys(self._options, self._matcher, checklist)
            self.subset = SubsetCounts(self._matcher, remarks, folder)
        return self.subset

    def prepare(self, read_partitions: Callable[[], Iterable[Partition]]) -> None:
        """Look at all partitions once, if the choice of images in one depends on the others."""
        if self._cap is not None:
            partitions = map(self._prepare_partition, read_partitions())
            self._cap.find_limits((partition.records, self._rules.decide(partition)) for partition in partitions)

    def select(self, partition: Partition) -> SelectedImages:
        """The images of a partition. Other media, and records that repeat an id, become rejected lines."""
        lines = partition.media.num_rows
        partition = self._prepare_partition(partition)
        records, media = partition.records, partition.media
        self.further_urls += media.num_rows - lines
        decisions = self._rules.decide(partition)
        if self._cap is not None:
            decisions.reject(MediumReason.OVER_CAP, self._cap.is_over(records, decisions))
        self._reject(partition, decisions)
        if self.subset is not None:
            self.subset.add(records, decisions)
        schema = self.columns.schema
        of_media = {
            name: cast_texts(coalesce_columns(media, MEDIUM_COLUMNS[name]), schema.field(name).type)
            for name in self.columns.medium_columns
        }
        if LICENCE_TEXT in of_media and len(self.columns.licence_columns) > 1:
            of_media[LICENCE_TEXT] = pa.chunked_array([decisions.licence_text])
        copied = records.select(self.columns.record_columns)
        return SelectedImages(schema, copied, pa.table(of_media), self._list_images(partition, decisions))

    def _prepare_partition(self, partition: Partition) -> Partition:
        """The partition with the URL of each medium, the vernacular name and the entry in the subset of each record."""
        records = self._names.add_names(partition.records) if self._names is not None else partition.records
        records = self._matcher.add_matches(records) if self._matcher is not None else records
        return Partition(records, resolve_urls(partition.media, self.columns.url_columns))

    def _list_images(self, partition: Partition, decisions: MediaDecisions) -> pa.Table:
        paths = self._paths.compose(partition.records, decisions).combine_chunks()
        hashes = arrow.to_numpy(partition.media.column(HASH).combine_chunks())[decisions.images]
        order = _sort_images(hashes, paths)
        images = decisions.images[order]
        rows = arrow.to_array(images)
        return pa.table(
            {
                "coreid": decisions.coreid.take(rows),
                "identifier": decisions.url.take(rows),
                "licenseCode": decisions.licence.take(rows),
                "image_path": paths.take(arrow.to_array(order)),
                "record": arrow.to_array(decisions.record[images]),
                "medium": rows,
                "hash": arrow.to_array(hashes[order]),
            }
        )

    def _reject(self, partition: Partition, decisions: MediaDecisions) -> None:
        rows = arrow.to_array(decisions.rejected)
        reasons = arrow.to_text_array(REASONS).take(arrow.to_array(decisions.reason).take(rows))
        self._rejected.add_rows(MEDIA, partition.media.take(rows), reasons, decisions.url.take(rows))
        if not self._of_events:
            repeated = partition.records.take(arrow.to_array(decisions.repeated_records))
            self._rejected.add_records(repeated, LineFault.DUPLICATE_ID)


def _sort_images(hashes: Numbers, paths: pa.Array) -> Numbers:
    """The order of images by hash, then by path. Few hashes are equal, and sorting texts is slow."""
    order = np.argsort(hashes, kind="stable")
    is_equal = np.diff(hashes[order]) == 0
    equal = np.flatnonzero(np.append(is_equal, False) | np.append(False, is_equal))
    images = order[equal]
    ranks = np.from_dlpack(pc.rank(paths.take(arrow.to_array(images))))
    order[equal] = images[np.lexsort((ranks, hashes[images]))]
    return order
