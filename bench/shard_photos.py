"""Photos to write to shards: real ones cut to the sizes that iNaturalist serves, as many kinds of JPEG as there are."""

import csv
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from sample.photos import draw
from sample.plan import make_plan

QUALITIES = (75, 85, 90, 95)
SUBSAMPLINGS = ("4:2:0", "4:2:0", "4:2:2", "4:4:4")
EACH_PROGRESSIVE = 6  # of so many one
SMALLEST = 1000  # pixels of the shorter side of a photo that is worth cutting
DRAWN = 24


def write(folder: Path, size: tuple[int, int], count: int, sources: Path) -> int:
    """Write `count` JPEGs of `size` to `folder`: photos found below `sources`, or else drawn; how many were found."""
    folder.mkdir(parents=True)
    found = [_fitted(image, size) for image in _found(sources)]
    scenes = itertools.cycle(_mirrored(found or [_fitted(image, size) for image in _drawn(size)]))
    for number in range(count):
        next(scenes).save(
            folder / f"{number:05d}.jpg",
            "JPEG",
            quality=QUALITIES[number % 4],
            subsampling=SUBSAMPLINGS[number // 4 % 4],
            progressive=number % EACH_PROGRESSIVE == 0,
        )
    return len(found)


def _found(sources: Path) -> Iterator[Image.Image]:
    for path in sorted(sources.rglob("*.jpg")):
        with Image.open(path) as image:
            if min(image.size) >= SMALLEST:
                yield image.convert("RGB")


def _drawn(size: tuple[int, int]) -> Iterator[Image.Image]:
    photos = [medium.photo for medium in make_plan().media if medium.photo and not medium.photo.fault]
    for photo in photos[:DRAWN]:
        yield draw(replace(photo, size=size))


def _mirrored(images: list[Image.Image]) -> list[Image.Image]:
    """The images, then their mirror images: other bytes for every second copy."""
    return images + [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images]


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    scale = max(size[0] / image.width, size[1] / image.height)
    large = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    return large.crop((0, 0, *size))


def write_splits(images: Path, splits: Path) -> None:
    """Write the splits of all images below `images`: all of them train, of a few labels."""
    names = ["coreid", "identifier", "image_path", "label", "format", "width", "height", "file_size"]
    splits.mkdir()
    for split in ("train", "val", "test"):
        with (splits / f"{split}.csv").open("w", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(names)
            for number, path in enumerate(sorted(images.rglob("*.jpg")) if split == "train" else ()):
                with Image.open(path) as image:
                    size = image.size
                where = path.relative_to(images).as_posix()
                lines.writerow([path.stem, path.name, where, f"label {number % 7}", "JPEG", *size, path.stat().st_size])
