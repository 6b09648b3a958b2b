"""Images: which kind the first bytes are of, which way is up, and any kind as an upright RGB JPEG or WebP."""

import io
import struct
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

# Pillow's own limit on pixels is a setting of the whole process; here each decoder states its `max_pixels`.
Image.MAX_IMAGE_PIXELS = None

HEAD_BYTES = 64
JPEG_MAX_SIDE = 65_500  # libjpeg's JPEG_MAX_DIMENSION
WEBP_MAX_SIDE = 16_383  # libwebp's WEBP_MAX_DIMENSION

_SIGNATURES = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jxl"),
    (b"\xff\x0a", "jxl"),
)
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_ORIENTATION = 0x0112
_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 322, 323  # a TIFF's tags
_AVERAGEABLE = {"L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F"}


def kind_of(head: bytes) -> str | None:
    """The kind of image that begins with `head` (the file's first HEAD_BYTES, or all of it); None for anything else."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _kind_of_heif(head)
    if head[:2] == b"BM" and len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADERS:
        return "bmp"
    return None


def _kind_of_heif(head: bytes) -> str | None:
    end = min(len(head), struct.unpack_from(">I", head)[0])
    brands = {head[8:12]} | {head[at : at + 4] for at in range(16, end - 3, 4)}
    if brands & {b"avif", b"avis"}:
        return "avif"
    return "heic" if brands & _HEIC_BRANDS else None


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or the EXIF data are broken, as viewers take it.

    Ask after `load()` for anything but JPEG: Pillow turns a TIFF upright while it loads it.
    """
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (struct.error, KeyError, IndexError, OSError, SyntaxError, TypeError, ValueError, ZeroDivisionError):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) in pixels as a viewer sees the image."""
    width, height = image.size
    return (height, width) if orientation(image) >= 5 else (width, height)


def stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) in pixels as the file has them; of a TIFF, whose size Pillow turns upright, by its tags."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2[_WIDTH]), int(image.tag_v2[_LENGTH])
    return image.size


def decoded_pixels(image: Image.Image) -> int:
    """The most pixels that decoding an image takes at a time; a TIFF's tile may be larger than its image."""
    pixels = image.width * image.height
    if isinstance(image, TiffImageFile) and _TILE_WIDTH in image.tag_v2:
        pixels = max(pixels, int(image.tag_v2[_TILE_WIDTH]) * int(image.tag_v2.get(_TILE_LENGTH, 1)))
    return pixels


@dataclass(frozen=True)
class Traits:
    """What of an image an RGB picture of 8 bits a channel can't hold."""

    transparent: bool = False  # some pixel lets the background through
    deep: bool = False  # more than 8 bits a channel
    cmyk: bool = False


def traits_of(image: Image.Image) -> Traits:
    """The traits of an image just opened, which this loads."""
    told = [tile[3] for tile in getattr(image, "tile", ())]  # to the decoders: the stored mode, and more
    deep = any(";16" in str(arguments) for arguments in told)
    image.load()
    seen_through = image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
    return Traits(seen_through, deep or image.mode.startswith(("I", "F")), image.mode == "CMYK")


def is_animated(data: bytes) -> bool:
    """Whether a file that isn't JPEG holds several pictures: frames of a GIF, PNG or WebP, pages of a TIFF."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # only the first picture was verified, and it is the one that is used
        return False


def upright_pixels(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels (height x width, or height x width x 3) turned the way that the EXIF orientation (1 to 8) says."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return pixels[:: -1 if down else 1, :: -1 if across else 1]


def small_jpeg(image: Image.Image, side: int) -> Pixels:
    """A JPEG in grey, decoded at the least of libjpeg's scales that keeps `side` pixels each way where it has them."""
    image.draft("L", (side, side))
    return np.asarray(to_rgb(image).convert("L"))


def small_grey(image: Image.Image, side: int) -> Pixels:
    """The first frame in grey, shrunk so far that the shorter side has `side` pixels, unless it has fewer."""
    image.load()  # before its size is asked for: Pillow turns a TIFF meanwhile
    if image.mode not in _AVERAGEABLE:
        image = to_rgb(image)
    shrunk = min(1.0, side / min(image.size))
    size = round(image.width * shrunk), round(image.height * shrunk)
    small = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(to_rgb(small).convert("L"))


def to_rgb(image: Image.Image) -> Image.Image:
    """The first frame in RGB, 8 bit a channel: transparency on white, 16 bit scaled down, CMYK converted.

    16-bit grey is divided by 257; 32-bit and floating-point grey beyond that range is stretched from its
    darkest to its brightest pixel. CMYK goes through its embedded ICC profile to sRGB, perceptual intent; without a
    profile, or with one that can't be used, by Pillow's formula.
    """
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.mode.startswith(("I", "F")):
        image = _grey_in_8_bit(image)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(white, over).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile:
        return image.convert("RGB")
    try:
        inks, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, inks, srgb, ImageCms.Intent.PERCEPTUAL, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")
    return cast(Image.Image, converted)


def _grey_in_8_bit(image: Image.Image) -> Image.Image:
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


def to_jpeg(pixels: Pixels, quality: int) -> bytes:
    """RGB (height x width x 3) as JPEG (4:2:0) that carries neither EXIF nor ICC profile nor comment.

    Raises ValueError where a side is longer than JPEG can hold.
    """
    return _encoded(pixels, "JPEG", quality, JPEG_MAX_SIDE)


def to_webp(pixels: Pixels, quality: int) -> bytes:
    """RGB (height x width x 3) as lossy WebP that carries neither EXIF nor ICC profile.

    Raises ValueError where a side is longer than WebP can hold.
    """
    return _encoded(pixels, "WebP", quality, WEBP_MAX_SIDE)


def _encoded(pixels: Pixels, kind: str, quality: int, max_side: int) -> bytes:
    height, width, _ = pixels.shape
    if max(width, height) > max_side:
        raise ValueError(f"it has {width} x {height} pixels and {kind} holds {max_side} a side")
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind, quality=quality)
    return file.getvalue()
