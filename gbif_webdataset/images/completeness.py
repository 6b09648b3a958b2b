"""Whether an image file is complete. The image is decoded for that, so only doubtful files are checked."""

import struct
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from gbif_webdataset.images.signatures import HEAD_BYTES, identify_image

FIRST_BOXES = (b"ftyp", b"jP  ", b"JXL ")
"""Types of the first box of HEIC, AVIF, JPEG 2000 and JPEG XL. Such a file consists of boxes, each with its length."""


def is_complete_image(path: Path) -> bool:
    """Whether a file has a whole image. A file that nothing here can check counts as complete."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head[4:8] in FIRST_BOXES:
        return _is_box_complete(path)
    try:
        with Image.open(path) as image:
            image.draft("L", (1, 1))  # a JPEG is decoded at an eighth of its size
            image.load()
    except UnidentifiedImageError:
        return identify_image(head) == "jxl"  # Pillow reads all other kinds
    except Image.DecompressionBombError:
        return True
    except Exception:  # Pillow's decoders raise many types for damaged data
        return False
    return True


def _is_box_complete(path: Path) -> bool:
    size = path.stat().st_size
    at = 0
    with path.open("rb") as file:
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
