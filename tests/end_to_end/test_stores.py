"""The packed store: the same shards as with files, after kills too, few files, and no bytes of deleted images."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gbif_webdataset.storage.pack_files import DELETED
from sample.server import PhotoServer
from tests.support.datasets import ROOT, Dataset, archive_of
from tests.support.load_server import LoadServer

PACKED, FILES = ("--store", "packed"), ("--store", "files")
SEED = 20_261_129
KILL_ROUNDS = int(os.environ.get("KILL_ROUNDS", "1"))
"""Each round kills a run at up to nine random moments of every stage."""
LATEST = 60.0
SMALL_SHARDS = ("--CreateWebDataset-max-shard-size", "300000")
SMALL_PHOTOS = ("--CleanDataset-remove-thumbnails", "false", "--FetchChunk-min-free-bytes", "0")
IMAGES, INODES = 5_000, 500
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(small_archive: Path, photos: PhotoServer, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset with a file for each image, and many small shards; tests leave it as it is."""
    dataset = Dataset(small_archive, tmp_path_factory.mktemp("files") / "dataset")
    dataset.make(*FILES, *SMALL_SHARDS)
    return dataset


@pytest.fixture(scope="module")
def packed(files: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same dataset with packs; tests leave it as it is."""
    dataset = Dataset(files.archive, tmp_path_factory.mktemp("packed") / "dataset")
    dataset.make(*PACKED, *SMALL_SHARDS)
    return dataset


def list_tree(folder: Path) -> list[Path]:
    """Every file and folder below a folder."""
    return list(folder.rglob("*"))


def list_packs(dataset: Dataset) -> list[Path]:
    return sorted((dataset.output / "images").glob("chunk-*/*.tar"))


# Shards


@pytest.mark.parametrize(("workers", "chunks"), [(1, 1), (2, 3), (3, 7)])
def test_packs_give_the_shards_of_files_for_any_number_of_workers_and_chunks(
    files: Dataset, tmp_path: Path, workers: int, chunks: int
) -> None:
    dataset = Dataset(files.archive, tmp_path / "dataset", chunks)
    options = ("--workers", str(workers), "--CreateWebDataset-num-workers", str(workers))
    dataset.make(*PACKED, *SMALL_SHARDS, *options)
    assert dataset.shards() == files.shards()
    assert dataset.rows("accounting.csv") == files.rows("accounting.csv")
    assert {path.suffix for path in (dataset.output / "images").rglob("*") if path.is_file()} == {".tar", ".idx"}


@pytest.mark.parametrize(("source", "store"), [("files", PACKED), ("packed", FILES), ("packed", PACKED)])
def test_a_dataset_of_either_kind_is_converted_by_cache_path_without_downloading(
    source: str, store: tuple[str, str], request: pytest.FixtureRequest, photos: PhotoServer, tmp_path: Path
) -> None:
    older: Dataset = request.getfixturevalue(source)
    fetched = {row["identifier"] for row in older.rows("fetched") if row["status"] != "failed"}
    dataset, asked = Dataset(older.archive, tmp_path / "dataset", chunks=5), len(photos.requests)
    dataset.make(*store, *SMALL_SHARDS, "--FetchChunk-cache-path", str(older.output / "images"))
    assert dataset.shards() == older.shards()
    requested = {photos.url + path for path, _ in photos.requests[asked:]}
    deleted = {row["identifier"] for row in older.rows("deleted.csv")}
    assert not requested & (fetched - deleted)


@pytest.mark.parametrize(("source", "store"), [("files", PACKED), ("packed", FILES)])
def test_a_dataset_is_converted_in_its_own_folder_without_downloading(
    source: str, store: tuple[str, str], request: pytest.FixtureRequest, photos: PhotoServer, tmp_path: Path
) -> None:
    older: Dataset = request.getfixturevalue(source)
    dataset, asked = older.copy(tmp_path / "dataset"), len(photos.requests)
    dataset.make(*store, *SMALL_SHARDS)
    dataset.make(*store, *SMALL_SHARDS, "--VerifyChunk-max-pixels", "99999999")
    assert dataset.shards() == older.shards()
    assert len(photos.requests) == asked


def test_another_number_of_chunks_repacks_by_copying(packed: Dataset, photos: PhotoServer, tmp_path: Path) -> None:
    dataset, asked = packed.copy(tmp_path / "dataset"), len(photos.requests)
    dataset.chunks = 3
    dataset.make(*PACKED, *SMALL_SHARDS)
    assert len(photos.requests) == asked
    assert dataset.shards() == packed.shards()


def test_standard_tools_read_a_pack(packed: Dataset) -> None:
    rows = {row["image_path"]: row["bytes"] for row in packed.rows("fetched") if row["status"] != "failed"}
    listed = {}
    for pack in list_packs(packed):
        ended = subprocess.run(["tar", "tf", str(pack)], capture_output=True, text=True, timeout=60, check=True)
        with tarfile.open(pack) as tar:
            members = {member.name: member.size for member in tar}
        assert list(members) == ended.stdout.splitlines()
        listed |= members
    deleted = {row["image_path"] for row in packed.rows("deleted.csv")}
    assert listed.keys() - {DELETED} == rows.keys() - deleted
    assert all(listed[name] == size for name, size in rows.items() if name not in deleted)


# Kills


@pytest.fixture
def slow_photos(photos: PhotoServer) -> Iterator[PhotoServer]:
    """The photos, each after a moment."""
    photos.delay = 0.1
    yield photos
    photos.delay = 0


@pytest.mark.parametrize("number", range(KILL_ROUNDS))
def test_a_run_killed_at_random_moments_of_every_stage_ends_as_one_that_was_not(
    files: Dataset, slow_photos: PhotoServer, tmp_path: Path, number: int
) -> None:
    rng, photos = random.Random(SEED + number), slow_photos
    dataset = Dataset(files.archive, tmp_path / "dataset")
    output = dataset.output
    moments: list[tuple[Callable[[], bool], float]] = [
        (output.exists, 0.3),
        (lambda: any(output.glob("manifest/*")), 0.2),
        (has_answered(photos, rng.randint(5, 20)), 0.3),
        (has_answered(photos, rng.randint(5, 20)), 0.3),
        (lambda: any(output.glob("verified/*")), 0.3),
        (lambda: (output / "verified.parquet").exists(), 0.1),
        (lambda: (output / "deleted.csv").exists(), 0.1),
        (lambda: any(output.glob("shards/.parts/*")), 0.3),
        (lambda: (output / "shards" / "shards.csv").exists(), 0.3),
    ]
    kills = 0
    for reached, further in moments:
        is_killed = run_and_kill(dataset, reached, rng.uniform(0, further))
        settled, asked = dataset.settled() if any(output.glob("manifest/chunk-*")) else set(), len(photos.requests)
        kills += is_killed
        if len(list(output.glob("fetched/chunk-*.parquet"))) < dataset.chunks:
            continue
        assert not settled & {photos.url + path for path, _ in photos.requests[asked:]}
    asked, settled = len(photos.requests), dataset.settled()
    dataset.make(*PACKED, *SMALL_SHARDS, "--workers", "2")
    print(f"round {number}: {kills} kills")
    assert kills >= 6, "most runs ended before they were killed"
    assert not settled & {photos.url + path for path, _ in photos.requests[asked:]}
    assert dataset.shards() == files.shards()
    assert dataset.rows("accounting.csv") == files.rows("accounting.csv")
    dataset.run(task="AuditDataset")
    assert dataset.rows("audit.csv") == []


def has_answered(photos: PhotoServer, further: int) -> Callable[[], bool]:
    """Whether the server has answered so many requests more than when it was first asked."""
    first: list[int] = []

    def reached() -> bool:
        first.append(len(photos.requests))
        return first[-1] - first[0] >= further

    return reached


def run_and_kill(dataset: Dataset, reached: Callable[[], bool], further: float) -> bool:
    """Run until the moment is reached and `further` seconds more, then SIGKILL; False if the run has ended before."""
    command = dataset.command(*PACKED, *SMALL_SHARDS, "--workers", "2", "--CreateWebDataset-num-workers", "2")
    run = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + LATEST
        while not reached() and run.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(further)
        return run.poll() is None
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


# Few files


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that has room for about INODES files."""
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mkfs.ext4"):
        pytest.skip("optional: mkfs.ext4 is not installed")
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-N", str(INODES), str(image)], check=True, timeout=60)
    mounted = subprocess.run(
        ["mount", "-o", "loop", str(image), str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    if mounted.returncode:
        pytest.skip(f"optional: loop devices cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], timeout=60, check=True)


@pytest.fixture(scope="module")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An archive of IMAGES small photos, and a server of them."""
    with LoadServer() as server:
        urls = [f"{server.url}/{number}.jpg" for number in range(IMAGES)]
        yield archive_of(tmp_path_factory.mktemp("many") / "many.zip", urls)


def test_5000_images_fit_on_a_disk_for_500_files(many_photos: Path, small_disk: Path) -> None:
    dataset = Dataset(many_photos, small_disk / "dataset")
    planned = dataset.make(*FILES, "--PlanFetch-sample", "2", task="PlanFetch")
    assert "WARNING: --store files: about 5," in planned
    assert "; use --store packed, which creates about " in planned
    dataset.make(*PACKED, *SMALL_PHOTOS, "--workers", "2")
    assert sum(int(row["samples"]) for row in dataset.rows("shards/shards.csv")) == IMAGES
    assert "every file is as it was written" in dataset.make(task="AuditDataset")


def test_the_job_without_images_has_at_most_twelve_files_for_each_chunk(many_photos: Path, tmp_path: Path) -> None:
    counts = []
    for chunks in (2, 22):
        dataset = Dataset(many_photos, tmp_path / f"dataset-{chunks}", chunks)
        dataset.make(*PACKED, *SMALL_PHOTOS, "--workers", "2")
        counts.append(len(list_tree(dataset.output)) - len(list_packs(dataset)))
    slurm = 4  # three logs, and the record of ShardChunk
    assert (counts[1] - counts[0]) / 20 + slurm <= 12


# Deleted images


def test_no_file_has_the_bytes_of_a_deleted_image(files: Dataset, tmp_path: Path) -> None:
    dataset = Dataset(files.archive, tmp_path / "dataset", chunks=2)
    dataset.make(*PACKED, task="VerifyImages")
    valid = sorted(row["image_path"] for row in dataset.rows("verified.parquet") if row["valid"])
    chosen = random.Random(SEED).sample(valid, 5)
    pieces = {name: cut_pieces((files.output / "images" / name).read_bytes()) for name in valid}
    own = {
        name: some - set(itertools.chain.from_iterable(pieces[n] for n in valid if n != name))
        for name, some in pieces.items()
    }
    assert all(own[name] for name in chosen)
    assert find_pieces(dataset.output, own, chosen) == set(chosen)
    (tmp_path / "list.txt").write_text("\n".join(chosen))
    dataset.make(*PACKED, *SMALL_SHARDS, "--DeleteImages-image-list", str(tmp_path / "list.txt"))
    assert find_pieces(dataset.output, own, chosen) == set()
    others = [name for name in valid if name not in chosen]
    assert find_pieces(dataset.output, own, others) == {name for name in others if own[name]}


def cut_pieces(data: bytes) -> set[bytes]:
    """Pieces of 48 bytes from all parts of an image, after its header."""
    return {data[at : at + 48] for at in range(1_000, len(data) - 48, max(48, len(data) // 50))}


def find_pieces(folder: Path, pieces: dict[str, set[bytes]], names: list[str]) -> set[str]:
    """Those of the images of which a file below the folder has a piece."""
    contents = [path.read_bytes() for path in list_tree(folder) if path.is_file()]
    return {name for name in names if any(piece in content for piece in pieces[name] for content in contents)}
