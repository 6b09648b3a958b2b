"""Sound images of every kind made of the sample's photos, and the ways in which files get damaged, each by a seed."""

import io
import random
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from sample.photos import draw
from sample.plan import make_plan

BLOCK = 4096
PHOTOS = 6
SCAN, END = b"\xff\xda", b"\xff\xd9"


@cache
def photos() -> list[Image.Image]:
    """Photos of PHOTOS species."""
    plain = [photo for photo in make_plan().photos if not photo.fault and 480 <= min(photo.size) <= 600]
    by_species = {photo.species: photo for photo in plain if photo.stage == "adult"}
    return [draw(photo) for _, photo in sorted(by_species.items())[:PHOTOS]]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(image: Image.Image, orientation: int, kind: str = "JPEG") -> bytes:
    """A file of the image's pixels as they are, which EXIF tells viewers to turn."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, kind, exif=exif)


def with_thumbnail(jpeg: bytes, thumbnail: bytes) -> bytes:
    """A JPEG with another one in its header, as cameras put one into EXIF."""
    return jpeg[:2] + segment(b"\xe1", b"Exif\0\0" + thumbnail) + jpeg[2:]


def segment(marker: bytes, content: bytes) -> bytes:
    """A segment of a JPEG's header."""
    return b"\xff" + marker + struct.pack(">H", len(content) + 2) + content


def _by_turbo(image: Image.Image, subsampling: str) -> bytes:
    pixels = np.ascontiguousarray(np.asarray(image))
    pixels = 255 - pixels if image.mode == "CMYK" else pixels  # as Adobe has it, which other decoders go by
    return bytes(simplejpeg.encode_jpeg(pixels, 85, "CMYK" if image.mode == "CMYK" else "RGB", subsampling))


@cache
def jpegs(photo: int) -> dict[str, bytes]:
    """A photo as a JPEG of every kind."""
    image = photos()[photo]
    grey, cmyk = image.convert("L"), image.convert("CMYK")
    return {
        "4:2:0": saved(image, "JPEG", quality=85),
        "4:2:2": saved(image, "JPEG", quality=75, subsampling="4:2:2"),
        "4:4:4": saved(image, "JPEG", quality=92, subsampling="4:4:4"),
        "4:4:0": _by_turbo(image, "440"),
        "4:1:1": _by_turbo(image, "411"),
        "optimised": saved(image, "JPEG", quality=75, optimize=True),
        "progressive": saved(image, "JPEG", quality=85, progressive=True),
        "restart markers": saved(image, "JPEG", quality=85, restart_marker_rows=1),
        "grey": saved(grey, "JPEG", quality=85),
        "progressive grey": saved(grey, "JPEG", quality=85, progressive=True),
        "cmyk": saved(cmyk, "JPEG", quality=85),
        "ycck": _by_turbo(cmyk, "420"),
        "rgb": saved(image, "JPEG", quality=85, keep_rgb=True),
    }


@cache
def others(photo: int) -> dict[str, bytes]:
    """A photo in every other format."""
    image = photos()[photo]
    palette, transparent = image.quantize(64), image.copy()
    transparent.putalpha(image.convert("L"))
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return {
        "png": saved(image, "PNG"),
        "16-bit png": saved(deep, "PNG"),
        "palette png": saved(palette, "PNG", transparency=3),
        "transparent png": saved(transparent, "PNG"),
        "gif": saved(palette, "GIF"),
        "webp": saved(image, "WEBP"),
        "lossless webp": saved(image, "WEBP", lossless=True, method=0),
        "tiff": saved(image, "TIFF"),
        "lzw tiff": saved(image, "TIFF", compression="tiff_lzw"),
        "bmp": saved(image, "BMP"),
        "avif": saved(image, "AVIF", speed=10),
        "jpeg 2000": saved(image, "JPEG2000"),
    }


def animated(images: list[Image.Image], kind: str) -> bytes:
    """A file of several frames."""
    first, *rest = (
        image.resize(images[0].size) for image in images
    )  # Pillow leaves settings of one format in an image for the next
    return saved(first, kind, save_all=True, append_images=rest)


def cuts(data: bytes) -> dict[str, bytes]:
    """A file that breaks off early."""
    found = {f"cut at {share} %": data[: len(data) * share // 100] for share in (1, 50, 90, 99)}
    found["cut at a block"] = data[: len(data) // 2 // BLOCK * BLOCK]
    return found | {"without its last two bytes": data[:-2]}


def in_place(data: bytes, at: int, block: bytes) -> bytes:
    """A file with a block written over what was there."""
    return data[:at] + block + data[at + len(block) :]


def harmed(data: bytes, other: bytes, seed: int) -> dict[str, bytes]:
    """A JPEG that is as long as it should be, or nearly so, and yet not what it was; `other` is another photo's."""
    dice = random.Random(seed)
    begin = data.index(SCAN) + 100

    def place() -> int:
        return dice.randrange(begin, len(data) - 2 * BLOCK)

    at, aligned = place(), max(BLOCK, place() // BLOCK * BLOCK)
    foreign = other[len(other) // 2 :][:BLOCK]
    return {
        "4 kB zeroed": in_place(data, at, bytes(BLOCK)),
        "a block zeroed": in_place(data, aligned, bytes(BLOCK)),
        "the end zeroed": in_place(data, len(data) - BLOCK - 2, bytes(BLOCK)),
        "4 kB dropped": data[:at] + data[at + BLOCK :],
        "4 kB of noise": in_place(data, place(), dice.randbytes(BLOCK)),
        "4 kB of another photo": in_place(data, place(), foreign),
        "a foreign second half": data[: len(data) // 2] + other[len(other) // 2 :],
    }


def flipped(data: bytes, first: int, end: int, dice: random.Random) -> bytes:
    """A file of which one bit between two bytes is another."""
    at, bit = dice.randrange(first, end), dice.randrange(8)
    return in_place(data, at, bytes([data[at] ^ 1 << bit]))


def blemished(data: bytes) -> dict[str, tuple[bytes, str]]:
    """A JPEG with what libjpeg warns of and every viewer shows well, and its code."""
    tables = data.index(b"\xff\xdb")
    found = {
        "stray bytes": (data[:tables] + b"stray" + data[tables:], "stray-bytes"),
        "zeros before the end": (data[:-2] + bytes(500) + END, "padding"),
        "blanks before the end": (data[:-2] + b" " * 60 + END, "padding"),
        "a thumbnail and padding": (with_thumbnail(data[:-2] + bytes(500) + END, data[:BLOCK] + END), "padding"),
    }
    if b"JFIF\0\1" in data:
        found["revision 9"] = (data.replace(b"JFIF\0\1", b"JFIF\0\x09", 1), "jfif-revision")
    return found


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tiff(width: int, height: int, tile: int, compressed: bytes) -> bytes:
    """A grey, deflated TIFF of one square tile."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 134, 325: 0}
    tags[325] = len(compressed)
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4) + compressed


def bombs(side: int) -> dict[str, bytes]:
    """Small files that say that they are of `side` x `side` pixels."""
    small = Image.new("RGB", (40, 30), "red")
    wide, words = struct.pack(">II", side, side), struct.pack("<II", side, side)
    jpeg, gif, bmp = saved(small, "JPEG"), saved(small.convert("P"), "GIF"), saved(small, "BMP")
    jp2, avif, webp = saved(small, "JPEG2000"), saved(small, "AVIF"), saved(small, "WEBP", lossless=True)
    size = struct.pack("<HH", side, side)
    header = png_chunk(b"IHDR", wide + b"\x08\x02\0\0\0")
    return {
        "jpeg": in_place(jpeg, jpeg.index(b"\xff\xc0") + 5, struct.pack(">HH", side, side)),
        "png": b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b""),
        "gif": in_place(gif, 6, size),
        "gif's frame": in_place(gif, gif.index(b",\0\0\0\0") + 5, size),
        "bmp": in_place(bmp, 18, words),
        "tiff": tiff(side, side, 256, b""),
        "tiff's tile": tiff(40, 30, side, b""),
        "jpeg 2000": in_place(jp2, jp2.index(b"ihdr") + 4, wide),
        "avif": in_place(avif, avif.index(b"ispe") + 8, wide),
        "webp": in_place(webp, 21, struct.pack("<I", 16_383 | 16_383 << 14)),
    }
