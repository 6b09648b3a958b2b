"""Sound images that no decoder here can read."""

import re
import struct

from PIL import UnidentifiedImageError

from gbif_webdataset.verify.tiff_directory import TiffDirectory

KINDS_WITHOUT_DECODER = ("heic", "jxl")
"""Kinds of images that `identify_image` knows and no decoder here reads."""

_WORDS = (  # of Pillow's errors
    "unsupported", "not supported", "not available", "cannot handle", "unknown pixel mode", "invalid palette size",
)  # fmt: skip
_FRAME = re.compile(rb"\xff([\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf])..(.)(..)..(.)", re.DOTALL)
_DECODED_FRAMES = (b"\xc0", b"\xc1", b"\xc2", b"\xc9", b"\xca")  # Huffman and arithmetic; neither lossless nor joined
_COMPONENTS = {1, 3, 4}


def is_unsupported(fault: Exception, kind: str | None, data: bytes) -> bool:
    """Whether a file of this kind, which Pillow could not open or decode, is of an unsupported form."""
    if kind in KINDS_WITHOUT_DECODER or any(word in str(fault).lower() for word in _WORDS):
        return True
    is_closed = isinstance(fault, UnidentifiedImageError)
    if kind == "jpeg":
        return _is_unsupported_jpeg(data)
    if kind == "tiff":
        return _is_unsupported_tiff(data, is_closed)
    return kind == "jp2" and is_closed and data.endswith(b"\xff\xd9")  # it has its end, but an unknown header


def _is_unsupported_jpeg(data: bytes) -> bool:
    """Whether a JPEG has other than 8 bits, a process or number of channels without decoder, or states no height."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        frame = _FRAME.match(data, at)
        if frame:
            process, bits, height, components = frame.groups()
            return (
                bits != b"\x08" or process not in _DECODED_FRAMES or not any(height) or components[0] not in _COMPONENTS
            )
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return False


def _is_unsupported_tiff(data: bytes, is_closed: bool) -> bool:
    """Whether a TIFF that has all its pixels is compressed unusually or, if Pillow could not open it, at all odd."""
    try:
        directory = TiffDirectory(data)
        return directory.is_whole and (is_closed or not directory.has_usual_compression)
    except (struct.error, ValueError):
        return False
