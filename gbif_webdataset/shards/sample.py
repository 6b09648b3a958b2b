"""A sample of a shard, and how its image becomes a member of the tar."""

import contextlib
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gbif_webdataset.errors import ChangedImageError, MissingPieceError, SelectionError
from gbif_webdataset.images import jpeg_decode
from gbif_webdataset.images.convert import (
    Pixels,
    convert_to_rgb,
    encode_jpeg,
    encode_webp,
    is_animated,
    read_orientation,
    read_traits,
    turn_upright,
)
from gbif_webdataset.images.crop import Box, Frame, fit_frame
from gbif_webdataset.images.jpeg_decode import JpegHeader
from gbif_webdataset.images.large_images import LARGE_PIXELS, decode_alone
from gbif_webdataset.images.resize import resize_pixels
from gbif_webdataset.storage.image_reader import ImageReader

ORIGINAL = "original"
IMAGE_FORMATS = ("jpg", "webp", ORIGINAL)
PASSED_THROUGH, REENCODED = "passed_through", "reencoded"
TRANSFORMS = (
    *(PASSED_THROUGH, REENCODED, "cropped", "enlarged"),
    *("turned", "transparent", "deep", "animated", "cmyk"),
)
"""What can happen to an image on its way into a shard; the images are counted by these names."""

_UNCHANGED_FORMATS = {"jpg": ("JPEG", "MPO"), "webp": ("WEBP",)}  # Pillow's names, by image_format
_LARGE_JPEG_PIXELS = 3 * LARGE_PIXELS  # JPEGs are mostly decoded at a reduced scale, and in fewer copies
_REMEDY = "run the same command again to download it"
_EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}  # of others, the name of the format


@dataclass(frozen=True)
class Sample:
    """A sample of the plan. Format, size and pixels are those that VerifyChunk measured."""

    key: str
    image_path: str  # below the folder of the images
    category: int
    format: str  # Pillow's name
    file_size: int  # bytes
    pixels: int  # width x height
    sha256: str | None  # of the file as it was downloaded; None if the splits lack it
    box: Box | None  # the part of the upright image to keep; None: all of it
    json: str | None
    caption: Sequence[str | None] | None = None  # the values of the columns of the caption's template
    place: str | None = None  # where an ImageReader finds the image


@dataclass(frozen=True)
class ImageSettings:
    """The settings that decide the bytes of each image."""

    image_format: str  # one of IMAGE_FORMATS
    resize_min_size: int  # pixels; 0: keep the size
    resize_mode: str  # one of RESIZE_MODES
    quality: int  # 1 to 100

    def choose_frame(self, size: tuple[int, int], box: Box | None) -> Frame:
        """The part to keep of an upright image of `size` (width, height) pixels, and the size of the result."""
        return fit_frame(size, box, self.resize_min_size, self.resize_mode)


@dataclass(frozen=True)
class Picture:
    """An image as a member of the tar: its extension, its bytes, and which of TRANSFORMS were applied to it."""

    extension: str
    data: bytes
    transforms: tuple[str, ...]


def get_extension(format: str) -> str:
    """The usual extension of files of a format, given Pillow's name of the format."""
    return _EXTENSIONS.get(format, format.lower())


def read_image(sample: Sample, images: ImageReader) -> bytes:
    """The bytes of a sample's image.

    Raises:
        ChangedImageError: the file is missing, or differs from the bytes that were verified.
    """
    path = images.images / sample.image_path
    try:
        data = images.read(sample.image_path, sample.place)
        change = _describe_change(sample, data)
        if change and sample.place:  # packs may have been written again since the shards were planned
            data = images.read(sample.image_path)
            change = _describe_change(sample, data)
    except FileNotFoundError:
        change = "was verified but is now missing"
    if change:
        raise ChangedImageError(f"{path}: {change}; {_REMEDY}")
    return data


def _describe_change(sample: Sample, data: bytes) -> str:
    """How the bytes of an image differ from those that were verified; empty if they do not."""
    if len(data) != sample.file_size:
        return f"had {sample.file_size:,} bytes when it was verified and now has {len(data):,}"
    if sample.sha256 and hashlib.sha256(data).hexdigest() != sample.sha256:
        return "its bytes have changed since it was verified"
    return ""


def make_picture(sample: Sample, data: bytes, images: Path, settings: ImageSettings) -> Picture:
    """The member of the tar that a sample's image becomes; `data` are the bytes of its file.

    With image_format `original`, or if the file has the requested format and needs no change, the bytes are those of
    the file. Any other image is turned upright, cropped, resized and encoded.

    Raises:
        MissingPieceError: the file cannot be decoded.
        SelectionError: the image is too large for the requested format.
    """
    path = images / sample.image_path
    if settings.image_format == ORIGINAL:
        return Picture(get_extension(sample.format), data, (PASSED_THROUGH,))
    is_jpeg = sample.format in _UNCHANGED_FORMATS["jpg"]
    is_large = sample.pixels > (_LARGE_JPEG_PIXELS if is_jpeg else LARGE_PIXELS)
    with decode_alone(is_large):
        return _convert(sample, data, path, settings)


def _convert(sample: Sample, data: bytes, path: Path, settings: ImageSettings) -> Picture:
    with _decoding(path):
        header = jpeg_decode.read_header(data)
        if header is None:
            pixels, frame, transforms = _convert_other(sample, data, settings)
        else:
            pixels, frame, transforms = _convert_jpeg(sample, data, header, settings)
    if pixels is None:
        return Picture(settings.image_format, data, (PASSED_THROUGH, *transforms))
    encode = encode_jpeg if settings.image_format == "jpg" else encode_webp
    try:
        encoded = encode(pixels, settings.quality)
    except ValueError as error:
        kind = "a JPEG" if settings.image_format == "jpg" else "a WebP"
        raise SelectionError(
            f"{path}: cannot become {kind}: {error}; set --CreateWebDataset-resize-min-size, or list the image in the "
            "file of --DeleteImages-image-list"
        ) from error
    cropped = ("cropped",) if sample.box else ()
    enlarged = ("enlarged",) if frame.is_enlarged else ()
    return Picture(settings.image_format, encoded, (REENCODED, *cropped, *enlarged, *transforms))


_Converted = tuple[Pixels | None, Frame, tuple[str, ...]]  # pixels are None if the file needs no change


def _convert_jpeg(sample: Sample, data: bytes, header: JpegHeader, settings: ImageSettings) -> _Converted:
    stored_size = header.width, header.height
    _check_size(sample, stored_size)
    size = stored_size[::-1] if header.orientation >= 5 else stored_size
    frame = settings.choose_frame(size, sample.box)
    is_plain = header.orientation == 1 and not header.is_cmyk
    if settings.image_format == "jpg" and is_plain and _is_whole(frame, size):
        return None, frame, ()
    scale = max(side / kept for side, kept in zip(frame.size, frame.cropped_size, strict=True))
    min_size = tuple(math.ceil(side * min(scale, 1.0)) for side in stored_size)
    pixels = turn_upright(jpeg_decode.decode_jpeg(data, header, (min_size[0], min_size[1])), header.orientation)
    turned = ("turned",) if header.orientation != 1 else ()
    return _resize(pixels, size, frame), frame, (*turned, *(("cmyk",) if header.is_cmyk else ()))


def _convert_other(sample: Sample, data: bytes, settings: ImageSettings) -> _Converted:
    with Image.open(io.BytesIO(data)) as image:
        _check_size(sample, image.size)
        traits = read_traits(image)  # loads it: Pillow turns a TIFF upright while loading
        turn = read_orientation(image)
        found = {**vars(traits), "turned": turn != 1, "animated": is_animated(data)}
        transforms = tuple(name for name in TRANSFORMS if found.get(name))
        size = image.size[::-1] if turn >= 5 else image.size
        frame = settings.choose_frame(size, sample.box)
        if image.format in _UNCHANGED_FORMATS[settings.image_format] and not transforms and _is_whole(frame, size):
            return None, frame, ()
        return _resize(turn_upright(np.asarray(convert_to_rgb(image)), turn), size, frame), frame, transforms


def _check_size(sample: Sample, size: tuple[int, int]) -> None:
    if size[0] * size[1] > sample.pixels:
        raise ValueError(f"it has {size[0]} x {size[1]} pixels, more than when it was verified")


def _is_whole(frame: Frame, size: tuple[int, int]) -> bool:
    return frame.rectangle == (0, 0, *size) and frame.size == size


def _resize(pixels: Pixels, size: tuple[int, int], frame: Frame) -> Pixels:
    """The part `frame` of an upright image of `size` pixels; `pixels` may be that image at a reduced scale."""
    height, width, _ = pixels.shape
    left, top, right, bottom = frame.rectangle
    if (width, height) == size and frame.size == frame.cropped_size:
        return pixels[top:bottom, left:right]
    x_scale, y_scale = width / size[0], height / size[1]
    box = left * x_scale, top * y_scale, min(right * x_scale, width), min(bottom * y_scale, height)
    return resize_pixels(pixels, box, frame.size)


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # decoders raise errors of many types
        raise MissingPieceError(
            f"{path}: was verified but cannot be decoded ({error}); list it in the file of --DeleteImages-image-list"
        ) from error
