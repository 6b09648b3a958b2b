"""A sample of a shard: its members, and the JPEG bytes that its image becomes."""

import contextlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tasks.core.errors import MissingPieceError, SelectionError
from tasks.core.images import orientation, to_jpeg, to_rgb, upright, upright_size

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Sample:
    """What the plan says of a sample."""

    key: str
    image_path: str  # relative to the images folder
    category: int
    file_size: int  # bytes, as verified
    pixels: int  # width x height, as verified
    box: Box | None  # what to keep of the upright image: left, top, right, bottom from 0 to 1
    json: str | None


@dataclass(frozen=True)
class Look:
    """How images become members: shorter side at most `resize_min_size` pixels (0: as it is), JPEG quality 1 to 100."""

    resize_min_size: int
    jpeg_quality: int


def jpeg_of(sample: Sample, images: Path, look: Look) -> tuple[bytes, bool]:
    """The bytes of the `jpg` member, and whether they are the file's own.

    A JPEG that is upright, small enough and whole in its box passes through byte for byte; anything else is turned
    upright, cropped, resized and encoded. Raises MissingPieceError where the file isn't the one that was verified.
    """
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
    with _decoding(path), Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > sample.pixels:
            raise ValueError(f"it has {image.width} x {image.height} pixels, more than were verified")
        is_jpeg = image.format in ("JPEG", "MPO")
        if not is_jpeg:
            image.load()
        turn, whole = orientation(image), upright_size(image)
        box = in_pixels(sample.box, *whole) if sample.box else (0, 0, *whole)
        size = fitted(box[2] - box[0], box[3] - box[1], look.resize_min_size)
        if is_jpeg and turn == 1 and size == whole:
            return data, True
        if is_jpeg:
            _draft(image, turn, whole, size[0] / (box[2] - box[0]))
        image.load()
        pixels = upright(to_rgb(image), turn)
    try:
        return to_jpeg(_cut(pixels, whole, box, size), look.jpeg_quality), False
    except ValueError as error:
        raise SelectionError(f"{path}: can't be a JPEG: {error}; set resize_min_size, or delete it") from error


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


def in_pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """A relative box in pixels of an upright image: left, top, right, bottom; at least one pixel each way."""
    left, top = min(round(box[0] * width), width - 1), min(round(box[1] * height), height - 1)
    return left, top, max(round(box[2] * width), left + 1), max(round(box[3] * height), top + 1)


def fitted(width: int, height: int, shorter: int) -> tuple[int, int]:
    """The size with its shorter side at most `shorter` pixels (0: any), the shape kept."""
    if shorter == 0 or min(width, height) <= shorter:
        return width, height
    scale = shorter / min(width, height)
    return max(shorter, round(width * scale)), max(shorter, round(height * scale))


def _draft(image: Image.Image, turn: int, whole: tuple[int, int], scale: float) -> None:
    """Let libjpeg decode at the least of its scales that still holds every pixel that is wanted."""
    wanted = math.ceil(whole[0] * scale), math.ceil(whole[1] * scale)
    image.draft(None, wanted if turn < 5 else wanted[::-1])


def _cut(
    pixels: Image.Image, whole: tuple[int, int], box: tuple[int, int, int, int], size: tuple[int, int]
) -> Image.Image:
    if pixels.size == whole and size == (box[2] - box[0], box[3] - box[1]):
        return pixels.crop(box) if size != whole else pixels
    across, down = pixels.width / whole[0], pixels.height / whole[1]
    scaled = (
        box[0] * across,
        box[1] * down,
        min(box[2] * across, pixels.width),
        min(box[3] * down, pixels.height),
    )
    return pixels.resize(size, Image.Resampling.HAMMING, box=scaled)
