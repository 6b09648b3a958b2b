"""The path of each image: <datasetKey>/<coreid>[_<number>].jpg, safe on every file system."""

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from gbif_webdataset.read.columns import coalesce_columns
from gbif_webdataset.read.media_decisions import MediaDecisions
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

    def compose(self, records: pa.Table, decisions: MediaDecisions) -> pa.ChunkedArray:
        """The path of each image, in the order of `decisions.images`."""
        images = decisions.images
        datasets = arrow.decode_dictionary(coalesce_columns(records, ("datasetKey",)))
        datasets = pc.fill_null(datasets, arrow.to_scalar(NO_DATASET)).combine_chunks().dictionary_encode()
        dataset_of_image = datasets.indices.take(arrow.to_array(decisions.record[images]))
        folders = self._make_safe(datasets.dictionary).take(dataset_of_image)
        numbers = decisions.image_number[images]
        endings = arrow.to_text_array([f"_{n}.jpg" if n else ".jpg" for n in range(int(numbers.max(initial=0)) + 1)])
        files = self._make_safe(decisions.coreid.take(arrow.to_array(images)))
        parts = [folders, arrow.to_scalar("/"), files, endings.take(arrow.to_array(numbers))]
        return pc.binary_join_element_wise(*parts, arrow.to_scalar(""))

    def _make_safe(self, names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """The names, with those changed that are not safe as file names."""
        is_safe = pc.match_substring_regex(names, f"^{SAFE_NAME}$")
        is_device = pc.is_in(names, arrow.to_text_array(DEVICE_NAMES))
        if pc.all(pc.and_not(is_safe, is_device), min_count=0).as_py():
            return names
        self._connection.register("names", pa.table({"name": names}))
        return self._connection.sql("SELECT make_safe(name) AS name FROM names").to_arrow_table().column("name")
