"""What reads the shards reads every sample once: webdataset, tar, Hugging Face datasets, PyTorch's loader."""

import json
import multiprocessing
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset

from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.shards.create_webdataset import finish, prepare, unwritten, write_group
from tests.support.shard_run import RECIPE, SPLITS, Dataset, encoded, hashes, photo, sixty_moths

SMALL = replace(RECIPE, max_shard_size=60_000, resize_min_size=80, columns_to_json=("country", "label"))


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    moths = sixty_moths(tmp_path)
    moths.create(SMALL)
    return moths


def keys(moths: Dataset, split: str) -> Counter[str]:
    return Counter(row["image_path"].removesuffix(".jpg") for row in moths.rows[split])


def paths(moths: Dataset, split: str) -> list[str]:
    return [str(path) for path in moths.shards() if path.parent.name == split]


@pytest.mark.parametrize("split", SPLITS)
def test_webdataset_reads_every_sample_once(moths: Dataset, split: str) -> None:
    dataset = webdataset.WebDataset(paths(moths, split), shardshuffle=False).decode("pil")
    assert Counter(sample["__key__"] for sample in dataset) == keys(moths, split)


@pytest.mark.parametrize("split", SPLITS)
def test_tar_unpacks_every_sample_once(moths: Dataset, tmp_path: Path, split: str) -> None:
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    for path in paths(moths, split):
        subprocess.run(["tar", "xf", path, "-C", unpacked, "--keep-old-files"], check=True)
    found = Counter(path.relative_to(unpacked).with_suffix("").as_posix() for path in unpacked.rglob("*.jpg"))
    assert found == keys(moths, split)
    assert all(json.loads(path.read_text())["country"] == "NA" for path in unpacked.rglob("*.json"))


@pytest.mark.parametrize("split", SPLITS)
def test_hugging_face_streams_every_sample_once(moths: Dataset, split: str) -> None:
    datasets = pytest.importorskip("datasets", reason="optional: needs pip install -e .[readers]")
    stream = datasets.load_dataset("webdataset", data_files={split: paths(moths, split)}, split=split, streaming=True)
    samples = list(stream)
    assert Counter(sample["__key__"] for sample in samples) == keys(moths, split)
    for sample in samples:
        assert min(sample["jpg"].convert("RGB").size) <= 80
        assert f"label {sample['cls']}" == sample["json"]["label"]


@pytest.mark.parametrize("split", SPLITS)
def test_pytorchs_loader_with_two_workers_reads_every_sample_once(moths: Dataset, split: str) -> None:
    torch = pytest.importorskip("torch", reason="optional: needs pip install torch")
    loader = torch.utils.data.DataLoader
    shards = webdataset.WebDataset(paths(moths, split), shardshuffle=False, empty_check=False)
    read = loader(shards.decode("torchrgb").to_tuple("__key__", "jpg", "cls"), batch_size=None, num_workers=2)
    found: Counter[str] = Counter()
    for key, image, label in read:
        assert image.dtype == torch.float32
        assert 0 <= label < 5
        found[key] += 1
    assert found == keys(moths, split)


# However they are written


@pytest.mark.parametrize("workers", [2, 5])
def test_the_bytes_are_the_same_for_any_number_of_workers(moths: Dataset, workers: int) -> None:
    moths.create(SMALL, workers, "side-by-side")
    assert hashes(moths.root / "side-by-side") == hashes(moths.root / "shards")


@pytest.mark.parametrize("workers", [2, 5])
def test_the_bytes_are_the_same_where_workers_share_a_group(moths: Dataset, workers: int) -> None:
    recipe = replace(SMALL, max_shard_size=10_000_000)
    moths.create(recipe, 1, "alone")
    moths.create(recipe, workers, "threads")
    assert hashes(moths.root / "threads") == hashes(moths.root / "alone")


def _write(folder: Path, images: Path, group: int) -> None:
    write_group(folder, images, group, lambda samples: None)


def test_groups_written_by_processes_of_their_own_in_any_order_give_the_same_bytes(moths: Dataset) -> None:
    folder, images = moths.root / "by-group", moths.root / "images"
    groups = unwritten(folder, prepare(moths.root / "splits", images, folder, SMALL, moths.root / "scratch"))
    random.Random(1).shuffle(groups)
    context = multiprocessing.get_context("spawn")
    half = len(groups) // 2
    for some in (groups[:half], groups[half:]):
        with pytest.raises(MissingPieceError, match="isn't written"):
            finish(folder)
        processes = [context.Process(target=_write, args=(folder, images, group)) for group in some]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * len(processes)
    finish(folder)
    assert hashes(folder) == hashes(moths.root / "shards")


WRITER = """
import sys
from pathlib import Path
from gbif_webdataset.shards.create_webdataset import write_group
root = Path(sys.argv[1])
write_group(root / "shards", root / "images", 0, lambda samples: print(samples, flush=True))
"""


def test_a_writer_killed_in_its_midst_leaves_no_file_under_a_final_name(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    data = encoded(photo(640, 480, 1), quality=95)
    for number in range(400):
        dataset.add("train", f"ds/{number}.jpg", data)
    dataset.write()
    recipe = replace(RECIPE, max_shard_size=100_000_000, resize_min_size=470)
    folder = tmp_path / "shards"
    prepare(tmp_path / "splits", tmp_path / "images", folder, recipe, tmp_path / "scratch")
    before = sorted(path.name for path in (folder / ".parts").iterdir())
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{WRITER}", str(tmp_path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert int(writer.stdout.readline()) > 0  # some samples are in its tar
    writer.kill()
    writer.wait()
    time.sleep(0.1)
    left = {path.name for path in (folder / ".parts").iterdir()}
    assert sorted(name for name in left if not name.startswith(".tmp-")) == before
    assert not list(folder.glob("*/*.tar"))
    assert not list(folder.glob("*/*.idx"))
    assert not (folder / "shards.csv").exists()
    outcome = dataset.create(recipe)
    assert outcome.samples["train"] == 400
    assert not list(folder.rglob(".tmp-*"))
