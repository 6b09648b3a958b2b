"""Datasets with every option that matters to loaders, and what each loader reads of them.

Each image of a dataset has a width of its own, by which loaders that know no key are compared.
"""

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import webdataset
from PIL import Image

from gbif_webdataset.terms.splits import HUB_SPLITS
from tests.support import published
from tests.support.shard_run import encoded, photo

NO_IMAGES = ("cls", "json", "txt")
Read = tuple[int, int]
"""What every loader gives of a sample: the width of the decoded image, and the class."""


@dataclass(frozen=True)
class Option:
    """Parameters of CreateWebDataset, and the rows that the dataset is made of."""

    recipe: Mapping[str, Any]
    counts: Mapping[str, int]
    formats: Sequence[str] = ("JPEG",)
    classes: int = 3


FULL = {"train": 12, "val": 4, "test": 4}
OPTIONS = {
    "default": Option({}, FULL, ("JPEG", "PNG")),
    "original, mixed": Option({"image_format": "original"}, FULL, ("JPEG", "PNG", "WEBP")),
    "original, all formats": Option({"image_format": "original"}, FULL, ("JPEG", "GIF", "TIFF", "BMP")),
    "original, first image of a kind late": Option({"image_format": "original"}, FULL, ("JPEG",) * 7 + ("PNG",)),
    "webp": Option({"image_format": "webp"}, FULL),
    "sparse json": Option({"columns_to_json": ("sex", "year", "decimalLatitude", "width")}, FULL),
    "hierarchy and caption": Option(
        {"hierarchy_to_json": True, "caption_template": "a photo of {species}, {country}", "label_name": "species"},
        FULL,
    ),
    "holdout": Option({}, {**FULL, "holdout": 4}),
    "single class": Option({}, FULL, classes=1),
    "empty split": Option({}, {"train": 12, "val": 0, "test": 4}),
    "many shards": Option({"max_shard_size": 10_240}, FULL),
}


class LoaderDataset(published.Dataset):
    """A published dataset whose rows have the columns that the options need, sex only in the last row of a split."""

    columns = (*published.Dataset.columns, "sex", "year", "decimalLatitude", "species", "genus")

    def fill(self, option: Option, seed: int = 0) -> None:
        """Add the rows of an option; `seed` moves the widths of the images."""
        width = 40 + seed
        for split, count in option.counts.items():
            self.rows.setdefault(split, [])
            for number in range(count):
                width += 1
                name = f"{split}{number}"
                kind = option.formats[number % len(option.formats)]
                label = "unseen" if split == "holdout" and number % 2 else f"moth {number % option.classes}"
                last = {"sex": "FEMALE", "year": "2019", "decimalLatitude": "-22.5"} if number == count - 1 else {}
                values = {"datasetKey": published.MOTHS, "licenseCode": "cc-by", "species": f"Species {label}", **last}
                data = encoded(photo(width, 30, width), kind)
                self.add(
                    split, f"{published.MOTHS}/{name}.jpg", data, label, country="NA" if number % 2 else "", **values
                )

    def publish_option(self, option: Option) -> None:
        """Make the shards and the card."""
        recipe = option.recipe
        texts = {name: ",".join(recipe[name]) for name in ("columns_to_json",) if name in recipe}
        others = {name: value for name, value in recipe.items() if name in ("hierarchy_to_json", "caption_template")}
        settings = {"image_format": recipe.get("image_format", "jpg"), **texts, **others}
        self.publish(settings=settings, **{"max_shard_size": 30_720, **recipe})

    @property
    def shards_folder(self) -> Path:
        """The folder of the shards."""
        return self.root / "shards"

    def members(self, split: str) -> dict[str, dict[str, bytes]]:
        """The members of each sample of a split, by key and extension, as tarfile reads them."""
        found: dict[str, dict[str, bytes]] = {}
        for path in sorted((self.shards_folder / split).glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    key, _, extension = member.name.rpartition(".")
                    file = tar.extractfile(member)
                    assert file
                    found.setdefault(key, {})[extension] = file.read()
        return found

    def expected(self, split: str) -> list[Read]:
        """What a loader has to give of a split, in any order."""
        found = []
        for members in self.members(split).values():
            [image] = [data for extension, data in members.items() if extension not in NO_IMAGES]
            with Image.open(io.BytesIO(image)) as picture:
                found.append((picture.width, int(members["cls"])))
        return found


Loader = Callable[[LoaderDataset, str], Iterator[Read]]


def read_with_webdataset(dataset: LoaderDataset, split: str) -> Iterator[Read]:
    """Through the printed block of the card."""
    paths = sorted(map(str, (dataset.shards_folder / split).glob("*.tar")))
    images = ";".join(dataset.description.extensions)
    shards = webdataset.WebDataset(paths, shardshuffle=False).decode("pil").to_tuple(images, "cls")
    yield from ((image.width, label) for image, label in shards)


def read_with_torch(dataset: LoaderDataset, split: str) -> Iterator[Read]:
    """PyTorch's loader with two workers."""
    torch = pytest.importorskip("torch", reason="optional: needs pip install torch")
    paths = sorted(map(str, (dataset.shards_folder / split).glob("*.tar")))
    images = ";".join(dataset.description.extensions)
    shards = (
        webdataset.WebDataset(paths, shardshuffle=False, empty_check=False).decode("torchrgb").to_tuple(images, "cls")
    )
    for image, label in torch.utils.data.DataLoader(shards, batch_size=None, num_workers=2):
        assert image.dtype == torch.float32
        yield image.shape[2], int(label)


def read_with_timm(dataset: LoaderDataset, split: str) -> Iterator[Read]:
    """timm, which finds the split in _info.json."""
    timm = pytest.importorskip("timm.data", reason="optional: needs pip install timm")
    images = ";".join(dict.fromkeys(("jpg", "png", "webp", *dataset.description.extensions)))  # timm needs jpg in it
    found = timm.create_dataset("wds/", root=str(dataset.shards_folder), split=split, input_key=images)
    assert len(found) == len(dataset.expected(split))
    yield from ((image.width, label) for image, label in found)


def read_with_energon(dataset: LoaderDataset, split: str) -> Iterator[Read]:
    """Megatron Energon, which finds the split in .nv-meta/."""
    energon = pytest.importorskip("megatron.energon", reason="optional: needs pip install megatron-energon")
    one = energon.WorkerConfig(rank=0, world_size=1, num_workers=0)
    found = energon.get_val_dataset(dataset.shards_folder, split_part=split, batch_size=None, worker_config=one)
    yield from ((sample.image.shape[2], sample.label) for sample in energon.get_loader(found))


def read_by_the_index_of_dali(dataset: LoaderDataset, split: str) -> Iterator[Read]:
    """The bytes at the offsets of the index, which NVIDIA DALI reads; test_published_readers.py has DALI itself."""
    for path in sorted((dataset.shards_folder / split).glob("*.tar")):
        version, *lines = path.with_suffix(".idx").read_text().splitlines()
        assert version == f"v1.2 {len(lines)}"
        content = path.read_bytes()
        for line in lines:
            fields = line.split()
            members = {
                extension: content[int(start) : int(start) + int(size)]
                for extension, start, size in zip(fields[::4], fields[1::4], fields[2::4], strict=True)
            }
            [image] = [data for extension, data in members.items() if extension not in NO_IMAGES]
            yield Image.open(io.BytesIO(image)).width, int(members["cls"])


def read_rows(dataset: LoaderDataset, rows: Iterator[dict[str, Any]], split: str) -> Iterator[Read]:
    """Rows of Hugging Face's datasets, each compared with the members of its sample."""
    samples = dataset.members(split)
    for row in rows:
        members = samples[row["__key__"]]
        [image] = [row[extension] for extension in dataset.description.extensions if row[extension] is not None]
        assert row.get("json") == (json.loads(members["json"]) if "json" in members else None)
        assert row.get("txt") == (members["txt"].decode() if "txt" in members else None)
        yield image.convert("RGB").width, row["cls"]


def read_from_folder(dataset: LoaderDataset, split: str) -> Iterator[Read]:
    """`load_dataset(folder)`."""
    datasets = pytest.importorskip("datasets", reason="optional: needs pip install -e .[readers]")
    folder, cache = str(dataset.shards_folder), str(dataset.root / "cache")
    found = datasets.load_dataset(folder, split=HUB_SPLITS[split], cache_dir=cache)
    yield from read_rows(dataset, iter(found), split)


def stream_from_folder(dataset: LoaderDataset, split: str) -> Iterator[Read]:
    """`load_dataset(folder, streaming=True)`."""
    datasets = pytest.importorskip("datasets", reason="optional: needs pip install -e .[readers]")
    found = datasets.load_dataset(str(dataset.shards_folder), split=HUB_SPLITS[split], streaming=True)
    yield from read_rows(dataset, iter(found), split)


def load_webdataset(dataset: LoaderDataset, split: str, streaming: bool) -> Iterator[Read]:
    """`load_dataset("webdataset", ...)` with the types of the card."""
    datasets = pytest.importorskip("datasets", reason="optional: needs pip install -e .[readers]")
    found = datasets.load_dataset(
        "webdataset",
        data_files={"train": f"{dataset.shards_folder}/{split}/*.tar"},
        split="train",
        features=datasets.load_dataset_builder(str(dataset.shards_folder)).info.features,
        streaming=streaming,
        cache_dir=str(dataset.root / "cache"),
    )
    yield from read_rows(dataset, iter(found), split)


LOADERS: dict[str, Loader] = {
    "webdataset": read_with_webdataset,
    "torch": read_with_torch,
    "timm": read_with_timm,
    "energon": read_with_energon,
    "dali": read_by_the_index_of_dali,
    "datasets, folder": read_from_folder,
    "datasets, folder, streaming": stream_from_folder,
    "datasets, webdataset": lambda dataset, split: load_webdataset(dataset, split, streaming=False),
    "datasets, webdataset, streaming": lambda dataset, split: load_webdataset(dataset, split, streaming=True),
}


def list_shard_lengths(dataset: LoaderDataset) -> dict[str, int]:
    """The samples of each shard, from shards.csv."""
    with (dataset.shards_folder / "shards.csv").open() as file:
        return {line["shard"]: int(line["samples"]) for line in csv.DictReader(file)}
