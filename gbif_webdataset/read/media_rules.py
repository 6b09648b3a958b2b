"""The rules for which media are images to fetch, all except the limit for each category."""

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read.columns import MEDIUM_COLUMNS, RECORD_ID, coalesce_columns, trim_texts
from gbif_webdataset.read.manifest_columns import ManifestColumns
from gbif_webdataset.read.media_decisions import (
    MediaDecisions,
    Numbers,
    find_first_rows,
    number_values,
    to_truths,
)
from gbif_webdataset.read.partition_archive import Partition
from gbif_webdataset.read.selection_options import SelectionOptions
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.tables import quote_text
from gbif_webdataset.terms import licences
from gbif_webdataset.terms.reasons import MediumReason

HTTP = r"(?i)^\s*https?://[^/?#\s]"
# `type` is Dublin Core's type. `format` is a media type that is often missing, or only 'jpeg'.
NOT_STILL_IMAGE = """(trim(type) <> ''
        AND NOT regexp_full_match(trim(type), '(?i)(.*[/:#])?(still ?image|image|photograph)')
    OR regexp_full_match(trim(format), '(?i)(audio|video|text|model|message|application)/.*')
        AND NOT lower(trim(format)) = 'application/octet-stream')"""
STATEMENT_COLUMNS = {"type": ("type",), "format": ("format",), "licence": MEDIUM_COLUMNS["mediaLicense"]}


class MediaRules:
    """Applies the rules to partitions. Each medium is rejected for the first reason that applies."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        columns: ManifestColumns,
        options: SelectionOptions,
        of_events: bool,
    ) -> None:
        self._connection, self._columns, self._options, self._of_events = connection, columns, options, of_events

    def decide(self, partition: Partition) -> MediaDecisions:
        """Decide about the media of a partition."""
        records, media = partition.records, partition.media
        record_ids, coreid = trim_texts(records.column(RECORD_ID)), trim_texts(media.column(RECORD_ID))
        numbers, count = number_values(pa.chunked_array([*record_ids.chunks, *coreid.chunks], pa.string()))
        id_of_record, id_of_medium = np.split(numbers, [records.num_rows])
        first_record = find_first_rows(id_of_record, count)
        statement, licence, is_not_still, is_unusable = self._assess_statements(media)
        url = coalesce_columns(media, self._columns.url_columns)
        decisions = MediaDecisions(
            record=first_record[id_of_medium],
            coreid=coreid,
            url=trim_texts(url),
            licence=licence.take(arrow.to_array(statement)),
            image_number=np.zeros(media.num_rows, np.int64),
            reason=np.zeros(media.num_rows, np.int8),
            repeated_records=np.flatnonzero(first_record[id_of_record] != np.arange(records.num_rows)),
        )
        decisions.reject(MediumReason.ORPHANED, (decisions.record < 0) | to_truths(coreid.is_null()))
        if self._of_events:
            records_with_id = np.bincount(id_of_record, minlength=count)
            decisions.reject(MediumReason.SEVERAL_OCCURRENCES, records_with_id[id_of_medium] > 1)
        decisions.reject(MediumReason.NO_URL, ~to_truths(pc.not_equal(decisions.url, arrow.to_scalar(""))))
        decisions.reject(MediumReason.NOT_HTTP, ~to_truths(pc.match_substring_regex(url, HTTP)))
        decisions.reject(MediumReason.NOT_STILL_IMAGE, is_not_still[statement])
        decisions.number_images(id_of_medium)
        for reason, is_selected in self._select_records(records):
            decisions.reject(reason, ~np.append(is_selected, False)[decisions.record])
        decisions.reject(MediumReason.UNUSABLE_LICENCE, is_unusable[statement])
        return decisions

    def _assess_statements(self, media: pa.Table) -> tuple[Numbers, pa.ChunkedArray, Numbers, Numbers]:
        """Assess what media state about their kind and licence. Each distinct statement is assessed once.

        Returns:
            For each medium the number of its statement; for each statement the licence's code, whether it is not a
            still image, and whether its licence is not one of `licenses`.
        """
        stated = pa.table({name: coalesce_columns(media, terms) for name, terms in STATEMENT_COLUMNS.items()})
        numbers, count = np.zeros(media.num_rows, np.int64), 1
        for column in stated.columns:
            numbers_in_column, count_in_column = number_values(column)
            pairs = arrow.to_array(numbers * count_in_column + numbers_in_column)
            numbers, count = number_values(pa.chunked_array([pairs]))
        statements = stated.take(arrow.to_array(find_first_rows(numbers, count)[: count - 1]))
        self._connection.register("statements", statements)
        codes = ", ".join(quote_text(code) for code in self._options.licenses)
        query = f"SELECT {licences.code_expression('licence')} AS code, {NOT_STILL_IMAGE} AS not_still FROM statements"
        assessed = self._connection.sql(
            f"SELECT code, not_still, {f'code NOT IN ({codes})' if codes else 'false'} AS unusable FROM ({query})"
        ).to_arrow_table()
        code, not_still, unusable = assessed.columns
        return numbers, code, to_truths(not_still), to_truths(unusable)

    def _select_records(self, records: pa.Table) -> Iterator[tuple[MediumReason, Numbers]]:
        """Whether the subset and the condition select each record, with the reason if they do not."""
        if self._options.subset is not None:
            category = arrow.decode_dictionary(coalesce_columns(records, (self._options.subset_key,)))
            keys = arrow.to_text_array(self._options.subset)
            yield MediumReason.NOT_IN_SUBSET, to_truths(pc.is_in(category, keys))
        where = self._columns.where
        if where is not None:
            if "coreid" not in records.column_names:
                records = records.append_column("coreid", trim_texts(records.column(RECORD_ID)))
            yield (
                MediumReason.NOT_WHERE,
                to_truths(where.evaluate(records.select(where.columns) if where.columns else records)),
            )
