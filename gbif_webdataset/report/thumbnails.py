"""Thumbnails of a few images, for people to judge by eye, within a budget of bytes."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFile

from gbif_webdataset.images.convert import convert_to_rgb, count_decoded_pixels, read_orientation, turn_upright

BOX = (192, 128)  # pixels at most; on the page they are shown at three quarters of that
QUALITY = 60
MAX_PIXELS = 50_000_000  # beyond it only baseline JPEGs are shown, which are decoded at a reduced scale, row by row
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
BUDGET = 2_500_000  # bytes of a sheet, as they stand in the page

Key = TypeVar("Key")


@dataclass(frozen=True)
class Thumbnail:
    """An image's path below images/, and it itself, small, as a data URI of `width` x `height` pixels."""

    path: str
    uri: str
    width: int
    height: int


def sheet(
    images: Path, candidates: Mapping[Key, Sequence[str]], most: int, budget: int = BUDGET
) -> dict[Key, list[Thumbnail]]:
    """Up to `most` thumbnails for each key, of the first of its candidates that are there and can be decoded.

    Each key has its first before any has its second, until `budget` bytes are spent.
    """
    shown: dict[Key, list[Thumbnail]] = {key: [] for key in candidates}
    left = {key: iter(paths) for key, paths in candidates.items()}
    spent = 0
    for _ in range(most):
        for key, paths in left.items():
            found = next((made for path in paths if (made := thumbnail(images, path))), None)
            if found is None:
                continue
            spent += len(found.uri)
            if spent > budget:
                return shown
            shown[key].append(found)
    return shown


def thumbnail(images: Path, path: str) -> Thumbnail | None:
    """A thumbnail of the image, of a broken one as far as it goes; None where there is nothing to decode."""
    try:
        with _lenient(), Image.open(images / path, formats=FORMATS) as image:
            is_held_whole = image.format != "JPEG" or "progressive" in image.info
            if is_held_whole and count_decoded_pixels(image) > MAX_PIXELS:
                return None
            image.draft(None, (2 * BOX[0], 2 * BOX[1]))
            image.load()  # before it is turned: Pillow turns a TIFF meanwhile
            small = _small(image)
    except Exception:  # images may be here because they are broken, and Pillow raises errors of every kind
        return None
    encoded = io.BytesIO()
    small.save(encoded, "WEBP", quality=QUALITY)
    uri = "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")
    return Thumbnail(path, uri, small.width, small.height)


@contextmanager
def _lenient() -> Iterator[None]:
    """Pillow fills what lacks of an image with grey, for as long as this lasts."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _small(image: Image.Image) -> Image.Image:
    turn = read_orientation(image)
    box = BOX[::-1] if turn >= 5 else BOX
    if image.mode in ("RGB", "L", "CMYK", "RGBA"):
        image.thumbnail(box, reducing_gap=2.0)
    small = convert_to_rgb(image)
    small.thumbnail(box)
    return Image.fromarray(turn_upright(np.asarray(small), turn))
