"""The user's file of keys: occurrences to take."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.read.media_decisions import MediaDecisions, Numbers
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.atomic import atomic_file
from gbif_webdataset.terms import columns as described

COLUMNS = tuple(column.name for column in described.SUBSET)


def read_subset_list(path: Path) -> tuple[str, ...]:
    """The keys in a JSON list, or in a text file with one key per line; sorted, each once.

    Keys are text: the number 6E4 in a JSON list is the key `6E4`.

    Raises:
        ParameterError: the file cannot be read, or has no keys.
    """
    option = f"--ReadArchive-subset-list {path}"
    form = "write a JSON list of keys, or a text file with one key per line"
    try:
        content = path.read_text(encoding="utf-8-sig")
        is_json = content.lstrip().startswith(("[", "{"))
        keys = json.loads(content, parse_int=str, parse_float=str) if is_json else content.split("\n")
    except (OSError, ValueError) as error:
        raise ParameterError(f"{option}: cannot be read ({error}); {form}") from error
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ParameterError(f"{option}: is not a list of keys; {form}")
    keys = sorted({key.strip() for key in keys} - {""})
    if not keys:
        raise ParameterError(f"{option}: has no keys; {form}")
    return tuple(keys)


class SubsetCounts:
    """The records with media, and the images, of each key of the subset."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = arrow.to_text_array(keys)
        self._records, self._images = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)

    @property
    def keys(self) -> int:
        """The number of keys."""
        return len(self._keys)

    @property
    def found(self) -> int:
        """How many keys occur in records with media."""
        return int(np.count_nonzero(self._records))

    def add(self, values: pa.ChunkedArray, decisions: MediaDecisions) -> None:
        """Count those of a partition, which may lack records without media. `values` has the key of each record."""
        positions = pc.index_in(arrow.decode_dictionary(values), self._keys)
        numbers = np.from_dlpack(pc.fill_null(positions, arrow.to_scalar(len(self._keys))).combine_chunks())
        self._images += self._count(numbers[decisions.record[decisions.images]])
        self._records += self._count(numbers[np.unique(decisions.record[decisions.record >= 0])])

    def write(self, path: Path) -> None:
        """Write subset.csv, in the order of the keys."""
        with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            rows.writerows(zip(self._keys.to_pylist(), self._records.tolist(), self._images.tolist(), strict=True))

    def _count(self, numbers: Numbers) -> Numbers:
        return np.bincount(numbers, minlength=len(self._keys) + 1)[: len(self._keys)]
