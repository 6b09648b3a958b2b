"""What each entry of the user's list of taxa matched: subset.csv, and the entry of each occurrence."""

import csv
import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gbif_webdataset.read.columns import HASH, RECORD_ID, coalesce_columns, trim_texts
from gbif_webdataset.read.media_decisions import MediaDecisions, Numbers, number_values
from gbif_webdataset.read.subset_list import is_like_name
from gbif_webdataset.read.subset_match import ENTRY, MATCHED, NAMES_OF_A_RANK, NAMES_OF_ANY_RANK, SubsetMatcher
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.atomic import TEMPORARY, atomic_file
from gbif_webdataset.terms import columns as described
from gbif_webdataset.terms.ranks import KEY_COLUMNS, MAIN_NAME_COLUMNS

OCCURRENCES = arrow.to_schema(described.SUBSET_OCCURRENCES)
OCCURRENCES_OF_SEVERAL = arrow.to_schema([*described.SUBSET_OCCURRENCES, described.IMAGE_STEM])
COLUMNS = tuple(column.name for column in described.SUBSET)
SUBSET, SUBSET_OCCURRENCES = "subset.csv", "subset_occurrences.parquet"
MAX_NOTES = 10
MAX_SUGGESTED = 100  # entries without a match for which close names are searched
MAX_CLOSE, CLOSENESS, MAX_LENGTH_DIFFERENCE = 3, 0.85, 3
HOMONYM = "several taxa have this name; add kingdom or rank"
WITHOUT_MEDIA = "in the archive, but without media"
COUNTED_ELSEWHERE = "its occurrences are counted with more specific entries of the list"


@dataclass(frozen=True, order=True)
class MatchedTaxon:
    """A taxon that an entry matched through a column, given by its position; key and kingdom may be empty."""

    entry: int
    column: int
    key: str
    name: str
    kingdom: str


@dataclass
class SubsetSummary:
    """How many entries the list has, and what the user should know.

    Attributes:
        found: how many of them occur in records.
        without_media: how many of these occur only in records without media.
    """

    entries: int
    found: int
    without_media: int
    notes: list[str] = field(default_factory=list)

    def add_note(self, note: str) -> None:
        """Add a note, unless there are many already: subset.csv has all of them."""
        if len(self.notes) < MAX_NOTES:
            self.notes.append(note)


class SubsetCounts:
    """Counts the records with media, and the images, of each entry and taxon. Used as a context manager.

    `remarks` are texts on entries, by number, for the column `note`. `schema` is that of subset_occurrences.parquet.
    """

    def __init__(self, matcher: SubsetMatcher, remarks: dict[int, str], folder: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._listed, self._matcher, self._remarks, self._folder = matcher.listed, matcher, remarks, folder
        self._counts: dict[MatchedTaxon, Numbers] = defaultdict(lambda: np.zeros(2, np.int64))
        self._stack = ExitStack()
        self._pending = arrow.make_empty_table(self._schema)
        self._path = folder / f"{TEMPORARY}subset.parquet"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        options = {"compression": "zstd", "use_dictionary": ["key"], "store_schema": False}
        self._writer = self._stack.enter_context(pq.ParquetWriter(self._path, self._schema, **options))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._path.unlink(missing_ok=True)

    def add(self, records: pa.Table, decisions: MediaDecisions, stems: pa.ChunkedArray) -> None:
        """Count those of a partition, which has a record of each taxon without media; `stems` are those of paths."""
        entry = arrow.to_numpy(records.column(ENTRY).combine_chunks())
        with_media = np.unique(decisions.record[decisions.record >= 0])
        has_media = np.zeros(records.num_rows, bool)
        has_media[with_media] = True
        self._matcher.mark_hits(records, has_media)
        with_media = with_media[entry[with_media] >= 0]
        if not len(with_media):
            return
        images = np.bincount(decisions.record[decisions.images], minlength=records.num_rows)
        hashes = arrow.to_numpy(records.column(HASH).combine_chunks())
        rows = with_media[np.argsort(hashes[with_media], kind="stable")]
        taken = records.take(arrow.to_array(rows))
        taxa = self._count_taxa(taken, images[rows])
        ids = trim_texts(taken.column(RECORD_ID)).combine_chunks()
        entries = arrow.to_array(entry[rows].astype(np.int64) + 1)
        columns = [ids, entries, *taxa.columns, stems.take(arrow.to_array(rows))][: len(self._schema)]
        self._pending = pa.concat_tables([self._pending, pa.table(columns, schema=self._schema)])
        self._write_occurrences(arrow.ROW_GROUP)

    def _count_taxa(self, records: pa.Table, images: Numbers) -> pa.Table:
        """Count records, each with its number of images; key and kingdom of the taxon that each entry matched.

        The kingdom is null where there is a key.
        """
        matched = arrow.to_numpy(records.column(MATCHED).combine_chunks())
        positions, taxa = [], []
        for column in np.unique(matched).tolist():
            rows = np.flatnonzero(matched == column)
            positions.append(rows)
            taxa.append(self._count_column(column, records.take(arrow.to_array(rows)), images[rows]))
        order = np.argsort(np.concatenate(positions))
        return pa.concat_tables(taxa).take(arrow.to_array(order))

    def _count_column(self, column: int, records: pa.Table, images: Numbers) -> pa.Table:
        """Count records whose entry matched in the same column; key and kingdom of the taxon of each."""
        key_columns, name_columns = _find_taxon_columns(self._matcher.columns[column])
        values = [coalesce_columns(records, names) for names in (key_columns, name_columns, ("kingdom",))]
        texts = [arrow.decode_dictionary(value).combine_chunks() for value in values]
        numbers = arrow.to_numpy(records.column(ENTRY).combine_chunks())
        for text in texts:
            in_column, count = number_values(pa.chunked_array([text]))
            numbers = np.unique(numbers * count + in_column, return_inverse=True)[1]
        first_rows = np.unique(numbers, return_index=True)[1]
        entries = arrow.to_numpy(records.column(ENTRY).combine_chunks())[first_rows].tolist()
        firsts = [text.take(arrow.to_array(first_rows)).to_pylist() for text in texts]
        counted = np.stack([np.bincount(numbers), np.bincount(numbers, images).astype(np.int64)], axis=1)
        for entry, key, name, kingdom, counts in zip(entries, *firsts, counted, strict=True):
            self._counts[MatchedTaxon(entry, column, key or "", name or "", kingdom or "")] += counts
        kingdoms = pc.if_else(texts[0].is_valid(), pa.nulls(1, pa.string())[0], texts[2])
        return pa.table({"key": texts[0], "kingdom": kingdoms})

    def write(self) -> SubsetSummary:
        """Write subset.csv and subset_occurrences.parquet."""
        self._write_occurrences(1)
        self._stack.close()
        with atomic_file(self._folder / SUBSET_OCCURRENCES) as temporary:
            self._path.replace(temporary)
        by_entry: dict[int, list[MatchedTaxon]] = defaultdict(list)
        for taxon in sorted(self._counts):
            by_entry[taxon.entry].append(taxon)
        found, hit = (int(np.count_nonzero(entries)) for entries in (self._matcher.in_archive, self._matcher.hit))
        summary = SubsetSummary(len(self._listed), found, found - hit)
        suggestions = self._suggest_names()
        with atomic_file(self._folder / SUBSET) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            for entry in range(len(self._listed)):
                rows.writerows(self._list_rows(entry, by_entry.get(entry, []), suggestions, summary))
        return summary

    def _write_occurrences(self, min_rows: int) -> None:
        """Write row groups of ROW_GROUP rows, so that the bytes do not depend on the partitions."""
        while self._pending.num_rows >= min_rows:
            self._writer.write_table(self._pending.slice(0, arrow.ROW_GROUP).combine_chunks())
            self._pending = self._pending.slice(arrow.ROW_GROUP)

    def _list_rows(
        self, entry: int, taxa: Sequence[MatchedTaxon], suggestions: dict[int, str], summary: SubsetSummary
    ) -> Iterable[tuple[object, ...]]:
        """The rows of an entry: one for each taxon that it matched, or one without a taxon."""
        requested, remark = self._listed.describe(entry), self._remarks.get(entry, "")
        if not taxa:
            note = remark or suggestions.get(entry, "")
            if self._matcher.in_archive[entry]:
                note = COUNTED_ELSEWHERE if self._matcher.hit[entry] else WITHOUT_MEDIA
            if entry in suggestions:
                summary.add_note(f"{requested}: no occurrence has this name; {note}")
            yield (entry + 1, requested, "", "", "", "", 0, 0, note)
            return
        if _is_homonym(taxa):
            remark = HOMONYM
            summary.add_note(f"{requested}: {HOMONYM}; the images of all of them are taken")
        by_key: dict[tuple[str, str], list[MatchedTaxon]] = defaultdict(list)
        for taxon in taxa:
            by_key[taxon.key, "" if taxon.key else taxon.kingdom].append(taxon)
        for same in by_key.values():
            occurrences, images = np.sum([self._counts[taxon] for taxon in same], axis=0).tolist()
            largest = max(same, key=lambda taxon: int(self._counts[taxon][0]))
            column = self._matcher.columns[same[0].column]
            named = (largest.key, largest.name, largest.kingdom)
            yield (entry + 1, requested, column, *named, occurrences, images, remark)

    def _suggest_names(self) -> dict[int, str]:
        """Close names of the archive for the first entries that look like a name and match nothing.

        Only names whose words have the same initials are compared, because an archive may have a million names.
        """
        unmatched = [
            entry
            for entry in np.flatnonzero(~self._matcher.in_archive).tolist()
            if is_like_name(self._listed.names[entry]) and entry not in self._remarks
        ]
        by_initials = _group_by_initials(self._matcher.seen if unmatched else ())
        suggestions = {}
        for entry in unmatched[:MAX_SUGGESTED]:
            requested = self._listed.names[entry]
            same = by_initials[_list_initials(requested)]
            near = [
                name for name in same if name != requested and abs(len(name) - len(requested)) <= MAX_LENGTH_DIFFERENCE
            ]
            if close := difflib.get_close_matches(requested, near, MAX_CLOSE, CLOSENESS):
                suggestions[entry] = f"did you mean {' or '.join(close)}?"
        return suggestions


def _group_by_initials(names: Iterable[str]) -> dict[tuple[str, ...], list[str]]:
    by_initials: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in sorted(names):
        by_initials[_list_initials(name)].append(name)
    return by_initials


def _list_initials(name: str) -> tuple[str, ...]:
    return tuple(word[0] for word in name.split())


def _find_taxon_columns(column: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of the key and of the name of the taxon that a value of `column` names; the first with a value."""
    if column in NAMES_OF_A_RANK:
        keys = (KEY_COLUMNS[MAIN_NAME_COLUMNS.index(column)],) if column in MAIN_NAME_COLUMNS else ()
        return keys, (column,)
    if column in NAMES_OF_ANY_RANK:
        return ("acceptedTaxonKey", "taxonKey"), ("acceptedScientificName", "scientificName")
    names = (MAIN_NAME_COLUMNS[KEY_COLUMNS.index(column)],) if column in KEY_COLUMNS else ()
    return (column,), (*names, "acceptedScientificName", "scientificName")


def _is_homonym(taxa: Sequence[MatchedTaxon]) -> bool:
    """Whether a name is that of several taxa in one column: with other keys or, without keys, in other kingdoms."""
    for column in {taxon.column for taxon in taxa}:
        same = [taxon for taxon in taxa if taxon.column == column]
        keys = {taxon.key for taxon in same} - {""}
        kingdoms = {taxon.kingdom for taxon in same} - {""}
        if len(keys) > 1 or (not keys and len(kingdoms) > 1):
            return True
    return False
