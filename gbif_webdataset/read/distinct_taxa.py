"""The first record of each taxon among records without media, so that a list of taxa can name those without a photo."""

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.read.record_slots import Truths
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.tables import quote_name


class DistinctTaxa:
    """Finds records whose values of `columns` no earlier record had. Without columns it finds none."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> None:
        self._connection, self._columns = connection, columns
        self._seen: set[int] = set()

    def find_first(self, records: pa.Table, is_candidate: Truths) -> Truths:
        """For each record whether it is a candidate, and the first candidate with its values."""
        is_first = np.zeros(records.num_rows, bool)
        names = [name for name in self._columns if name in records.column_names]
        rows = np.flatnonzero(is_candidate)
        if not names or not len(rows):
            return is_first
        self._connection.register("taxa", records.select(names).take(arrow.to_array(rows)))
        query = f"SELECT hash({', '.join(map(quote_name, names))}) AS hash FROM taxa"
        hashes = arrow.to_numpy(self._connection.sql(query).to_arrow_table().column("hash").combine_chunks())
        self._connection.unregister("taxa")
        distinct, firsts = np.unique(hashes, return_index=True)
        is_new = np.array([value not in self._seen for value in distinct.tolist()])
        self._seen.update(distinct[is_new].tolist())
        is_first[rows[firsts[is_new]]] = True
        return is_first
