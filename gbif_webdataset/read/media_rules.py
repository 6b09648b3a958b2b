"""The rules for which media are images to fetch, all except the limit for each category."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read.columns import ARCHIVE, OWNER, RECORD_ID, SEVERAL, trim_texts
from gbif_webdataset.read.manifest_columns import ManifestColumns
from gbif_webdataset.read.media_decisions import (
    MediaDecisions,
    Numbers,
    find_first_rows,
    number_values,
    to_truths,
)
from gbif_webdataset.read.media_kinds import is_other_kind
from gbif_webdataset.read.partition_archive import Partition
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.read.subset_match import ENTRY
from gbif_webdataset.read.urls import IS_HTTP, URL
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.licence_texts import classify_licence
from gbif_webdataset.terms.reasons import MediumReason


@dataclass(frozen=True)
class Statements:
    """What media state about their kind and licence, assessed once for each distinct statement.

    Attributes:
        numbers: the number of its statement, for each medium.
        licence: code of the licence, for each statement.
        licence_text: the text that gives this code, for each statement.
        is_other_kind: whether it is not a still image, for each statement.
        is_unusable: whether the licence is not one of `licenses`, for each statement.
    """

    numbers: Numbers
    licence: pa.Array
    licence_text: pa.DictionaryArray
    is_other_kind: Numbers
    is_unusable: Numbers


class MediaRules:
    """Applies the rules to partitions. Each medium is rejected for the first reason that applies.

    `of_events` says of each archive whether its core has events.
    """

    def __init__(
        self,
        columns: ManifestColumns,
        options: SelectionOptions,
        of_events: Sequence[bool],
    ) -> None:
        self._columns, self._options, self._of_events = columns, options, np.array(of_events)

    def decide(self, partition: Partition) -> MediaDecisions:
        """Decide about the media of a partition."""
        records, media = partition.records, partition.media
        coreid, archive = trim_texts(media.column(RECORD_ID)), read_archive_numbers(media)
        id_of_record, id_of_medium, count = _number_owners(records, media)
        first_record = find_first_rows(id_of_record, count)
        stated = self._assess_statements(media)
        statement = stated.numbers
        decisions = MediaDecisions(
            record=first_record[id_of_medium],
            coreid=coreid,
            url=media.column(URL),
            licence=pa.chunked_array([stated.licence.take(arrow.to_array(statement))]),
            licence_text=stated.licence_text.take(arrow.to_array(statement)),
            image_number=np.zeros(media.num_rows, np.int64),
            reason=np.zeros(media.num_rows, np.int8),
            archive=archive,
            repeated_records=np.flatnonzero(first_record[id_of_record] != np.arange(records.num_rows)),
        )
        if SEVERAL in media.column_names:
            decisions.reject(MediumReason.SEVERAL_OCCURRENCES, to_truths(media.column(SEVERAL)))
        decisions.reject(MediumReason.ORPHANED, (decisions.record < 0) | to_truths(coreid.is_null()))
        if self._of_events.any():
            records_with_id = np.bincount(id_of_record, minlength=count)
            of_several = self._of_events[archive] & (records_with_id[id_of_medium] > 1)
            decisions.reject(MediumReason.SEVERAL_OCCURRENCES, of_several)
        decisions.reject(MediumReason.NO_URL, ~to_truths(pc.not_equal(decisions.url, arrow.to_scalar(""))))
        if ARCHIVE in media.column_names:
            decisions.reject_in_another_archive(id_of_medium)
        decisions.reject(MediumReason.NOT_HTTP, ~to_truths(media.column(IS_HTTP)))
        decisions.reject(MediumReason.NOT_STILL_IMAGE, stated.is_other_kind[statement])
        decisions.number_images(id_of_medium)
        for reason, is_selected in self._select_records(records):
            decisions.reject(reason, ~np.append(is_selected, False)[decisions.record])
        if (media_where := self._columns.media_where) is not None:
            is_met = media_where.evaluate(media.select(media_where.columns) if media_where.columns else media)
            decisions.reject(MediumReason.NOT_MEDIA_WHERE, ~to_truths(is_met))
        decisions.reject(MediumReason.UNUSABLE_LICENCE, stated.is_unusable[statement])
        return decisions

    def _assess_statements(self, media: pa.Table) -> Statements:
        of_licence = self._columns.licence_columns
        names = [*(name for name in ("type", "format") if name in media.column_names), *of_licence]
        numbers, count = np.zeros(media.num_rows, np.int64), 1
        for name in names:
            numbers_in_column, count_in_column = number_values(media.column(name))
            pairs = arrow.to_array(numbers * count_in_column + numbers_in_column)
            numbers, count = number_values(pa.chunked_array([pairs]))
        first_rows = find_first_rows(numbers, count)[: count - 1]
        rows = media.select(names).take(arrow.to_array(first_rows)).to_pylist() if names else [{}]
        codes = [classify_licence(row[name] for name in of_licence) for row in rows]
        usable = self._options.licenses
        texts = [_choose_text([row[name] for name in of_licence], code) for row, code in zip(rows, codes, strict=True)]
        return Statements(
            numbers,
            arrow.to_text_array(codes),
            arrow.to_text_array(texts).dictionary_encode(),
            np.array([is_other_kind(row.get("type"), row.get("format")) for row in rows], bool),
            np.array([bool(usable) and code not in usable for code in codes], bool),
        )

    def _select_records(self, records: pa.Table) -> Iterator[tuple[MediumReason, Numbers]]:
        """Whether the subset and the condition select each record, with the reason if they do not."""
        if self._options.subset is not None:
            yield MediumReason.NOT_IN_SUBSET, arrow.to_numpy(records.column(ENTRY).combine_chunks()) >= 0
        where = self._columns.where
        if where is not None:
            if "coreid" not in records.column_names:
                records = records.append_column("coreid", trim_texts(records.column(RECORD_ID)))
            yield (
                MediumReason.NOT_WHERE,
                to_truths(where.evaluate(records.select(where.columns) if where.columns else records)),
            )


def read_archive_numbers(rows: pa.Table) -> Numbers:
    """The number of the archive of each row; 0 if there is only one archive."""
    if ARCHIVE not in rows.column_names:
        return np.zeros(rows.num_rows, np.int32)
    return arrow.to_numpy(rows.column(ARCHIVE).combine_chunks())


def _number_owners(records: pa.Table, media: pa.Table) -> tuple[Numbers, Numbers, int]:
    """A number for each record and for each medium, the same for a medium and its record; and how many there are."""
    if OWNER in records.column_names:
        of_records, of_media = (arrow.to_numpy(rows.column(OWNER).combine_chunks()) for rows in (records, media))
        return of_records, of_media, int(max(of_records.max(initial=-1), of_media.max(initial=-1))) + 1
    ids = [*trim_texts(records.column(RECORD_ID)).chunks, *trim_texts(media.column(RECORD_ID)).chunks]
    numbers, count = number_values(pa.chunked_array(ids, pa.string()))
    of_records, of_media = np.split(numbers, [records.num_rows])
    return of_records, of_media, count


def _choose_text(texts: list[str | None], code: str) -> str | None:
    """The first of a medium's licence texts that states its licence; the first text if none does by itself."""
    stated = [text for text in texts if text is not None]
    return next((text for text in stated if classify_licence([text]) == code), stated[0] if stated else None)
