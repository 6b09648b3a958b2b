from pathlib import Path

from gbif_webdataset.storage.paths import DatasetPaths


def test_the_chunks_of_a_stage_are_its_finished_tables_in_order(tmp_path: Path) -> None:
    paths = DatasetPaths.under(tmp_path)
    paths.fetched.mkdir()
    for name in ("chunk-00001.parquet", "chunk-00000.parquet", ".tmp-chunk-00002.parquet", "chunk-00003.journal"):
        (paths.fetched / name).touch()
    assert paths.list_chunks("fetched") == list(paths.chunks("fetched", 2))
    assert paths.list_chunks("verified") == []


def test_temporary_files_are_in_the_dataset_by_default() -> None:
    assert DatasetPaths.under(Path("data/a")).scratch == Path("data/a/.scratch")
    assert DatasetPaths.under(Path("data/a"), "/fast").scratch == Path("/fast")
