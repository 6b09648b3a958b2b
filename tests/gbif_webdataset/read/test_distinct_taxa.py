import duckdb
import numpy as np
import pyarrow as pa

from gbif_webdataset.read.distinct_taxa import DistinctTaxa


def test_the_first_candidate_of_each_taxon_is_found_across_batches() -> None:
    taxa = DistinctTaxa(duckdb.connect(), ["order", "kingdom", "absent"])
    names = pa.chunked_array([["a", "a", "b", None]]).dictionary_encode()
    rows = pa.table({"order": names, "kingdom": ["k", "k", "k", "k"]})
    assert taxa.find_first(rows, np.array([False, True, False, True])).tolist() == [False, True, False, True]
    assert taxa.find_first(rows, np.full(4, True)).tolist() == [False, False, True, False]
    assert not DistinctTaxa(duckdb.connect(), []).find_first(rows, np.full(4, True)).any()
