"""The base of all tasks: shared parameters, and the tasks of the same dataset."""

import pytest

from gbif_webdataset.errors import ParameterError
from tasks import CleanDataset, FetchChunk, ReadArchive, SplitDataset


def test_tasks_of_a_dataset_share_its_parameters_and_no_others() -> None:
    split = SplitDataset(dwca="a.zip", output="out", chunks=4, random_seed=7)
    assert split.clone(CleanDataset).paths == split.paths
    assert split.clone(ReadArchive).chunks == 4
    assert split.clone(ReadArchive).random_seed == 42


@pytest.mark.parametrize(
    ("dwca", "folder"),
    [("x/moths.zip", "data/moths"), ("moths.tar.gz", "data/moths"), ("moths/", "data/moths"), ("/", "data/dataset")],
)
def test_the_default_output_is_named_after_the_archive(dwca: str, folder: str) -> None:
    assert ReadArchive(dwca=dwca).paths.output.as_posix() == folder


def test_a_chunk_beyond_the_last_one_is_an_error() -> None:
    with pytest.raises(ParameterError, match=r"--chunk 4: .*0 to 3"):
        FetchChunk(dwca="a.zip", chunks=4, chunk=4)


def test_the_label_of_a_chunk_has_its_number() -> None:
    assert FetchChunk(dwca="a.zip", chunk=7).label == "FetchChunk-00007"


def test_tasks_with_other_parameters_have_other_ids_though_luigis_page_shows_only_folder_and_chunk() -> None:
    tasks = [
        SplitDataset(dwca="a.zip", output="out"),
        SplitDataset(dwca="b.zip", output="out"),
        SplitDataset(dwca="a.zip", output="out", random_seed=7),
        SplitDataset(dwca="a.zip", output="other/out"),
        SplitDataset(dwca="a.zip"),
        FetchChunk(dwca="a.zip", output="out", chunk=1),
        FetchChunk(dwca="a.zip", output="out", chunk=1, chunks=4),
        FetchChunk(dwca="a.zip", output="out", chunk=2),
    ]
    assert len({task.task_id for task in tasks}) == len(tasks)
    assert len(set(tasks)) == len(tasks)
    assert tasks[4].to_str_params() == {"output": "data/a"}
    assert tasks[5].to_str_params() == {"output": "out", "chunk": "1"}
    assert tasks[0].task_id == SplitDataset(dwca="a.zip", output="out", scratch="/tmp").task_id
