from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read.manifest_writer import ManifestWriter
from gbif_webdataset.read.select_media import SelectedImages

NAMES = ["coreid", "identifier", "image_path", "licenseCode"]
SCHEMA = pa.schema([(name, pa.string()) for name in NAMES])


def make_partitions(
    chunks: int, chunk_of_image: Sequence[int], error: Exception | None = None
) -> Iterator[SelectedImages]:
    """A partition of one image for each number of a chunk, and then an error."""
    for place, chunk in enumerate(chunk_of_image):
        hashes = pa.array([(chunk << 64) // chunks + (1 << 40) + place], pa.uint64())
        values = {**{name: [f"{name} {place}"] for name in NAMES}, "record": [0], "medium": [0], "hash": hashes}
        yield SelectedImages(SCHEMA, pa.table({}), pa.table({}), pa.table(values))
    if error:
        raise error


def test_each_chunk_has_its_images_in_their_order(tmp_path: Path) -> None:
    counts = ManifestWriter(tmp_path, 4).write(SCHEMA, make_partitions(4, [0] * 40 + [2] * 3))
    assert counts == [40, 0, 3, 0]
    rows = pq.read_table(tmp_path / "chunk-00000.parquet").to_pylist()
    assert [row["image_path"] for row in rows] == [f"image_path {number}" for number in range(40)]
    assert pq.read_table(tmp_path / "chunk-00001.parquet").num_rows == 0


def test_a_partition_is_cut_where_a_chunk_ends(tmp_path: Path) -> None:
    parts = list(make_partitions(3, [0, 0, 1, 2, 2, 2]))
    whole = SelectedImages(SCHEMA, pa.table({}), pa.table({}), pa.concat_tables([part.images for part in parts]))
    assert ManifestWriter(tmp_path, 3).write(SCHEMA, iter([whole])) == [2, 1, 3]


@pytest.mark.parametrize("before", [0, 1, 7])
def test_an_error_of_a_partition_ends_the_writers(tmp_path: Path, before: int) -> None:
    partitions = make_partitions(3, [0, 0, 0, 1, 1, 1, 1][:before], ArchiveError("broken"))
    with pytest.raises(ArchiveError, match="broken"):
        ManifestWriter(tmp_path, 3).write(SCHEMA, partitions)
    assert not list(tmp_path.glob("chunk-00002*"))


def test_an_error_of_a_writer_ends_the_reading_of_partitions(tmp_path: Path) -> None:
    (tmp_path / "chunk-00000.parquet").mkdir()
    (tmp_path / "chunk-00000.parquet" / "in the way").touch()
    with pytest.raises(OSError, match="chunk-00000"):
        ManifestWriter(tmp_path, 2).write(SCHEMA, make_partitions(2, [0] * 5 + [1] * 5))
    (tmp_path / "no folder").touch()
    partitions = make_partitions(2, [0] * 500)
    with pytest.raises(OSError, match="no folder"):
        ManifestWriter(tmp_path / "no folder", 2).write(SCHEMA, partitions)
    assert len(list(partitions)) > 400
