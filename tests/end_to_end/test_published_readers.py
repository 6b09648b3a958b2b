"""Readers of a published dataset: webdataset, datasets, pyarrow and mlcroissant, over HTTP and S3, after an update."""

import io
import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import webdataset
from pyarrow import fs
from webdataset.tariterators import group_by_keys, tar_file_expander

from gbif_webdataset.remote.store_address import StoreAddress
from tests.support.datasets import ROOT
from tests.support.loading_code import find_blocks, run_code
from tests.support.object_servers import BUCKET, KEY, S3_ENVIRONMENT, SECRET, run_moto
from tests.support.publishable import QUICK, Publishable, check_complete

pytest.importorskip("obstore", reason="optional: needs pip install -e .[cloud]")
pytest.importorskip("boto3", reason="optional: needs pip install -e .[cloud]")
NEEDS_READERS = "optional: needs pip install -e .[readers]"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of S3 whose objects can be read over HTTP without a signature."""
    with run_moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture(scope="module")
def dataset(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Publishable:
    """A dataset of which two versions are published, so that some shards have digests and others are stale."""
    dataset = Publishable.made(tmp_path_factory.mktemp("published") / "dataset")
    target = StoreAddress.parse(f"s3://{BUCKET}/data/moths", endpoint)
    options = replace(QUICK, public_url=f"{endpoint}/{BUCKET}/data/moths")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in S3_ENVIRONMENT.items():
            patch.setenv(name, value)
        dataset.send(target, options)
        dataset.rows["train"] = dataset.rows["train"][2:]
        dataset.make("1.0.1")
        dataset.send(target, options)
    return dataset


@pytest.fixture
def url(endpoint: str, dataset: Publishable) -> str:
    return f"{endpoint}/{BUCKET}/data/moths"


@pytest.fixture
def expected(dataset: Publishable) -> Counter[str]:
    """The keys of the samples of train."""
    return Counter(row["image_path"].removesuffix(".jpg") for row in dataset.rows["train"])


def read(url: str) -> bytes:
    return bytes(urllib.request.urlopen(url, timeout=10).read())


def list_shards(url: str) -> list[str]:
    """The shards of train, with the code of docs/publishing.md."""
    [code] = [block for block in find_blocks((ROOT / "docs" / "publishing.md").read_text()) if "dataset.json" in block]
    variables: dict[str, Any] = {}
    exec(code.replace("https://data.example.org/moths", url), variables)
    return list(variables["shards"])


def test_the_update_has_stale_shards_and_shards_with_digests(url: str) -> None:
    version = check_complete(lambda name: read(f"{url}/{name}"))
    assert any(name.endswith(".tar") for name in version.earlier)
    assert any(one.name != one.path for one in version.objects if one.path.endswith(".tar"))
    assert any(one.name == one.path for one in version.objects if one.path.endswith(".tar"))


def test_webdataset_reads_over_http(url: str, expected: Counter[str]) -> None:
    samples = webdataset.WebDataset(list_shards(url), shardshuffle=False)
    assert Counter(sample["__key__"] for sample in samples) == expected


def test_datasets_reads_over_http(url: str, expected: Counter[str], cache: Path) -> None:
    datasets = pytest.importorskip("datasets", reason=NEEDS_READERS)
    pytest.importorskip("aiohttp", reason=NEEDS_READERS)
    rows = datasets.load_dataset("webdataset", data_files={"train": list_shards(url)}, split="train", streaming=True)
    assert Counter(row["__key__"] for row in rows) == expected


def test_pyarrow_reads_over_http_and_s3(url: str, endpoint: str, dataset: Publishable) -> None:
    count = sum(len(rows) for rows in dataset.rows.values())
    assert pq.read_table(io.BytesIO(read(f"{url}/attribution.parquet"))).num_rows == count
    storage = fs.S3FileSystem(
        access_key=KEY,
        secret_key=SECRET,
        endpoint_override=endpoint.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
    )
    path = f"{BUCKET}/data/moths"
    assert pq.read_table(f"{path}/attribution.parquet", filesystem=storage).num_rows == count
    objects = json.loads(storage.open_input_stream(f"{path}/dataset.json").read())["objects"]
    for one in objects:
        assert storage.get_file_info(f"{path}/{one['name']}").size == one["bytes"]


def test_webdataset_reads_from_s3(url: str, endpoint: str, expected: Counter[str]) -> None:
    storage = fs.S3FileSystem(
        access_key=KEY,
        secret_key=SECRET,
        endpoint_override=endpoint.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
    )
    keys: Counter[str] = Counter()
    for shard in list_shards(url):
        with storage.open_input_stream(shard.removeprefix(f"{endpoint}/")) as stream:
            samples = group_by_keys(tar_file_expander([{"url": shard, "stream": stream}]))
            keys.update(sample["__key__"] for sample in samples)
    assert keys == expected


def test_mlcroissant_reads_over_http(url: str, dataset: Publishable, tmp_path: Path) -> None:
    pytest.importorskip("mlcroissant", reason=NEEDS_READERS)
    code = f"""
import mlcroissant
described = mlcroissant.Dataset("{url}/croissant.json")
print(*(len(list(described.records(name))) for name in ("images", "attribution")))
"""
    environment = {**os.environ, "CROISSANT_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    count = sum(len(rows) for rows in dataset.rows.values())
    assert ended.stdout.split() == [str(count)] * 2


def test_dali_reads_a_copy_by_the_indexes(url: str, expected: Counter[str], tmp_path: Path) -> None:
    """On the processor: DALI needs no GPU for it."""
    pytest.importorskip("nvidia.dali", reason="optional: needs pip install nvidia-dali-cuda120; no GPU")
    copy_target(url, tmp_path)
    shards = [str(tmp_path / shard.removeprefix(f"{url}/")) for shard in list_shards(url)]
    code = f"""
from nvidia.dali import fn, pipeline_def

@pipeline_def(batch_size={expected.total()}, num_threads=1, device_id=None)
def read():
    shards = {shards!r}
    indexes = [shard.removesuffix(".tar") + ".idx" for shard in shards]
    image, label = fn.readers.webdataset(paths=shards, index_paths=indexes, ext=["jpg", "cls"])
    return fn.decoders.image(image, device="cpu"), label

pipeline = read()
pipeline.build()
images, labels = pipeline.run()
print(*pipeline.epoch_size().values(), len(images), set(images[place].shape() == [48, 64, 3] for place in range(len(images))))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [str(expected.total())] * 2 + ["{True}"]


def test_the_code_of_the_card_runs_beside_a_copy_of_the_whole_target(
    url: str, endpoint: str, expected: Counter[str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stale shards of the first version are in the copy as well."""
    pytest.importorskip("datasets", reason=NEEDS_READERS)
    copy_target(url, tmp_path / "shards")
    blocks = find_blocks((tmp_path / "shards" / "README.md").read_text())
    assert len(run_code(blocks[0], monkeypatch, tmp_path)["seen"]) == expected.total()
    for block in blocks[1:]:
        assert len(list(run_code(block, monkeypatch, tmp_path)["train"])) == expected.total()


def copy_target(url: str, folder: Path) -> None:
    """Copy everything that a target has, as `aws s3 sync` does."""
    version = check_complete(lambda name: read(f"{url}/{name}"))
    for name in {*version.names, *version.earlier, "dataset.json"}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(read(f"{url}/{name}"))
