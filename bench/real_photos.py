"""Photos to verify and to shrink: real ones in the sizes that hosts serve, of several qualities and subsamplings.

python -m bench.real_photos FOLDER WIDTH HEIGHT COUNT
"""

import hashlib
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from sample.photos import draw
from sample.plan import make_plan

# Where Debian's mate-backgrounds and lomiri-wallpapers keep photos under free licences.
FOLDERS = (("/usr/share/backgrounds/mate/nature", "*.jpg"), ("/usr/share/backgrounds", "*_by_*.jpg"))
LARGEST = 2800  # pixels of the longer side of the photos that others are cut from
QUALITIES = ((75, "4:2:0"), (85, "4:2:0"), (90, "4:2:2"), (92, "4:4:4"))
PROGRESSIVE = (85, "4:2:0")
EACH_PROGRESSIVE = 8  # of so many one
KINDS = ("baseline", "progressive")
LISTING = "sha256.txt"


def real() -> list[Path]:
    """The real photos that are on this machine."""
    return [path for folder, pattern in FOLDERS for path in sorted(Path(folder).glob(pattern))]


def scenes() -> list[Image.Image]:
    """Photos to cut others from: the real ones, or else the sample's, drawn."""
    if paths := real():
        return [_opened(path) for path in paths]
    return [draw(photo) for photo in make_plan().photos if photo.size == (1024, 768) and not photo.fault]


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.draft("RGB", (LARGEST, LARGEST))
        image.thumbnail((LARGEST, LARGEST))
        return image.convert("RGB")


def write(folder: Path, photos: Sequence[Image.Image], size: tuple[int, int], count: int) -> None:
    """Write `count` photos of a size below `folder`, in a folder for each of KINDS, and their SHA-256 in LISTING."""
    dice, lines = random.Random(count), []
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        scene = photos[number % len(photos)]
        width = min(scene.width, scene.height * size[0] / size[1]) * dice.uniform(0.75, 1)
        height = width * size[1] / size[0]
        left, top = dice.uniform(0, scene.width - width), dice.uniform(0, scene.height - height)
        cut = scene.resize(size, Image.Resampling.BICUBIC, (left, top, left + width, top + height), reducing_gap=3)
        progressive = number % EACH_PROGRESSIVE == 0
        quality, subsampling = PROGRESSIVE if progressive else QUALITIES[number % len(QUALITIES)]
        name = f"{KINDS[progressive]}/{number}.jpg"
        cut.save(folder / name, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
        lines.append(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()} {name}\n")
    (folder / LISTING).write_text("".join(lines))


def listed(folder: Path) -> list[tuple[str, str]]:
    """Each photo's path below `folder`, and its SHA-256."""
    lines = (line.split() for line in (folder / LISTING).read_text().splitlines())
    return [(name, sha256) for sha256, name in lines]


if __name__ == "__main__":
    write(Path(sys.argv[1]), scenes(), (int(sys.argv[2]), int(sys.argv[3])), int(sys.argv[4]))
