from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import MissingPieceError, ParameterError
from gbif_webdataset.export.select_images import leads_out, select_images
from gbif_webdataset.storage.paths import DatasetPaths

ROWS = [
    {"image_path": f"d/{number}.jpg", "status": status, "country": country, "width": 100 * number}
    for number, (status, country) in enumerate(
        [("fetched", "CA"), ("cached", "NA"), ("failed", "CA"), ("fetched", None), ("fetched", "CA")]
    )
]


@pytest.fixture
def paths(tmp_path: Path) -> DatasetPaths:
    """A dataset of two chunks that are fetched."""
    for chunk in range(2):
        write(DatasetPaths.under(tmp_path), "fetched", chunk)
    return DatasetPaths.under(tmp_path)


def write(paths: DatasetPaths, stage: str, chunk: int, **columns: str) -> None:
    rows = [{**row, "image_path": f"{chunk}{row['image_path']}", **columns} for row in ROWS]
    paths.chunk(stage, chunk).parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), paths.chunk(stage, chunk))


def select(paths: DatasetPaths, where: str = "") -> list[tuple[int, list[str]]]:
    return list(select_images(paths, where))


def test_all_downloaded_images_are_selected_by_chunk(paths: DatasetPaths) -> None:
    assert select(paths) == [(chunk, [f"{chunk}d/{number}.jpg" for number in (0, 1, 3, 4)]) for chunk in range(2)]


def test_a_condition_selects_the_images_for_which_it_is_true(paths: DatasetPaths) -> None:
    assert select(paths, "country = 'CA'")[1] == (1, ["1d/0.jpg", "1d/4.jpg"])
    assert select(paths, "TRY_CAST(width AS INT) >= 300")[0] == (0, ["0d/3.jpg", "0d/4.jpg"])
    assert select(paths, "country IS NULL")[0] == (0, ["0d/3.jpg"])


def test_columns_of_the_verified_tables_can_be_used_once_all_chunks_are_verified(paths: DatasetPaths) -> None:
    write(paths, "verified", 0, valid="true")
    with pytest.raises(ParameterError, match="the images have no column valid"):
        select(paths, "valid = 'true'")
    write(paths, "verified", 1, valid="false")
    assert [len(names) for _, names in select(paths, "valid = 'true'")] == [4, 0]


@pytest.mark.parametrize("where", ["width >= 300", "country = (SELECT 1)", "read_text('/etc/passwd') = ''", "x = 1"])
def test_anything_but_a_condition_on_the_columns_is_refused(paths: DatasetPaths, where: str) -> None:
    with pytest.raises(ParameterError, match=r"^--where "):
        select(paths, where)


def test_a_folder_without_ledgers_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingPieceError, match="no images were downloaded to this folder"):
        select(DatasetPaths.under(tmp_path))


def test_paths_that_lead_out_of_the_folder_of_images_are_left_out(paths: DatasetPaths) -> None:
    assert [leads_out(name) for name in ("d/1.jpg", "../1.jpg", "/etc/passwd", "d/../../1.jpg", "d/..jpg")] == [
        *(False, True, True, True, False)
    ]
