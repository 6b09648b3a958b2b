"""Pixels of an image: orientation, conversion to RGB and grey, encoding as JPEG and WebP."""

import io
import struct
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from gbif_webdataset.images.large_images import LARGE_PIXELS

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

# Pillow's own limit on pixels is one setting for the whole process. Here each decoder gets its own `max_pixels`.
Image.MAX_IMAGE_PIXELS = None

JPEG_MAX_SIDE = 65_500  # pixels; libjpeg's JPEG_MAX_DIMENSION
WEBP_MAX_SIDE = 16_383  # pixels; libwebp's WEBP_MAX_DIMENSION

_ORIENTATION = 0x0112  # EXIF tag
_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 322, 323  # TIFF tags
_BAND_PIXELS = 4_000_000
_AVERAGEABLE_MODES = {"L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F"}


def read_orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. Like viewers, it takes missing or broken EXIF data as 1.

    For formats other than JPEG, call it after `load()`: Pillow turns a TIFF upright while it loads it.
    """
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (struct.error, KeyError, IndexError, OSError, SyntaxError, TypeError, ValueError, ZeroDivisionError):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def read_stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) in pixels as stored in the file: of a TIFF its tags, as Pillow gives the upright size."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2[_WIDTH]), int(image.tag_v2[_LENGTH])
    return image.size


def count_decoded_pixels(image: Image.Image) -> int:
    """The number of pixels that a decoder of the image allocates. A TIFF's tile can be larger than its image."""
    pixels = image.width * image.height
    if isinstance(image, TiffImageFile) and _TILE_WIDTH in image.tag_v2:
        pixels = max(pixels, int(image.tag_v2[_TILE_WIDTH]) * int(image.tag_v2.get(_TILE_LENGTH, 1)))
    return pixels


@dataclass(frozen=True)
class ImageTraits:
    """The properties of an image that RGB with 8 bits per channel loses."""

    transparent: bool = False  # at least one pixel is not opaque
    deep: bool = False  # more than 8 bits per channel
    cmyk: bool = False


def read_traits(image: Image.Image) -> ImageTraits:
    """The traits of an image that was opened and not yet loaded. This loads it."""
    decoder_arguments = [tile[3] for tile in getattr(image, "tile", ())]  # they contain the stored mode
    deep = any(";16" in str(arguments) for arguments in decoder_arguments)
    image.load()
    transparent = image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
    return ImageTraits(transparent, deep or image.mode.startswith(("I", "F")), image.mode == "CMYK")


def is_animated(data: bytes) -> bool:
    """Whether a file other than JPEG has several pictures: frames of a GIF, PNG or WebP, or pages of a TIFF."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # only the first picture was verified, and only the first one is used
        return False


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels (height x width, or height x width x 3) turned upright according to an EXIF orientation (1 to 8)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    flip_columns, flip_rows = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def decode_small_jpeg(image: Image.Image, side: int) -> Pixels:
    """An opened JPEG in grey, decoded at libjpeg's smallest scale that leaves both sides at least `side` pixels long.

    A picture that is smaller than that is decoded at its full size.
    """
    image.draft("L", (side, side))
    return np.asarray(convert_to_rgb(image).convert("L"))


def shrink_to_grey(image: Image.Image, side: int) -> Pixels:
    """The first frame in grey, shrunk until its shorter side has `side` pixels. Smaller pictures keep their size."""
    image.load()  # Pillow turns a TIFF while it loads it, so the size is read afterwards
    ratio = min(1.0, side / min(image.size))
    size = round(image.width * ratio), round(image.height * ratio)
    box = (0.0, 0.0, float(image.width), float(image.height))
    if image.width * image.height > LARGE_PIXELS and image.mode not in ("F", "I"):
        factor = max(1, int(1 / ratio / 2))
        box = (0.0, 0.0, image.width / factor, image.height / factor)
        image = _reduce_in_bands(image, factor)
    if image.mode not in _AVERAGEABLE_MODES:
        image = convert_to_rgb(image)
    small = image.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=2.0)
    return np.asarray(convert_to_rgb(small).convert("L"))


def _reduce_in_bands(image: Image.Image, factor: int) -> Image.Image:
    """A large image in grey, `factor` times smaller. One band of rows is converted at a time, to save memory."""
    reduced = Image.new("L", (-(-image.width // factor), -(-image.height // factor)))
    rows = factor * max(1, _BAND_PIXELS // image.width // factor)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        reduced.paste(convert_to_rgb(band).convert("L").reduce(factor), (0, top // factor))
    return reduced


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """The first frame in RGB with 8 bits per channel: transparent pixels on white, 16 bits scaled down, CMYK converted.

    16-bit grey is divided by 257. 32-bit and floating-point grey beyond the 16-bit range is stretched from its darkest
    to its brightest pixel. CMYK is converted to sRGB by its embedded ICC profile with perceptual intent. If the profile
    is missing or not usable, Pillow's formula converts it.
    """
    if image.mode == "CMYK":
        return _convert_cmyk(image)
    if image.mode.startswith(("I", "F")):
        image = _scale_grey_to_8_bit(image)
    if image.has_transparency_data:
        foreground = image.convert("RGBA")
        white = Image.new("RGBA", foreground.size, "white")
        return Image.alpha_composite(white, foreground).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _convert_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile:
        return image.convert("RGB")
    try:
        cmyk, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, cmyk, srgb, ImageCms.Intent.PERCEPTUAL, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")
    return cast(Image.Image, converted)


def _scale_grey_to_8_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65_535.0
        image = image.convert("I")
    else:
        low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
        if image.mode == "I" and low >= 0 and high <= 65_535:
            low, high = 0.0, 65_535.0
    scale = 255.0 / ((high - low) or 1.0)
    grey = image.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")
    grey.info.clear()
    return grey


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """RGB (height x width x 3) as a JPEG (4:2:0) without EXIF, ICC profile or comment. `quality` is 1 to 100.

    Raises:
        ValueError: a side is longer than JPEG_MAX_SIDE.
    """
    return _encode(pixels, "JPEG", quality, JPEG_MAX_SIDE)


def encode_webp(pixels: Pixels, quality: int) -> bytes:
    """RGB (height x width x 3) as a lossy WebP without EXIF or ICC profile. `quality` is 1 to 100.

    Raises:
        ValueError: a side is longer than WEBP_MAX_SIDE.
    """
    return _encode(pixels, "WebP", quality, WEBP_MAX_SIDE)


def _encode(pixels: Pixels, kind: str, quality: int, max_side: int) -> bytes:
    height, width, _ = pixels.shape
    if max(width, height) > max_side:
        raise ValueError(f"it has {width} x {height} pixels, and a {kind} has at most {max_side} per side")
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind, quality=quality)
    return file.getvalue()
