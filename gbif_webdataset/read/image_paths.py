"""The path of each image: <datasetKey>/<coreid>[_<number>].jpg, safe on every file system."""

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read.columns import ARCHIVE, RECORD_ID, coalesce_columns, trim_texts
from gbif_webdataset.read.media_decisions import MediaDecisions, Numbers, number_values
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.device_names import DEVICE_NAMES

# Names that are safe as file names on every system are used unchanged. Other names keep their letters and digits and
# get a digest of the whole name, so that two names never become one file, even where case does not count.
SAFE_NAME = "[a-z0-9][a-z0-9-]{0,99}"
MAKE_SAFE = f"""CREATE MACRO make_safe(name) AS CASE
    WHEN regexp_full_match(name, '{SAFE_NAME}') AND name NOT IN {DEVICE_NAMES} THEN name
    ELSE 'x' || regexp_replace(name[:40], '[^A-Za-z0-9]+', '-', 'g') || '~' || sha256(name)[:16] END"""
NO_DATASET = "no-dataset"


class ImagePaths:
    """Composes the paths of images."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        connection.execute(MAKE_SAFE)

    def compose_stems(self, records: pa.Table, decisions: MediaDecisions) -> pa.ChunkedArray:
        """The path of each record's images without their number and `.jpg`.

        Records of several archives may have the same datasetKey and coreid. Those after the first get ~2, ~3, ...
        """
        datasets = arrow.decode_dictionary(coalesce_columns(records, ("datasetKey",)))
        datasets = pc.fill_null(datasets, arrow.to_scalar(NO_DATASET)).combine_chunks().dictionary_encode()
        ids = trim_texts(records.column(RECORD_ID))
        parts = [
            self._make_safe(datasets.dictionary).take(datasets.indices),
            arrow.to_scalar("/"),
            self._make_safe(ids),
        ]
        if ARCHIVE in records.column_names:
            numbers, count = number_values(ids)
            with_media = np.unique(decisions.record[decisions.record >= 0])
            repeats = _number_repeats(arrow.to_numpy(datasets.indices).astype(np.int64) * count + numbers, with_media)
            endings = arrow.to_text_array(["", *(f"~{n + 1}" for n in range(1, int(repeats.max(initial=0)) + 1))])
            parts.append(endings.take(arrow.to_array(repeats)))
        return pc.binary_join_element_wise(*parts, arrow.to_scalar(""))

    def compose(self, stems: pa.ChunkedArray, decisions: MediaDecisions) -> pa.ChunkedArray:
        """The path of each image, in the order of `decisions.images`."""
        numbers, records = decisions.image_number[decisions.images], decisions.record[decisions.images]
        endings = arrow.to_text_array([f"_{n}.jpg" if n else ".jpg" for n in range(int(numbers.max(initial=0)) + 1)])
        parts = [stems.take(arrow.to_array(records)), endings.take(arrow.to_array(numbers))]
        return pc.binary_join_element_wise(*parts, arrow.to_scalar(""))

    def _make_safe(self, names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """The names, with those changed that are not safe as file names."""
        is_safe = pc.match_substring_regex(names, f"^{SAFE_NAME}$")
        is_device = pc.is_in(names, arrow.to_text_array(DEVICE_NAMES))
        if pc.all(pc.and_not(is_safe, is_device), min_count=0).as_py():
            return names
        self._connection.register("names", pa.table({"name": names}))
        return self._connection.sql("SELECT make_safe(name) AS name FROM names").to_arrow_table().column("name")


def _number_repeats(keys: Numbers, rows: Numbers) -> Numbers:
    """For each of these rows, how many of them before it have its key; 0 for other rows."""
    repeats = np.zeros(len(keys), np.int64)
    rows = rows[np.argsort(keys[rows], kind="stable")]
    starts = np.flatnonzero(np.append(True, np.diff(keys[rows]) != 0))[: len(rows)]
    repeats[rows] = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return repeats
