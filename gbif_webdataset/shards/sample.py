"""A sample of a shard: its members, and the bytes that its image becomes."""

import contextlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gbif_webdataset.errors import MissingPieceError, SelectionError
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
from gbif_webdataset.images.resize import resize_pixels

IMAGE_FORMATS = ("jpg", "webp", "original")
TREATMENTS = (
    *("passed_through", "reencoded", "cropped", "enlarged"),
    *("turned", "transparent", "deep", "animated", "cmyk"),
)
_FORMATS = {"jpg": ("JPEG", "MPO"), "webp": ("WEBP",)}  # Pillow's names of what passes through
_EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}  # others are their format's name


@dataclass(frozen=True)
class Sample:
    """What the plan says of a sample."""

    key: str
    image_path: str  # relative to the images folder
    category: int
    format: str  # Pillow's name, as verified
    file_size: int  # bytes, as verified
    pixels: int  # width x height, as verified
    box: Box | None  # what to keep of the upright image
    json: str | None


@dataclass(frozen=True)
class Look:
    """How images become members: `image_format` is one of IMAGE_FORMATS, `resize_mode` of RESIZE_MODES; `quality` is
    from 1 to 100, `resize_min_size` in pixels (0: as they are)."""

    image_format: str
    resize_min_size: int
    resize_mode: str
    quality: int

    def frame(self, whole: tuple[int, int], box: Box | None) -> Frame:
        """What is kept of an upright image of so many pixels, and how large it becomes."""
        return fit_frame(whole, box, self.resize_min_size, self.resize_mode)


@dataclass(frozen=True)
class Picture:
    """An image as a member: its extension, its bytes, and which of TREATMENTS it had."""

    extension: str
    data: bytes
    treatments: tuple[str, ...]


def extension_of(format: str) -> str:
    """The usual extension of files of a format, given by Pillow's name of it."""
    return _EXTENSIONS.get(format, format.lower())


def read(sample: Sample, images: Path) -> bytes:
    """The bytes of a sample's image; MissingPieceError where the file isn't there or isn't as long as verified."""
    path = images / sample.image_path
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingPieceError(
            f"{path}: the image is missing though it was verified; {_fetch_again(images)}"
        ) from None
    if len(data) != sample.file_size:
        raise MissingPieceError(
            f"{path}: has {len(data)} bytes and had {sample.file_size} when it was verified; {_fetch_again(images)}"
        )
    return data


def picture_of(sample: Sample, data: bytes, images: Path, look: Look) -> Picture:
    """The member that a sample's image with the bytes `data` becomes.

    `original` images, and upright ones of the format asked for that need neither crop nor resizing, pass through byte
    for byte; anything else is turned upright, cropped, resized and encoded. Raises MissingPieceError where the file
    can't be decoded, SelectionError where the format asked for can't hold it.
    """
    path = images / sample.image_path
    if look.image_format == "original":
        return Picture(extension_of(sample.format), data, ("passed_through",))
    with _decoding(path):
        header = jpeg_decode.read_header(data)
        if header is None:
            pixels, frame, treatments = _of_other(sample, data, look)
        else:
            pixels, frame, treatments = _of_jpeg(sample, data, header, look)
    if pixels is None:
        return Picture(look.image_format, data, ("passed_through", *treatments))
    encode = encode_jpeg if look.image_format == "jpg" else encode_webp
    try:
        encoded = encode(pixels, look.quality)
    except ValueError as error:
        kind = "a JPEG" if look.image_format == "jpg" else "a WebP"
        raise SelectionError(f"{path}: can't be {kind}: {error}; set resize_min_size, or delete it") from error
    cropped = ("cropped",) if sample.box else ()
    enlarged = ("enlarged",) if frame.is_enlarged else ()
    return Picture(look.image_format, encoded, ("reencoded", *cropped, *enlarged, *treatments))


_Made = tuple[Pixels | None, Frame, tuple[str, ...]]  # no pixels: the file passes through


def _of_jpeg(sample: Sample, data: bytes, header: JpegHeader, look: Look) -> _Made:
    stored = header.width, header.height
    _check(sample, stored)
    whole = stored[::-1] if header.orientation >= 5 else stored
    frame = look.frame(whole, sample.box)
    is_plain = header.orientation == 1 and not header.is_cmyk
    if look.image_format == "jpg" and is_plain and _keeps(frame, whole):
        return None, frame, ()
    scale = max(size / kept for size, kept in zip(frame.size, frame.cropped_size, strict=True))
    least = tuple(math.ceil(side * min(scale, 1.0)) for side in stored)
    pixels = turn_upright(jpeg_decode.decode_jpeg(data, header, (least[0], least[1])), header.orientation)
    turned = ("turned",) if header.orientation != 1 else ()
    return _cut(pixels, whole, frame), frame, (*turned, *(("cmyk",) if header.is_cmyk else ()))


def _of_other(sample: Sample, data: bytes, look: Look) -> _Made:
    with Image.open(io.BytesIO(data)) as image:
        _check(sample, image.size)
        traits = read_traits(image)  # loads it: Pillow turns a TIFF upright while it does
        turn = read_orientation(image)
        found = {**vars(traits), "turned": turn != 1, "animated": is_animated(data)}
        treatments = tuple(name for name in TREATMENTS if found.get(name))
        whole = image.size[::-1] if turn >= 5 else image.size
        frame = look.frame(whole, sample.box)
        if image.format in _FORMATS[look.image_format] and not treatments and _keeps(frame, whole):
            return None, frame, ()
        return _cut(turn_upright(np.asarray(convert_to_rgb(image)), turn), whole, frame), frame, treatments


def _check(sample: Sample, size: tuple[int, int]) -> None:
    if size[0] * size[1] > sample.pixels:
        raise ValueError(f"it has {size[0]} x {size[1]} pixels, more than were verified")


def _keeps(frame: Frame, whole: tuple[int, int]) -> bool:
    return frame.rectangle == (0, 0, *whole) and frame.size == whole


def _cut(pixels: Pixels, whole: tuple[int, int], frame: Frame) -> Pixels:
    """The frame of an upright image of `whole` pixels that was perhaps decoded at a smaller scale."""
    height, width, _ = pixels.shape
    left, top, right, bottom = frame.rectangle
    if (width, height) == whole and frame.size == frame.cropped_size:
        return pixels[top:bottom, left:right]
    across, down = width / whole[0], height / whole[1]
    scaled = left * across, top * down, min(right * across, width), min(bottom * down, height)
    return resize_pixels(pixels, scaled, frame.size)


def _fetch_again(images: Path) -> str:
    """What to do for an image that is not what its records say."""
    return f"remove {images.parent / '.made'} and run the same command: what is there stays, what is missing is fetched"


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # a decoder raises whatever its input makes it raise
        raise MissingPieceError(
            f"{path}: can't be decoded though it was verified ({error}); leave it out with DeleteImages' image_list"
        ) from error
