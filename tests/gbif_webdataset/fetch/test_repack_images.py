"""Images in packs move to the chunks of a new manifest. test_carry_over.py has the same with ledgers and files."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from gbif_webdataset.fetch.repack_images import repack_images
from gbif_webdataset.storage.chunks import list_packed_chunks
from gbif_webdataset.storage.pack_writer import PackWriter
from tests.support.packs import pack_images, read_files, read_packed

IMAGES = {f"d/{number}.jpg": f"bytes of {number}".encode() * 100 for number in range(60)}


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def assign(connection: duckdb.DuckDBPyConnection, chunks: dict[str, list[int]]) -> None:
    """Make the table `assigned`, with the chunks of each image."""
    connection.execute(
        "CREATE OR REPLACE TABLE assigned (chunk INT, image_path VARCHAR, status VARCHAR, sha256 VARCHAR)"
    )
    for path, of_image in chunks.items():
        for chunk in of_image:
            sha256 = hashlib.sha256(IMAGES[path]).hexdigest()
            connection.execute("INSERT INTO assigned VALUES ($1, $2, 'fetched', $3)", [chunk, path, sha256])
    for table in ("packed", "move", "copy"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")


def spread(images: Path, chunks: int) -> None:
    for chunk in range(chunks):
        paths = list(IMAGES)[chunk::chunks]
        pack_images(images, chunk, {path: IMAGES[path] for path in paths}, 10_000)


@pytest.mark.parametrize(("before", "after"), [(3, 5), (5, 2), (4, 4), (1, 7)])
def test_every_image_is_in_its_chunk_and_in_no_other(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, before: int, after: int
) -> None:
    spread(tmp_path, before)
    chunk_of = {path: number % after for number, path in enumerate(IMAGES)}
    assign(connection, {path: [chunk] for path, chunk in chunk_of.items()})
    repack_images(connection, tmp_path, after, 10_000)
    assert list_packed_chunks(tmp_path) == list(range(after))
    for chunk in range(after):
        assert read_packed(tmp_path, chunk) == {path: IMAGES[path] for path, of in chunk_of.items() if of == chunk}
    left = read_files(tmp_path)
    assert {left.count(data) for data in IMAGES.values()} == {1}, "the old copies are gone"


def test_an_image_of_several_chunks_is_copied_to_each_and_one_of_none_is_kept(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    spread(tmp_path, 3)
    assign(connection, {"d/0.jpg": [0, 1], "d/1.jpg": [1]})
    repack_images(connection, tmp_path, 2, 10_000)
    chunks = [read_packed(tmp_path, chunk) for chunk in range(2)]
    assert chunks[0]["d/0.jpg"] == chunks[1]["d/0.jpg"] == IMAGES["d/0.jpg"]
    assert chunks[0] | chunks[1] == IMAGES
    assert len(chunks[0]) + len(chunks[1]) == len(IMAGES) + 1


class KilledError(BaseException):
    """The process was killed."""


@pytest.mark.parametrize("copies", [0, 1, 7, 25, 59])
def test_after_a_kill_no_image_is_lost_and_the_next_call_completes_the_move(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    spread(tmp_path, 3)
    chunk_of = {path: number % 5 for number, path in enumerate(IMAGES)}
    assign(connection, {path: [chunk] for path, chunk in chunk_of.items()})
    left, original = iter(range(copies)), PackWriter.add

    def stop(writer: PackWriter, image_path: str, data: bytes, sha256: str) -> None:
        if next(left, None) is None:
            raise KilledError
        original(writer, image_path, data, sha256)

    with monkeypatch.context() as patch:
        patch.setattr(PackWriter, "add", stop)
        with pytest.raises(KilledError):
            repack_images(connection, tmp_path, 5, 10_000)
    found = {
        path: data for chunk in list_packed_chunks(tmp_path) for path, data in read_packed(tmp_path, chunk).items()
    }
    assert found == IMAGES
    assign(connection, {path: [chunk] for path, chunk in chunk_of.items()})
    repack_images(connection, tmp_path, 5, 10_000)
    for chunk in range(5):
        assert read_packed(tmp_path, chunk) == {path: IMAGES[path] for path, of in chunk_of.items() if of == chunk}


def test_a_dataset_of_files_is_left_as_it_is(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    assign(connection, {"d/0.jpg": [0]})
    repack_images(connection, tmp_path, 2, 10_000)
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_missing_costs_no_image(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    spread(tmp_path, 2)
    (tmp_path / "chunk-00000.idx").unlink()
    assign(connection, {path: [number % 2] for number, path in enumerate(IMAGES)})
    repack_images(connection, tmp_path, 2, 10_000)
    pack_images(tmp_path, 0, {})
    assert read_packed(tmp_path, 0) | read_packed(tmp_path, 1) == IMAGES
