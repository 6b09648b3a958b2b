"""Photos to verify and to resize, in the sizes that hosts serve, with several qualities and subsamplings.

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

# Photos under free licences in Debian's packages mate-backgrounds and lomiri-wallpapers.
FOLDERS = (("/usr/share/backgrounds/mate/nature", "*.jpg"), ("/usr/share/backgrounds", "*_by_*.jpg"))
MAX_PIXELS = 2800  # of the longer side of a scene
QUALITIES = ((75, "4:2:0"), (85, "4:2:0"), (90, "4:2:2"), (92, "4:4:4"))
PROGRESSIVE = (85, "4:2:0")
PROGRESSIVE_INTERVAL = 8  # one of so many photos
KINDS = ("baseline", "progressive")
LISTING = "sha256.txt"


def find_photos() -> list[Path]:
    """The real photos on this machine."""
    return [path for folder, pattern in FOLDERS for path in sorted(Path(folder).glob(pattern))]


def load_scenes() -> list[Image.Image]:
    """Large pictures to crop photos from: real photos, or if there are none the drawn ones of the sample."""
    if paths := find_photos():
        return [_open(path) for path in paths]
    return [draw(photo) for photo in make_plan().photos if photo.size == (1024, 768) and not photo.fault]


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.draft("RGB", (MAX_PIXELS, MAX_PIXELS))
        image.thumbnail((MAX_PIXELS, MAX_PIXELS))
        return image.convert("RGB")


def write(folder: Path, photos: Sequence[Image.Image], size: tuple[int, int], count: int) -> None:
    """Write `count` photos of `size` pixels to a folder for each of KINDS, and list their SHA-256 in LISTING."""
    rng, lines = random.Random(count), []
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        scene = photos[number % len(photos)]
        width = min(scene.width, scene.height * size[0] / size[1]) * rng.uniform(0.75, 1)
        height = width * size[1] / size[0]
        left, top = rng.uniform(0, scene.width - width), rng.uniform(0, scene.height - height)
        crop = scene.resize(size, Image.Resampling.BICUBIC, (left, top, left + width, top + height), reducing_gap=3)
        progressive = number % PROGRESSIVE_INTERVAL == 0
        quality, subsampling = PROGRESSIVE if progressive else QUALITIES[number % len(QUALITIES)]
        name = f"{KINDS[progressive]}/{number}.jpg"
        crop.save(folder / name, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
        lines.append(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()} {name}\n")
    (folder / LISTING).write_text("".join(lines))


def read_listing(folder: Path) -> list[tuple[str, str]]:
    """(path below `folder`, SHA-256) of each photo."""
    lines = (line.split() for line in (folder / LISTING).read_text().splitlines())
    return [(name, sha256) for sha256, name in lines]


if __name__ == "__main__":
    write(Path(sys.argv[1]), load_scenes(), (int(sys.argv[2]), int(sys.argv[3])), int(sys.argv[4]))
