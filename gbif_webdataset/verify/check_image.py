"""Check one image file: compare it with the bytes that were downloaded, decode it, measure it."""

import hashlib
import io
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager

from PIL import Image, UnidentifiedImageError

from gbif_webdataset.images import perceptual_hash
from gbif_webdataset.images.convert import (
    Pixels,
    count_decoded_pixels,
    decode_small_jpeg,
    read_orientation,
    read_stored_size,
    shrink_to_grey,
    turn_upright,
)
from gbif_webdataset.images.large_images import LARGE_PIXELS, decode_alone
from gbif_webdataset.images.signatures import HEAD_BYTES, identify_image
from gbif_webdataset.terms.outcomes import Defect
from gbif_webdataset.verify import jpeg_damage
from gbif_webdataset.verify.complexity import is_limit_of_pillow, is_too_complex
from gbif_webdataset.verify.finding import Finding
from gbif_webdataset.verify.png_damage import check_png
from gbif_webdataset.verify.unsupported import is_unsupported

# The formats that `identify_image` knows and Pillow decodes by itself. EPS would start Ghostscript.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000")
TakeTurn = Callable[[bool], AbstractContextManager[None]]
_Decoded = tuple[int, Pixels | None]
"""The EXIF orientation and, if the image can be used, a small grey picture."""


def check_image(
    data: bytes, sha256: str, max_pixels: int, strict: bool = False, take_turn: TakeTurn = decode_alone
) -> Finding:
    """The result of checking an image, given the bytes of its file.

    `sha256` is the hash of the bytes that were downloaded. Images of more than `max_pixels` pixels are not decoded.
    With `strict`, decoder warnings count as errors. An image is decoded within `take_turn(is_large)`, which for a large
    image may wait.
    """
    finding = Finding(file_size=len(data), sha256=hashlib.sha256(data).hexdigest())
    if finding.sha256 != sha256:
        finding.error = Defect.CHANGED_FILE
        return finding
    kind = identify_image(data[:HEAD_BYTES])
    if is_too_complex(data, kind):
        finding.error = Defect.TOO_COMPLEX
        return finding
    try:
        orientation, grey = _check_plain_jpeg(data, max_pixels, finding, take_turn) or _check_with_pillow(
            data, max_pixels, finding, take_turn
        )
    except MemoryError:
        raise
    except Exception as fault:  # decoders raise errors of any type, and none may stop the chunk
        finding.error = _classify_fault(fault, kind, data)
        return finding
    if orientation >= 5:
        finding.width, finding.height = finding.height, finding.width
    if strict and finding.warning:
        finding.error, finding.warning = finding.warning, ""
    if grey is not None and not finding.error:
        grey = turn_upright(grey, orientation)
        finding.flat, finding.perceptual_hash = perceptual_hash.is_flat(grey), perceptual_hash.compute_hash(grey)
    return finding


def _check_plain_jpeg(data: bytes, max_pixels: int, finding: Finding, take_turn: TakeTurn) -> _Decoded | None:
    """Check a JPEG with a plain header, which most JPEGs have, without Pillow. None for files that need Pillow."""
    header = jpeg_damage.read_plain_header(data) if jpeg_damage.HAS_SIMPLEJPEG else None
    if header is None or header.mode == "CMYK":
        return None
    finding.format, finding.mode = "JPEG", header.mode
    finding.width, finding.height = finding.stored_width, finding.stored_height = header.width, header.height
    if header.width * header.height > max_pixels:
        finding.error = Defect.TOO_MANY_PIXELS
        return 1, None
    with take_turn(header.is_progressive and header.width * header.height > LARGE_PIXELS):
        check = jpeg_damage.check_jpeg(data, header.width, header.height)
    finding.error, finding.warning = check.error, check.warning
    return (1, check.grey) if check.error or check.grey is not None else None


def _check_with_pillow(data: bytes, max_pixels: int, finding: Finding, take_turn: TakeTurn) -> _Decoded:
    """Check a file with Pillow, which raises errors of any type for damaged files and for files that are no images."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        finding.format, finding.mode = image.format, image.mode
        finding.width, finding.height = image.size
        finding.stored_width, finding.stored_height = read_stored_size(image)
        pixels = count_decoded_pixels(image)
        if pixels > max_pixels:
            finding.error = Defect.TOO_MANY_PIXELS
            return 1, None
        if image.format in ("JPEG", "MPO"):
            orientation = read_orientation(image)
            with take_turn("progressive" in image.info and pixels > LARGE_PIXELS):
                return orientation, _check_opened_jpeg(image, data, finding)
        finding.error = check_png(data) if image.format == "PNG" else ""
        with take_turn(pixels > LARGE_PIXELS):
            grey = None if finding.error else shrink_to_grey(image, jpeg_damage.MIN_SIDE)
            return read_orientation(image), grey


def _check_opened_jpeg(image: Image.Image, data: bytes, finding: Finding) -> Pixels | None:
    """Check a JPEG that Pillow has opened, and return its small grey picture."""
    has_simplejpeg = jpeg_damage.HAS_SIMPLEJPEG
    check = jpeg_damage.check_jpeg(data, *image.size) if has_simplejpeg else jpeg_damage.JpegCheck()
    finding.error, finding.warning = check.error, check.warning
    # No two libraries convert CMYK to the same grey, so Pillow always decodes it.
    if not finding.error and (check.grey is None or image.mode == "CMYK"):
        return decode_small_jpeg(image, jpeg_damage.MIN_SIDE)
    return check.grey


def _classify_fault(fault: Exception, kind: str | None, data: bytes) -> str:
    """The Defect of a file that Pillow could not open or decode."""
    if isinstance(fault, UnidentifiedImageError) and kind is None:
        return Defect.NOT_AN_IMAGE
    if is_limit_of_pillow(fault):
        return Defect.TOO_COMPLEX
    is_cut = (kind == "jpeg" and jpeg_damage.is_cut_in_header(data)) or (
        kind == "webp" and _read_webp_length(data) > len(data)
    )
    if is_cut or "truncated" in str(fault).lower():
        return Defect.TRUNCATED
    return Defect.UNSUPPORTED_FORMAT if is_unsupported(fault, kind, data) else Defect.CORRUPT_DATA


def _read_webp_length(data: bytes) -> int:
    """The length of a WebP file in bytes, according to its header."""
    return int(struct.unpack_from("<I", data, 4)[0]) + 8
