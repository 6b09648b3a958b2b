"""Whether an image file is complete. The image is decoded for that, so only doubtful files are checked."""

import os
import struct
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from gbif_webdataset.images.signatures import HEAD_BYTES, identify_image

FIRST_BOXES = (b"ftyp", b"jP  ", b"JXL ")
"""Types of the first box of HEIC, AVIF, JPEG 2000 and JPEG XL. Such a file consists of boxes, each with its length."""


def is_complete_image(file: BinaryIO) -> bool:
    """Whether a file has a whole image. A file that nothing here can check counts as complete."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head[4:8] in FIRST_BOXES:
        return _is_box_complete(file)
    try:
        with Image.open(file) as image:
            image.draft("L", (1, 1))  # a JPEG is decoded at an eighth of its size
            image.load()
    except UnidentifiedImageError:
        return identify_image(head) == "jxl"  # Pillow reads all other kinds
    except Image.DecompressionBombError:
        return True
    except Exception:  # Pillow's decoders raise many types for damaged data
        return False
    return True


def _is_box_complete(file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length, _ = struct.unpack(">I4s", file.read(8))
        if length == 0:  # up to the end of the file
            return True
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if length < 8:
            return True
        at += length
    return at == size
