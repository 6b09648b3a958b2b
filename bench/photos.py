"""Photos to fetch: small JPEGs filled up to a realistic size, each with different bytes."""

import io
import random
import struct
from pathlib import Path

from PIL import Image

SIZE = 80_000  # bytes of each
MAX_COMMENT_BYTES = 65_533  # in a JPEG


def _comment(text: bytes) -> bytes:
    return b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text


def _common_bytes() -> bytes:
    """The bytes after the comment that differs between photos: comments that fill the file, and the picture."""
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "JPEG")
    picture = file.getvalue()[2:]
    noise = random.Random(0).randbytes(SIZE)
    left = SIZE - len(photo_head(0)) - len(picture) - len(_comment(noise[:MAX_COMMENT_BYTES])) - len(_comment(b""))
    return _comment(noise[:MAX_COMMENT_BYTES]) + _comment(noise[:left]) + picture


def photo_head(number: int) -> bytes:
    """The first bytes of photo `number`."""
    return b"\xff\xd8" + _comment(b"photo %012d" % number)


COMMON_BYTES = _common_bytes()


def photo(number: int) -> bytes:
    """Photo `number`, of SIZE bytes."""
    return photo_head(number) + COMMON_BYTES


def write(folder: Path, count: int) -> None:
    """Write `count` photos: 0.jpg, 1.jpg and so on."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(photo(number))
