"""Every loader reads every sample of every kind of dataset once, with its image, class and types."""

import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.loader_matrix import LOADERS, OPTIONS, LoaderDataset, list_shard_lengths
from tests.support.loading_code import find_blocks, run_code

pytestmark = pytest.mark.slow
NEEDS_DATASETS = "optional: needs pip install -e .[readers]"


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoaderDataset]:
    """A dataset for each option."""
    made = {}
    for name, option in OPTIONS.items():
        made[name] = LoaderDataset(tmp_path_factory.mktemp("option"))
        made[name].fill(option)
        made[name].publish_option(option)
    return made


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_loader_reads_every_sample_once(matrix: dict[str, LoaderDataset], option: str, loader: str) -> None:
    dataset = matrix[option]
    counts = {split: count for split, count in OPTIONS[option].counts.items() if count}
    for split, count in counts.items():
        expected = dataset.expected(split)
        assert len({width for width, _ in expected}) == count
        assert Counter(LOADERS[loader](dataset, split)) == Counter(expected)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_code_of_the_card_loads_train(
    matrix: dict[str, LoaderDataset], option: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = matrix[option]
    expected = Counter(dataset.expected("train"))
    blocks = find_blocks((dataset.shards_folder / "README.md").read_text())
    assert len(blocks) == 3
    assert Counter(run_code(blocks[0], monkeypatch, dataset.root)["seen"]) == expected
    for block in blocks[1:]:
        train = run_code(block, monkeypatch, dataset.root)["train"]
        image = "image" if len(dataset.description.extensions) > 1 else dataset.description.extensions[0]
        rows = list(train)
        assert Counter((row[image].width, row["cls"]) for row in rows) == expected
        assert train.features["cls"].num_classes == OPTIONS[option].classes
        assert train.features.keys() == rows[0].keys()


def test_types_and_names_are_those_of_the_archive(matrix: dict[str, LoaderDataset], cache: Path) -> None:
    datasets = pytest.importorskip("datasets", reason=NEEDS_DATASETS)
    text, number = datasets.Value("string"), datasets.Value("float64")
    sparse = datasets.load_dataset(str(matrix["sparse json"].shards_folder))
    whole = datasets.Value("int64")
    fields = {"sex": text, "year": whole, "decimalLatitude": number, "width": whole}
    assert sparse["train"].features["json"] == fields
    assert {row["year"] for row in sparse["train"]["json"]} == {None, 2019}
    named = datasets.load_dataset(str(matrix["hierarchy and caption"].shards_folder), split="train")
    assert named.features["cls"].names == ["Species moth 0", "Species moth 1", "Species moth 2"]
    assert named.features["cls"].int2str(named["cls"][0]) == named["json"][0]["species"]


def test_classes_that_train_lacks_are_minus_one_in_holdout(matrix: dict[str, LoaderDataset], cache: Path) -> None:
    datasets = pytest.importorskip("datasets", reason=NEEDS_DATASETS)
    holdout = datasets.load_dataset(str(matrix["holdout"].shards_folder), split="holdout")
    assert sorted(holdout["cls"]) == [-1, -1, 0, 2]
    assert holdout.features["cls"].names == ["moth 0", "moth 1", "moth 2"]


def test_a_missing_shard_is_noticed(tmp_path: Path, cache: Path) -> None:
    datasets = pytest.importorskip("datasets", reason=NEEDS_DATASETS)
    dataset = LoaderDataset(tmp_path)
    dataset.fill(OPTIONS["many shards"])
    dataset.publish_option(OPTIONS["many shards"])
    (dataset.shards_folder / "train" / "train-000001.tar").unlink()
    with pytest.raises(datasets.exceptions.NonMatchingSplitsSizesError):
        datasets.load_dataset(str(dataset.shards_folder))


def test_one_cache_never_gives_the_rows_of_other_shards(tmp_path: Path, cache: Path) -> None:
    datasets = pytest.importorskip("datasets", reason=NEEDS_DATASETS)

    def make(root: Path, seed: int, name: str = "") -> LoaderDataset:
        dataset = LoaderDataset(root)
        dataset.fill(OPTIONS["default"], seed)
        dataset.publish_option(replace(OPTIONS["default"], recipe={"label_name": name}))
        return dataset

    def read(dataset: LoaderDataset) -> Any:
        train = datasets.load_dataset(str(dataset.shards_folder), split="train")
        assert Counter((row["jpg"].width, row["cls"]) for row in train) == Counter(dataset.expected("train"))
        return train

    old, other = make(tmp_path / "old", 0), make(tmp_path / "other", 100)
    assert {read(old)["__url__"][0].split("/")[-4], read(other)["__url__"][0].split("/")[-4]} == {"old", "other"}
    read(make(tmp_path / "old", 200))  # the same folder with other images
    assert read(make(tmp_path / "old", 200, "species")).features["cls"].names[0] == "Species moth 0"
    assert read(make(tmp_path / "old", 200)).features["cls"].names[0] == "moth 0"
    read(old := make(tmp_path / "old", 0))
    assert len(list((cache / "shards").iterdir())) == 4
    assert old.description.shards_sha256[:16] in {path.name.split("-")[1] for path in (cache / "shards").iterdir()}


def test_the_indexes_of_energon_are_those_that_it_makes_itself(
    matrix: dict[str, LoaderDataset], tmp_path: Path
) -> None:
    prepare = pytest.importorskip(
        "megatron.energon.flavors.webdataset.prepare", reason="optional: needs pip install megatron-energon"
    )
    for option in ("many shards", "hierarchy and caption"):
        dataset = matrix[option]
        paths = list(list_shard_lengths(dataset))
        for path in paths:
            (tmp_path / option / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / option / path).write_bytes((dataset.shards_folder / path).read_bytes())
        patterns = [(split, f"{split}/.*") for split in ("train", "val", "test")]
        prepare.WebdatasetPreparator.prepare_dataset(tmp_path / option, paths, split_parts_patterns=patterns, workers=1)
        for path in paths:
            own, theirs = dataset.shards_folder / f"{path}.idx", tmp_path / option / f"{path}.idx"
            assert own.read_bytes() == theirs.read_bytes()


def test_the_index_of_energon_has_the_start_of_each_sample_and_the_end(matrix: dict[str, LoaderDataset]) -> None:
    dataset = matrix["many shards"]
    for path, samples in list_shard_lengths(dataset).items():
        content = (dataset.shards_folder / f"{path}.idx").read_bytes()
        offsets = struct.unpack(f"<{len(content) // 8}Q", content)
        assert len(offsets) == samples + 1
        tar = (dataset.shards_folder / path).read_bytes()
        assert all(tar[start : start + 100].rstrip(b"\0").endswith(b".cls") for start in offsets[:-1])
        assert not tar[offsets[-1] :].strip(b"\0")
