"""Photos to fetch: small JPEGs made long, each with bytes of its own."""

import io
import random
import struct
from pathlib import Path

from PIL import Image

SIZE = 80_000  # bytes of each
LONGEST = 65_533  # bytes that a comment of a JPEG holds


def _comment(text: bytes) -> bytes:
    return b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text


def _rest() -> bytes:
    """What follows the comment that tells the photos apart: comments that fill them up, and the picture."""
    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "JPEG")
    picture = file.getvalue()[2:]
    noise = random.Random(0).randbytes(SIZE)
    room = SIZE - len(photo_head(0)) - len(picture) - len(_comment(noise[:LONGEST])) - len(_comment(b""))
    return _comment(noise[:LONGEST]) + _comment(noise[:room]) + picture


def photo_head(number: int) -> bytes:
    """How photo `number` begins."""
    return b"\xff\xd8" + _comment(b"photo %012d" % number)


REST = _rest()


def photo(number: int) -> bytes:
    """Photo `number`, of SIZE bytes."""
    return photo_head(number) + REST


def write(folder: Path, count: int) -> None:
    """Write so many photos, 0.jpg and so on."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(photo(number))
