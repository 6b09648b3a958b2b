"""Reading JPEGs fast: what the header says, and the pixels at the least scale that still holds all that is wanted.

simplejpeg (libjpeg-turbo) does it where it has a wheel for this machine; Pillow does what simplejpeg can't, and all of
it where simplejpeg is missing. The two don't agree on every last bit, so `CODECS` is part of what shards are made from.
libjpeg-turbo's accurate transforms give the same pixels on every kind of processor.
"""

import io
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import cast

import numpy as np
import PIL
from PIL import Image, features

from gbif_webdataset.images.convert import Pixels, orientation, to_rgb

try:
    import simplejpeg
except ImportError:  # there is no wheel for every machine
    simplejpeg = None

SOI = b"\xff\xd8\xff"
SOS = b"\xda"
_LARGEST_PART = 6 / 8  # beyond it, decoding at full scale takes half the time of 7 / 8


def _codecs() -> str:
    """What decodes, shrinks and encodes on this machine, with the versions, and its kind of processor."""
    parts = ((name, features.version(name)) for name in ("libjpeg_turbo", "webp", "littlecms2"))
    pillow = f"Pillow {PIL.__version__} ({', '.join(f'{name} {version}' for name, version in parts)})"
    opencv = f"OpenCV {metadata.version('opencv-python-headless')}"
    decoder = f"simplejpeg {simplejpeg.__version__}, " if simplejpeg else ""
    return f"{decoder}{pillow}, {opencv}, {platform.machine()}"


CODECS = _codecs()


@dataclass(frozen=True)
class Header:
    """What a JPEG's header says: pixels as stored, the EXIF orientation (1 to 8), whether its colours are inks."""

    width: int
    height: int
    turn: int
    cmyk: bool


def read_header(data: bytes) -> Header | None:
    """The header of a JPEG; None for any other file. Raises whatever Pillow does for a header that is none."""
    if not data.startswith(SOI):
        return None
    if simplejpeg:
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(data)
            return Header(int(width), int(height), _turn(data), space in ("CMYK", "YCCK"))
        except ValueError:  # an unusual subsampling, or damage: Pillow tells which
            pass
    with Image.open(io.BytesIO(data)) as image:
        return Header(*image.size, orientation(image), image.mode == "CMYK")


def _turn(data: bytes) -> int:
    """The orientation; most files on the web have none, which takes a hundredth of the time to see."""
    segments = data[: _scan(data)]
    if b"Exif\0\0" not in segments and b"tiff:Orientation" not in segments:
        return 1
    with Image.open(io.BytesIO(data)) as image:
        return orientation(image)


def _scan(data: bytes) -> int:
    """Where the compressed data begin: past the segments, each a marker (0xFF and a byte) and a length."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != SOS:
        is_padding = data[at + 1 : at + 2] == b"\xff"
        at += 1 if is_padding else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at if data[at : at + 1] == b"\xff" else len(data)


def decode(data: bytes, header: Header, least: tuple[int, int]) -> Pixels:
    """The pixels of a JPEG in RGB (height x width x 3), as stored, at least `least` (width, height) of them.

    Raises whatever Pillow does where the file can't be decoded.
    """
    if simplejpeg and not header.cmyk:
        whole = header.width, header.height
        width, height = whole if max(np.divide(least, whole)) > _LARGEST_PART else least
        try:
            return cast(Pixels, simplejpeg.decode_jpeg(data, "RGB", min_width=width, min_height=height))
        except ValueError:  # an unusual subsampling, a warning of libjpeg's, or damage: Pillow tells which
            pass
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, least)
        return np.asarray(to_rgb(image))
