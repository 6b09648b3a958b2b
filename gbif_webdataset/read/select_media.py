"""Which media of a partition are images to fetch. The others become rejected lines."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read.category_cap import CategoryCap
from gbif_webdataset.read.columns import HASH, MEDIUM_COLUMNS, cast_texts, coalesce_columns
from gbif_webdataset.read.dwca import MEDIA, RECORDS, Archive
from gbif_webdataset.read.image_paths import ImagePaths
from gbif_webdataset.read.manifest_columns import OWN_COLUMNS, ManifestColumns
from gbif_webdataset.read.media_decisions import REASONS, MediaDecisions, Numbers
from gbif_webdataset.read.media_rules import MediaRules, read_archive_numbers
from gbif_webdataset.read.partition_archive import Partition
from gbif_webdataset.read.rejected_lines import RejectedLines
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_counts import OCCURRENCES, OCCURRENCES_OF_SEVERAL, SubsetCounts
from gbif_webdataset.read.subset_match import SubsetMatcher
from gbif_webdataset.read.subset_taxonomy import relate_keys
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms import columns as described
from gbif_webdataset.terms.checklists import Checklist
from gbif_webdataset.terms.reasons import LineFault, MediumReason

LICENCE_TEXT = "mediaLicense"


@dataclass(frozen=True)
class SelectedImages:
    """Images of a partition, in the manifest's order. The manifest's rows are made of them late, to save memory.

    Attributes:
        schema: the manifest's columns.
        records, media: the partition's tables, with the columns that are copied.
        images: the columns that are not copied, the row of each image in `records` and `media`, and its hash.
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
        own = (*OWN_COLUMNS, described.ARCHIVE.name)
        columns = {name: images.column(name) for name in own if name in images.column_names}
        for source, rows in ((self.records, images.column("record")), (self.media, images.column("medium"))):
            columns |= {name: source.column(name).take(rows) for name in source.column_names}
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)


class MediaSelector:
    """Selects the images of archives, partition by partition. Rows are in the order of archives and of their lines.

    `columns` are those of the manifest. `subset` counts what the user's list matches; None without one.

    Attributes:
        further_urls: media that are not lines of their own, because a line has several URLs.

    Raises:
        SelectionError, ParameterError: the options name a column that all archives lack, or `where` is not valid.
        ArchiveError: the media have no column for a URL.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        archives: Sequence[Archive],
        options: SelectionOptions,
        rejected: RejectedLines,
    ) -> None:
        self.columns = ManifestColumns.from_archives(archives, options)
        self.further_urls = 0
        self._rejected, self._of_events = rejected, np.array([archive.is_of_events for archive in archives])
        self._labels = arrow.to_text_array([archive.label for archive in archives]).dictionary_encode()
        self._rules = MediaRules(self.columns, options, [archive.is_of_events for archive in archives])
        self._paths = ImagePaths(connection)
        self._cap = CategoryCap(connection, options) if options.num_images_per_category else None
        self._options = options
        read = {name for columns in self.columns.of_archives for name in columns.selections[RECORDS].names}
        self._matcher = SubsetMatcher(options.subset, options.subset_key, read) if options.subset is not None else None
        self.subset: SubsetCounts | None = None

    @property
    def taxon_columns(self) -> list[str]:
        """The columns that the user's list is compared with; empty without a list."""
        return self._matcher.read_columns if self._matcher is not None else []

    def start_subset(self, checklist: Checklist, folder: Path) -> SubsetCounts | None:
        """Compare the records with the user's list; `checklist` is that of their keys. The counts go to `folder`.

        Raises:
            SelectionError: the list has keys of another checklist, and no names.
        """
        if self._matcher is not None:
            remarks = relate_keys(self._options, self._matcher, checklist)
            schema = OCCURRENCES_OF_SEVERAL if self._is_of_several else OCCURRENCES
            self.subset = SubsetCounts(self._matcher, remarks, folder, schema)
        return self.subset

    def prepare(self, read_partitions: Callable[[], Iterable[Partition]]) -> None:
        """Look at all partitions once, if the choice of images in one depends on the others."""
        if self._cap is not None:
            partitions = map(self._add_matches, read_partitions())
            self._cap.find_limits((partition.records, self._rules.decide(partition)) for partition in partitions)

    def select(self, partition: Partition) -> SelectedImages:
        """The images of a partition. Other media, and records that repeat an id, become rejected lines."""
        partition = self._add_matches(partition)
        records, media = partition.records, partition.media
        self.further_urls += partition.further_urls
        decisions = self._rules.decide(partition)
        if self._cap is not None:
            decisions.reject(MediumReason.OVER_CAP, self._cap.is_over(records, decisions))
        self._reject(partition, decisions)
        stems = self._paths.compose_stems(records, decisions)
        if self.subset is not None:
            self.subset.add(records, decisions, stems)
        schema = self.columns.schema
        of_media = {
            name: cast_texts(coalesce_columns(media, MEDIUM_COLUMNS[name]), schema.field(name).type)
            for name in self.columns.medium_columns
        }
        if LICENCE_TEXT in of_media and len(self.columns.licence_columns) > 1:
            of_media[LICENCE_TEXT] = pa.chunked_array([decisions.licence_text])
        copied = records.select(self.columns.record_columns)
        images = self._list_images(partition, decisions, self._paths.compose(stems, decisions).combine_chunks())
        return SelectedImages(schema, copied, pa.table(of_media), images)

    @property
    def _is_of_several(self) -> bool:
        """Whether there are several archives."""
        return len(self._labels) > 1

    def _add_matches(self, partition: Partition) -> Partition:
        """The partition with the entry in the subset of each record."""
        if self._matcher is None:
            return partition
        return replace(partition, records=self._matcher.add_matches(partition.records))

    def _list_images(self, partition: Partition, decisions: MediaDecisions, paths: pa.Array) -> pa.Table:
        hashes = arrow.to_numpy(partition.media.column(HASH).combine_chunks())[decisions.images]
        order = _sort_images(hashes, paths)
        images = decisions.images[order]
        rows = arrow.to_array(images)
        labels = self._labels.take(arrow.to_array(decisions.archive[images]))
        return pa.table(
            {
                **({described.ARCHIVE.name: labels} if self._is_of_several else {}),
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
        repeated = partition.records.take(arrow.to_array(decisions.repeated_records))
        of_events = self._of_events[read_archive_numbers(repeated)]
        self._rejected.add_records(repeated.filter(arrow.to_array(~of_events)), LineFault.DUPLICATE_ID)
        if partition.superseded is not None:
            self._rejected.add_records(partition.superseded, MediumReason.IN_ANOTHER_ARCHIVE)


def _sort_images(hashes: Numbers, paths: pa.Array) -> Numbers:
    """The order of images by hash, then by path. Few hashes are equal, and sorting texts is slow."""
    order = np.argsort(hashes, kind="stable")
    is_equal = np.diff(hashes[order]) == 0
    equal = np.flatnonzero(np.append(is_equal, False) | np.append(False, is_equal))
    images = order[equal]
    ranks = np.from_dlpack(pc.rank(paths.take(arrow.to_array(images))))
    order[equal] = images[np.lexsort((ranks, hashes[images]))]
    return order
