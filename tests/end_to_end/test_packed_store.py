"""Images in packs: the same shards as from files, no download for a change of the store, and few files."""

import random
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.image_store import is_packed
from gbif_webdataset.storage.pack_files import scan_spans
from gbif_webdataset.storage.pack_places import find_places
from sample.server import PhotoServer
from tests.support.datasets import Dataset

PACKED = ("--store", "packed")
SMALL_PACKS = ("--FetchChunk-pack-bytes", "300000")
ACCOUNTS = ("accounting.csv", "verified.parquet", "clean.parquet", "splits/train.csv")


@pytest.fixture(scope="module")
def packed(made: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The dataset of the small archive in packs, which tests leave as it is."""
    dataset = Dataset(made.archive, tmp_path_factory.mktemp("packed") / "dataset")
    dataset.make(*PACKED, *SMALL_PACKS, "--workers", "2", "--CreateWebDataset-num-workers", "2")
    return dataset


def copy_of(dataset: Dataset, folder: Path) -> Dataset:
    return dataset.copy(folder / "dataset")


def is_same(one: Dataset, other: Dataset) -> bool:
    """Whether shards and accounts are the same; times and attempts of the downloads differ."""
    accounts = all(
        list(map(without_times, one.rows(name))) == list(map(without_times, other.rows(name))) for name in ACCOUNTS
    )
    return accounts and one.shards() == other.shards()


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("fetched_at", "attempts")}


def images_of(dataset: Dataset) -> dict[str, bytes]:
    """The bytes of all images that were not deleted."""
    reader, gone = ImageReader(dataset.output / "images"), {row["image_path"] for row in dataset.rows("deleted.csv")}
    paths = [row["image_path"] for row in dataset.rows("verified.parquet") if row["image_path"] not in gone]
    reader.find_places(paths)
    return {path: reader.read(path) for path in paths}


def list_images(dataset: Dataset) -> list[str]:
    images = dataset.output / "images"
    return sorted(path.relative_to(images).as_posix() for path in images.rglob("*"))


def test_packs_give_the_same_shards_and_accounts_as_files(made: Dataset, packed: Dataset) -> None:
    assert is_same(made, packed)
    assert images_of(made) == images_of(packed)


def test_the_store_has_two_entries_for_each_chunk_and_one_for_each_pack(packed: Dataset) -> None:
    images = packed.output / "images"
    packs = list(images.glob("chunk-*/[0-9]*.tar"))
    assert len(list_images(packed)) == 2 * packed.chunks + len(packs)
    assert len(packs) > packed.chunks
    assert all(path.stat().st_size <= 300_000 or len(list(scan_spans(path))) == 1 for path in packs)


def test_the_store_changes_in_both_directions_without_a_request_or_another_stage(
    made: Dataset, photos: PhotoServer, tmp_path: Path
) -> None:
    dataset = copy_of(made, tmp_path)
    files, requests = list_images(dataset), len(photos.requests)
    assert dataset.plan(*PACKED)[0] == "FetchChunk: 4 chunks, the images will be stored as packed"
    dataset.make(*PACKED, *SMALL_PACKS)
    assert all(is_packed(dataset.output / "images", chunk) for chunk in range(dataset.chunks))
    assert not list(dataset.output.glob("images/**/*.jpg"))
    assert is_same(made, dataset)
    assert images_of(made) == images_of(dataset)
    assert dataset.plan() == dataset.plan(*PACKED)
    assert "is as it was written" in dataset.make(task="AuditDataset")

    dataset.make("--store", "files")
    assert list_images(dataset) == files
    assert is_same(made, dataset)
    assert photos.requests[requests:] == []


def test_shards_that_are_made_from_packs_are_those_that_are_made_from_files(made: Dataset, tmp_path: Path) -> None:
    dataset = copy_of(made, tmp_path)
    small = ("--CreateWebDataset-resize-min-size", "100", "--CreateWebDataset-max-shard-size", "300000")
    dataset.make(*small)
    from_files = dataset.shards()
    dataset.make(*PACKED, task="FetchImages")
    (dataset.output / ".made/CreateWebDataset.json").unlink()
    dataset.make(*small)
    assert dataset.shards() == from_files


def test_a_packed_dataset_stays_packed_without_the_option(packed: Dataset, photos: PhotoServer, tmp_path: Path) -> None:
    dataset, requests = copy_of(packed, tmp_path), len(photos.requests)
    (dataset.output / ".made/FetchChunk-00001.json").unlink()
    dataset.make(*SMALL_PACKS)
    assert is_same(packed, dataset)
    assert list_images(dataset) == list_images(packed)
    assert photos.requests[requests:] == []


def test_another_number_of_chunks_repacks_the_images_without_a_request(
    packed: Dataset, photos: PhotoServer, tmp_path: Path
) -> None:
    dataset, before = copy_of(packed, tmp_path), images_of(packed)
    for dataset.chunks in (7, 2):
        requests = len(photos.requests)
        dataset.make(*SMALL_PACKS)
        assert photos.requests[requests:] == []
        assert sorted(dataset.output.glob("images/*.idx"))[-1].name == f"chunk-{dataset.chunks - 1:05d}.idx"
        assert images_of(dataset) == before
        assert dataset.shards() == packed.shards()
    dataset.run(task="AuditDataset")
    assert [row["file"] for row in dataset.rows("audit.csv") if row["file"].startswith("images/")] == []


def test_packs_are_a_cache_for_files_and_files_for_packs(
    made: Dataset, packed: Dataset, photos: PhotoServer, tmp_path: Path
) -> None:
    for cached, store in ((packed, "files"), (made, "packed")):
        dataset, requests = Dataset(made.archive, tmp_path / store), len(photos.requests)
        dataset.make("--FetchChunk-cache-path", str(cached.output / "images"), "--store", store, task="VerifyImages")
        asked = {path for path, _ in photos.requests[requests:]}
        answered = {row["identifier"] for row in dataset.rows("fetched") if row["status"] == "cached"}
        assert answered
        assert not asked & {url.removeprefix(photos.url) for url in answered}
        kept = images_of(cached)
        reader = ImageReader(dataset.output / "images")
        reader.find_places(list(kept))
        assert {path: reader.read(path) for path in kept} == kept


def test_no_byte_of_a_deleted_image_remains(packed: Dataset, tmp_path: Path) -> None:
    dataset = copy_of(packed, tmp_path)
    images = images_of(dataset)
    chosen = sorted(images)[::3]
    (tmp_path / "list.txt").write_text("\n".join(chosen))
    dataset.make("--DeleteImages-image-list", str(tmp_path / "list.txt"), *SMALL_PACKS, task="DeleteImages")
    kept = {path: data for path, data in images.items() if path not in chosen}
    assert images_of(dataset) == kept
    left = b"".join(path.read_bytes() for path in (dataset.output / "images").rglob("*") if path.is_file())
    unique = [images[path] for path in chosen if images[path] not in kept.values()]
    assert len(unique) > 5
    for data in unique:
        middle = len(data) // 2
        assert data[middle : middle + 64] not in left


def test_a_damaged_image_in_a_pack_is_found_and_downloaded_again(packed: Dataset, tmp_path: Path) -> None:
    dataset = copy_of(packed, tmp_path)
    images, path = dataset.output / "images", random.Random(1).choice(dataset.rows("splits/train.csv"))["image_path"]
    [place] = find_places(images, [path])[path]
    with (images / f"chunk-{place.chunk:05d}/{place.pack:03d}.tar").open("r+b") as file:
        file.seek(place.offset + place.size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    dataset.fail(task="AuditDataset")
    assert {row["file"]: row["kind"] for row in dataset.rows("audit.csv")} == {f"images/{path}": "changed"}
    dataset.make("--AuditDataset-repair", task="AuditDataset")
    dataset.make(*SMALL_PACKS)
    assert images_of(dataset) == images_of(packed)
    assert is_same(packed, dataset)


PLANNED = ("--CreateWebDataset-max-shard-size", "300000")


@pytest.mark.parametrize("changes", [[("--chunks", "3")], [("--store", "files"), PACKED]])
def test_shards_that_were_planned_are_written_although_the_packs_changed(
    packed: Dataset, photos: PhotoServer, tmp_path: Path, changes: list[tuple[str, str]]
) -> None:
    dataset, requests = copy_of(packed, tmp_path), len(photos.requests)
    dataset.make(*PLANNED, task="PlanShards")
    for option in changes:
        dataset.make(*option, task="FetchImages")
    if changes[0][0] == "--chunks":
        dataset.chunks = 3
    dataset.make(*PLANNED)
    other = copy_of(packed, tmp_path / "other")
    other.make(*PLANNED)
    assert dataset.shards() == other.shards()
    assert photos.requests[requests:] == []


@pytest.mark.parametrize("is_missing", [True, False])
def test_an_index_that_is_damaged_or_missing_is_made_again_by_the_stage_that_reads_it(
    packed: Dataset, photos: PhotoServer, tmp_path: Path, is_missing: bool
) -> None:
    dataset, requests = copy_of(packed, tmp_path), len(photos.requests)
    index = dataset.output / "images/chunk-00001.idx"
    before = index.read_bytes()
    if is_missing:
        index.unlink()
    else:
        index.write_bytes(b"x" + before)
    for label in ("VerifyChunk-00001", "CreateWebDataset"):
        (dataset.output / ".made" / f"{label}.json").unlink()
    (dataset.output / "verified/chunk-00001.parquet").unlink()
    dataset.make()
    assert is_same(packed, dataset)
    assert photos.requests[requests:] == []
    assert "is as it was written" in dataset.make(task="AuditDataset")
