"""Fast reading of JPEGs: the header, and the pixels at the smallest scale that still has the requested size.

simplejpeg (libjpeg-turbo) decodes where it has a wheel for this machine. Pillow decodes what simplejpeg cannot, and
everything where simplejpeg is missing. The pixels of the two differ in some last bits, so shards record `CODECS`.
libjpeg-turbo's accurate transforms give the same pixels on every kind of CPU.
"""

import io
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import cast

import numpy as np
import PIL
from PIL import Image, features

from gbif_webdataset.images.convert import Pixels, convert_to_rgb, read_orientation

try:
    import simplejpeg
except ImportError:  # simplejpeg has no wheel for some machines
    simplejpeg = None

START_OF_IMAGE = b"\xff\xd8\xff"
START_OF_SCAN = b"\xda"
_MAX_REDUCED_SCALE = 6 / 8  # decoding at full scale takes half the time of decoding at 7/8


def _describe_codecs() -> str:
    """The versions of what decodes, shrinks and encodes images on this machine, and its kind of CPU."""
    parts = ((name, features.version(name)) for name in ("libjpeg_turbo", "webp", "littlecms2"))
    pillow = f"Pillow {PIL.__version__} ({', '.join(f'{name} {version}' for name, version in parts)})"
    opencv = f"OpenCV {metadata.version('opencv-python-headless')}"
    decoder = f"simplejpeg {simplejpeg.__version__}, " if simplejpeg else ""
    return f"{decoder}{pillow}, {opencv}, {platform.machine()}"


CODECS = _describe_codecs()


@dataclass(frozen=True)
class JpegHeader:
    """The header of a JPEG: size in pixels as stored, EXIF orientation (1 to 8), whether its colours are CMYK."""

    width: int
    height: int
    orientation: int
    is_cmyk: bool


def read_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG; None for any other file.

    Raises:
        Exception: Pillow cannot read the header. Its type depends on the damage.
    """
    if not data.startswith(START_OF_IMAGE):
        return None
    if simplejpeg:
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(data)
            return JpegHeader(int(width), int(height), _read_orientation_of(data), space in ("CMYK", "YCCK"))
        except ValueError:  # unusual subsampling, or damage: Pillow distinguishes them
            pass
    with Image.open(io.BytesIO(data)) as image:
        return JpegHeader(*image.size, read_orientation(image), image.mode == "CMYK")


def _read_orientation_of(data: bytes) -> int:
    """The orientation. Most files on the web have none; this check takes a hundredth of the time that Pillow needs."""
    segments = data[: _find_scan(data)]
    if b"Exif\0\0" not in segments and b"tiff:Orientation" not in segments:
        return 1
    with Image.open(io.BytesIO(data)) as image:
        return read_orientation(image)


def _find_scan(data: bytes) -> int:
    """The position of the compressed data: behind the segments, each a marker (0xFF and a byte) and a length."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != START_OF_SCAN:
        is_padding = data[at + 1 : at + 2] == b"\xff"
        at += 1 if is_padding else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at if data[at : at + 1] == b"\xff" else len(data)


def decode_jpeg(data: bytes, header: JpegHeader, min_size: tuple[int, int]) -> Pixels:
    """The pixels of a JPEG in RGB (height x width x 3), as stored, with at least `min_size` (width, height) pixels.

    Raises:
        Exception: Pillow cannot decode the file. Its type depends on the damage.
    """
    if simplejpeg and not header.is_cmyk:
        stored_size = header.width, header.height
        is_nearly_full_scale = max(np.divide(min_size, stored_size)) > _MAX_REDUCED_SCALE
        width, height = stored_size if is_nearly_full_scale else min_size
        try:
            return cast(Pixels, simplejpeg.decode_jpeg(data, "RGB", min_width=width, min_height=height))
        except ValueError:  # unusual subsampling, a warning of libjpeg, or damage: Pillow distinguishes them
            pass
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, min_size)
        return np.asarray(convert_to_rgb(image))
