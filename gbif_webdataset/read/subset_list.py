"""The user's list of taxa: keys or names of the occurrences to take."""

import csv
import functools
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.terms.checklists import Checklist

NAME, KEY, RANK, KINGDOM, CHECKLIST = CSV_COLUMNS = ("scientificname", "taxonkey", "rank", "kingdom", "checklistkey")
"""The columns of a CSV, in lower case."""
FORM = (
    "write a JSON list or a text file with one key or name per line, or a CSV with the columns scientificName, "
    "taxonKey, rank, kingdom"
)


@dataclass(frozen=True)
class SubsetList:
    """The entries of a list, each once. All attributes but `checklist` have one text for each entry.

    Attributes:
        keys, names: what may match a key or a name; both are the same text if the list does not say which it is.
        ranks, kingdoms: of the taxon, in lower case; empty if the list does not state them.
        checklist: that of the keys.
    """

    keys: Sequence[str]
    names: Sequence[str]
    ranks: Sequence[str] = ()
    kingdoms: Sequence[str] = ()
    checklist: Checklist = Checklist()  # noqa: RUF009 - it is immutable

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """The list of keys or names, which is sorted and has each text once."""
        return cls(texts, texts)

    def __len__(self) -> int:
        return len(self.keys)

    @functools.cached_property
    def has_names(self) -> bool:
        """Whether an entry is or may be a name."""
        return any(map(is_like_name, self.names))

    @functools.cached_property
    def has_only_names(self) -> bool:
        """Whether no entry may be a key."""
        return not any(key and not (key == name and is_like_name(key)) for key, name in self.pairs)

    @property
    def pairs(self) -> Iterator[tuple[str, str]]:
        """Key and name of each entry."""
        return zip(self.keys, self.names, strict=True)

    def describe(self, entry: int) -> str:
        """An entry, as the user wrote it."""
        return self.names[entry] or self.keys[entry]


def is_like_name(text: str) -> bool:
    """Whether a text is a name rather than a key: it has a space, or one capital and small letters."""
    return " " in text or (text[:1].isupper() and text[1:].islower() and text.replace("-", "").isalpha())


def read_subset_list(path: Path) -> SubsetList:
    """The keys and names in a JSON list, a text file with one per line, or a CSV.

    Keys are text: the number 6E4 in a JSON list is the key `6E4`.

    Raises:
        ParameterError: the file cannot be read, or has no entries.
    """
    option = f"--ReadArchive-subset-list {path}"
    try:
        content = path.read_text(encoding="utf-8-sig")
        header = _read_header(content)
        if header:
            listed = _read_csv(content, header)
        else:
            is_json = content.lstrip().startswith(("[", "{"))
            texts = json.loads(content, parse_int=str, parse_float=str) if is_json else content.split("\n")
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ParameterError(f"{option}: is not a list of keys; {FORM}")
            listed = SubsetList.of(tuple(sorted({text.strip() for text in texts} - {""})))
    except (OSError, ValueError, csv.Error) as error:
        raise ParameterError(f"{option}: cannot be read ({error}); {FORM}") from error
    if not len(listed):
        raise ParameterError(f"{option}: has no keys; {FORM}")
    return listed


def _read_header(content: str) -> dict[str, int]:
    """The positions of the columns of a CSV by name; empty for a file that is none."""
    first = content.partition("\n")[0]
    fields = [field.strip().lower() for field in next(csv.reader([first], delimiter=_find_delimiter(first)), [])]
    positions = {name: fields.index(name) for name in CSV_COLUMNS if name in fields}
    return positions if NAME in positions or KEY in positions else {}


def _find_delimiter(header: str) -> str:
    return next((delimiter for delimiter in "\t;" if delimiter in header), ",")


def _read_csv(content: str, header: dict[str, int]) -> SubsetList:
    rows = csv.reader(io.StringIO(content, newline=""), delimiter=_find_delimiter(content.partition("\n")[0]))
    next(rows)
    entries: dict[tuple[str, ...], None] = {}
    checklists: set[str] = set()
    for row in rows:
        values = {name: row[position].strip() if position < len(row) else "" for name, position in header.items()}
        if values.get(KEY) or values.get(NAME):
            checklists |= {values.get(CHECKLIST, "").lower()} if values.get(KEY) else set()
            lowered = (values.get(RANK, "").lower(), values.get(KINGDOM, "").lower())
            entries[values.get(KEY, ""), values.get(NAME, ""), *lowered] = None
    keys, names, ranks, kingdoms = zip(*entries, strict=True) if entries else ((), (), (), ())
    if len(checklists) > 1:
        raise ValueError("its column checklistKey has several values; write a list for each checklist")
    checklist = Checklist(checklists.pop()) if checklists else Checklist()
    return SubsetList(keys, names, ranks, kingdoms, checklist)
