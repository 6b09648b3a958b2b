"""Thumbnails of a few images, within a budget of bytes."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFile

from gbif_webdataset.images.convert import convert_to_rgb, count_decoded_pixels, read_orientation, turn_upright
from gbif_webdataset.storage.image_reader import ImageReader

BOX = (192, 192)  # maximum width and height in pixels; the page shows thumbnails at about two thirds of that
QUALITY = 60
MAX_PIXELS = 50_000_000  # larger images are shown only if they are baseline JPEGs, which are decoded at a reduced scale
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
MAX_BYTES = 2_500_000  # of a contact sheet, encoded as in the page

Key = TypeVar("Key")


@dataclass(frozen=True)
class Thumbnail:
    """The path of an image below images/, and a small copy as a data URI of `width` x `height` pixels."""

    path: str
    uri: str
    width: int
    height: int


def make_contact_sheet(
    images: ImageReader, candidates: Mapping[Key, Sequence[str]], max_per_key: int, max_bytes: int = MAX_BYTES
) -> dict[Key, list[Thumbnail]]:
    """Up to `max_per_key` thumbnails for each key, of its first candidates that exist and can be decoded.

    Every key gets its first thumbnail before any key gets its second, until `max_bytes` are used.
    """
    shown: dict[Key, list[Thumbnail]] = {key: [] for key in candidates}
    remaining = {key: iter(paths) for key, paths in candidates.items()}
    used = 0
    for _ in range(max_per_key):
        for key, paths in remaining.items():
            thumbnail = next((made for path in paths if (made := make_thumbnail(images, path))), None)
            if thumbnail is None:
                continue
            used += len(thumbnail.uri)
            if used > max_bytes:
                return shown
            shown[key].append(thumbnail)
    return shown


def make_thumbnail(images: ImageReader, path: str) -> Thumbnail | None:
    """A thumbnail of the image, with grey for missing parts; None if the image cannot be decoded."""
    try:
        with _allow_truncated(), Image.open(io.BytesIO(images.read(path)), formats=FORMATS) as image:
            needs_full_decoding = image.format != "JPEG" or "progressive" in image.info
            if needs_full_decoding and count_decoded_pixels(image) > MAX_PIXELS:
                return None
            image.draft(None, (2 * BOX[0], 2 * BOX[1]))
            image.load()  # before the orientation is read: Pillow rotates a TIFF while it loads
            small = _shrink(image)
    except Exception:  # dropped images may be broken, and Pillow raises errors of every kind
        return None
    encoded = io.BytesIO()
    small.save(encoded, "WEBP", quality=QUALITY)
    uri = "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")
    return Thumbnail(path, uri, small.width, small.height)


@contextmanager
def _allow_truncated() -> Iterator[None]:
    """Let Pillow fill missing parts of images with grey within the block."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _shrink(image: Image.Image) -> Image.Image:
    exif_orientation = read_orientation(image)
    box = BOX[::-1] if exif_orientation >= 5 else BOX
    if image.mode in ("RGB", "L", "CMYK", "RGBA"):
        image.thumbnail(box, reducing_gap=2.0)
    small = convert_to_rgb(image)
    small.thumbnail(box)
    return Image.fromarray(turn_upright(np.asarray(small), exif_orientation))
