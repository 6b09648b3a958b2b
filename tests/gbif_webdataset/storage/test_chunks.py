from gbif_webdataset.storage.chunks import chunk_name, journal_name, parse_chunk_name


def test_file_names_sort_in_the_order_of_the_chunks() -> None:
    assert (chunk_name(7), journal_name(7)) == ("chunk-00007.parquet", "chunk-00007.journal")
    names = [chunk_name(chunk) for chunk in range(1000)]
    assert sorted(names) == names
    assert [parse_chunk_name(name) for name in names] == list(range(1000))
