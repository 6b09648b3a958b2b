"""Which entry of the user's list of taxa each record belongs to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from gbif_webdataset.read.media_decisions import Numbers, number_values
from gbif_webdataset.read.subset_list import SubsetList
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms.ranks import KEY_COLUMNS, RANKS

NAMES_OF_ANY_RANK = ("scientificName", "acceptedScientificName")
NAMES_OF_A_RANK = (
    "species", "subgenus", "genus", "subtribe", "tribe", "subfamily", "family", "superfamily", "order", "class",
    "phylum", "kingdom",
)  # fmt: skip
"""NAME_COLUMNS from the lowest rank to the highest."""
ENTRY, MATCHED = "#entry", "#matched"
NONE = -1


class SubsetMatcher:
    """Finds the entry of each record: the first whose text is that of a column, where rank and kingdom agree.

    Columns are compared in an order, from the key and the scientific names to the name of the kingdom: a record belongs
    to the most specific entry. Texts are compared as they are. A record without a rank or kingdom agrees with any.

    Attributes:
        listed: the list.
        columns: the columns that are compared, in this order.
        read_columns: these columns, and those that have to agree.
        hit: whether an entry is the text of a column of a record with media, which may belong to another entry.
        in_archive: the same for all records.
        seen: the names of the records.
    """

    def __init__(self, listed: SubsetList, subset_key: str, columns: Iterable[str]) -> None:
        self.listed = listed
        present = set(columns)
        names = (*NAMES_OF_ANY_RANK, *NAMES_OF_A_RANK) if listed.has_names else ()
        self.columns = tuple(dict.fromkeys(name for name in (subset_key, *names) if name in present))
        self.hit, self.in_archive = np.zeros(len(listed), bool), np.zeros(len(listed), bool)
        self.seen: set[str] = set()
        compared = dict.fromkeys([*self.columns, "taxonRank", "kingdom"])
        self.read_columns = [name for name in compared if name in present]
        self._subset_key = subset_key
        self._names = _EntryIndex.of(listed.names)
        self._keys = self._names if listed.keys is listed.names else _EntryIndex.of(listed.keys)
        self._ranks, self._rank_numbers = _number_texts(listed.ranks, len(listed))
        self._kingdoms, self._kingdom_numbers = _number_texts(listed.kingdoms, len(listed))

    def replace_keys(self, entries: Mapping[str, int]) -> None:
        """Compare these keys, each with the number of its entry, in place of those of the list."""
        self._keys = _EntryIndex(dict(entries), self._keys.following)

    def add_matches(self, records: pa.Table) -> pa.Table:
        """The records with the columns ENTRY, the number of the entry or NONE, and MATCHED, the position in `columns`.

        Both are numbers.
        """
        entry, matched = np.full(records.num_rows, NONE), np.full(records.num_rows, NONE)
        for position, name in enumerate(self.columns):
            found = self._find_entries(records, name)
            is_first = (entry < 0) & (found >= 0)
            entry[is_first], matched[is_first] = found[is_first], position
        added = records.append_column(ENTRY, pa.chunked_array([arrow.to_array(entry)]))
        return added.append_column(MATCHED, pa.chunked_array([arrow.to_array(matched)]))

    def mark_hits(self, records: pa.Table, has_media: Numbers) -> None:
        """Note the entries and names of records in `hit`, `in_archive` and `seen`. `has_media` has truth values."""
        for name in self.columns:
            found = self._find_entries(records, name)
            self.in_archive[found[found >= 0]] = True
            self.hit[found[has_media & (found >= 0)]] = True
            if name != self._subset_key:
                values, numbers = _encode(records, name)
                self.seen.update(values[number] for number in np.unique(numbers).tolist() if number < len(values))

    def _find_entries(self, records: pa.Table, name: str) -> Numbers:
        """For each record the entry that its value in a column names."""
        values, numbers = _encode(records, name)
        index = self._keys if name == self._subset_key else self._names
        entry = np.array([*(index.first.get(value, NONE) for value in values), NONE])[numbers]
        if not self._rank_numbers and not self._kingdom_numbers:
            return entry
        ranks, kingdoms = self._read_ranks(records, name), _read_numbers(records, "kingdom", self._kingdom_numbers)
        while True:
            disagrees = _disagrees(self._ranks[entry], ranks) | _disagrees(self._kingdoms[entry], kingdoms)
            disagrees &= entry >= 0
            if not disagrees.any():
                return entry
            entry[disagrees] = index.following[entry[disagrees]]

    def _read_ranks(self, records: pa.Table, name: str) -> Numbers:
        """For each record the number of the rank of a column's taxa; 0 if it is not known."""
        if name in NAMES_OF_A_RANK or name in KEY_COLUMNS:
            rank = RANKS[KEY_COLUMNS.index(name)] if name in KEY_COLUMNS else name
            return np.full(records.num_rows, self._rank_numbers.get(rank, NONE))
        return _read_numbers(records, "taxonRank", self._rank_numbers)


@dataclass(frozen=True)
class _EntryIndex:
    """The first entry of each text, and for each entry the next one with the same text, or NONE."""

    first: dict[str, int]
    following: Numbers

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        first: dict[str, int] = {}
        following = np.full(len(texts), NONE)
        for entry in range(len(texts) - 1, NONE, -1):
            if text := texts[entry]:
                following[entry] = first.get(text, NONE)
                first[text] = entry
        return cls(first, following)


def _number_texts(texts: Sequence[str], count: int) -> tuple[Numbers, dict[str, int]]:
    """A number for each entry, 0 without a text, and the number of each text."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(filter(None, texts)), start=1)}
    return np.array([numbers.get(text, 0) for text in texts] or [0] * count, np.int64), numbers


def _read_numbers(records: pa.Table, name: str, numbers: Mapping[str, int]) -> Numbers:
    """The number of each record's value, in lower case: 0 if it has none, NONE if no entry has it."""
    if name not in records.column_names:
        return np.zeros(records.num_rows, np.int64)
    values, rows = _encode(records, name)
    return np.array([*(numbers.get(value.lower(), NONE) for value in values), 0])[rows]


def _encode(records: pa.Table, name: str) -> tuple[list[str], Numbers]:
    """The distinct values of a column, and for each record the position of its value; len(values) without one."""
    column = records.column(name)
    column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return column.combine_chunks().dictionary.to_pylist(), number_values(column)[0]


def _disagrees(of_entries: Numbers, of_records: Numbers) -> Numbers:
    is_different: Numbers = (of_entries != 0) & (of_records != 0) & (of_entries != of_records)
    return is_different
