"""webdataset and tar read each sample once. test_loaders.py has all other loaders."""

import json
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset

from tests.support.shard_run import RECIPE, SPLITS, ShardRun, sixty_moths

SMALL = replace(RECIPE, max_shard_size=60_000, resize_min_size=80, columns_to_json=("country", "label"))


@pytest.fixture(scope="module")
def moths(tmp_path_factory: pytest.TempPathFactory) -> ShardRun:
    moths = sixty_moths(tmp_path_factory.mktemp("moths"))
    moths.create(SMALL)
    return moths


def list_keys(moths: ShardRun, split: str) -> Counter[str]:
    return Counter(row["image_path"].removesuffix(".jpg") for row in moths.rows[split])


def list_paths(moths: ShardRun, split: str) -> list[str]:
    return [str(path) for path in moths.shards() if path.parent.name == split]


@pytest.mark.parametrize("split", SPLITS)
def test_webdataset_reads_every_sample_once(moths: ShardRun, split: str) -> None:
    dataset = webdataset.WebDataset(list_paths(moths, split), shardshuffle=False).decode("pil")
    assert Counter(sample["__key__"] for sample in dataset) == list_keys(moths, split)


@pytest.mark.parametrize("split", SPLITS)
def test_tar_unpacks_every_sample_once(moths: ShardRun, tmp_path: Path, split: str) -> None:
    for path in list_paths(moths, split):
        subprocess.run(["tar", "xf", path, "-C", tmp_path, "--keep-old-files"], check=True)
    found = Counter(path.relative_to(tmp_path).with_suffix("").as_posix() for path in tmp_path.rglob("*.jpg"))
    assert found == list_keys(moths, split)
    assert all(json.loads(path.read_text())["country"] == "NA" for path in tmp_path.rglob("*.json"))
