"""Images and split CSVs made by hand, the shards made of them, and what the shards contain."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from PIL import Image

from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.shards.create_webdataset import ShardCounts, create_shards
from gbif_webdataset.shards.recipe import Recipe
from gbif_webdataset.shards.shard_files import ShardFolders

COLUMNS = ["coreid", "identifier", "image_path", "label", "country", "remarks"]
COLUMNS += ["valid", "format", "width", "height", "file_size"]
SPLITS = ("train", "val", "test")
RECIPE = Recipe("label", max_shard_size=100_000, shuffle=True, seed=42)


def photo(width: int, height: int, seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [(np.sin(x / (9 + 5 * c) + seed) + np.cos(y / (13 + 7 * c))) * 60 + 128 for c in range(3)]
    noisy = np.stack(waves, -1) + random.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype("uint8"))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


class ShardRun:
    """A dataset folder with images and split CSVs, and shards made of them."""

    columns: Sequence[str] = COLUMNS

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        self.progress: list[tuple[int, int]] = []

    def add(self, split: str, image_path: str, data: bytes, label: str | None = "moth", **more: Any) -> None:
        """Add an image and its row."""
        path = self.root / "images" / image_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        with Image.open(io.BytesIO(data)) as image:
            measured = {"format": image.format, "width": image.width, "height": image.height, "valid": "true"}
        row = {"coreid": Path(image_path).stem, "identifier": f"http://photos.test/{image_path}", "label": label}
        self.rows[split].append({**row, "image_path": image_path, "file_size": len(data), **measured, **more})

    def write(self, order: int = 1) -> None:
        """Write the split CSVs; with `order` -1 the rows are in reverse order."""
        (self.root / "splits").mkdir(exist_ok=True)
        for split, rows in self.rows.items():
            with (self.root / "splits" / f"{split}.csv").open("w", newline="") as file:
                lines = csv.DictWriter(file, self.columns, lineterminator="\n", restval="")
                lines.writeheader()
                lines.writerows(rows[::order])

    def folders(self, name: str = "shards", to: str = "") -> ShardFolders:
        """The folders of a run that writes to the folder `name`, and tars to the address `to` unless it is empty."""
        address = StoreAddress.parse(to) if to else None
        return ShardFolders(*(self.root / folder for folder in ("splits", "images", name, "scratch")), to=address)

    def create(self, recipe: Recipe = RECIPE, workers: int = 1, name: str = "shards", to: str = "") -> ShardCounts:
        """Create the shards in the folder `name`, and at the address `to` unless it is empty."""
        folders, recipe = self.folders(name, to), replace(recipe, to=to)
        return create_shards(folders, recipe, workers, lambda done, total: self.progress.append((done, total)))

    def shards(self, name: str = "shards") -> list[Path]:
        """The tars."""
        return sorted(path for split in SPLITS for path in (self.root / name / split).glob("*.tar"))

    def samples(self, split: str = "train", name: str = "shards") -> list[dict[str, Any]]:
        """The samples of a split, as webdataset reads them."""
        paths = [str(path) for path in self.shards(name) if path.parent.name == split]
        return list(webdataset.WebDataset(paths, shardshuffle=False)) if paths else []

    def only_sample(self) -> dict[str, Any]:
        """The one sample of train."""
        [sample] = self.samples()
        return sample


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def hash_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in a folder, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def decode_image(sample: dict[str, Any], extension: str = "jpg") -> Image.Image:
    """The image of a sample."""
    image = Image.open(io.BytesIO(sample[extension]))
    image.load()
    return image


def sixty_moths(root: Path) -> ShardRun:
    """60 photos of 5 labels in three splits, some PNG, some large, one with an EXIF orientation."""
    run = ShardRun(root)
    for number in range(60):
        split = "train" if number < 44 else "val" if number < 52 else "test"
        side = (120, 90) if number % 3 else (240, 180)
        image = photo(*side, number)
        data = encoded(image, "PNG") if number % 10 == 4 else encoded(image, quality=85)
        if number == 7:
            data = encoded(image, quality=85, exif=turned(6))
        run.add(split, f"ds{number % 2}/{number}.jpg", data, f"label {number % 5}", country="NA")
    run.write()
    return run


def psnr(one: Image.Image, other: Image.Image) -> float:
    """The similarity of two pictures of one size in decibels; above 40 the difference is hard to see."""
    off = np.square(np.asarray(one, float) - np.asarray(other, float)).mean()
    return float(10 * np.log10(255**2 / off)) if off else np.inf
