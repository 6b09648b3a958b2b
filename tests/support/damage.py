"""Images of every kind made from the sample's photos, and the kinds of damage that files suffer, each from a seed."""

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
SPECIES = 6
SCAN, END = b"\xff\xda", b"\xff\xd9"


@cache
def draw_photos() -> list[Image.Image]:
    """One photo for each of SPECIES species."""
    plain = [photo for photo in make_plan().photos if not photo.fault and 480 <= min(photo.size) <= 600]
    by_species = {photo.species: photo for photo in plain if photo.stage == "adult"}
    return [draw(photo) for _, photo in sorted(by_species.items())[:SPECIES]]


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of the image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def encode_turned(image: Image.Image, orientation: int, kind: str = "JPEG") -> bytes:
    """A file with the image's pixels, and an EXIF orientation by which viewers turn them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image, kind, exif=exif)


def add_thumbnail(jpeg: bytes, thumbnail: bytes) -> bytes:
    """A JPEG with another JPEG in its header, like the thumbnails that cameras write into EXIF."""
    return jpeg[:2] + make_segment(b"\xe1", b"Exif\0\0" + thumbnail) + jpeg[2:]


def make_segment(marker: bytes, content: bytes) -> bytes:
    """A segment of a JPEG's header."""
    return b"\xff" + marker + struct.pack(">H", len(content) + 2) + content


def _encode_with_turbo(image: Image.Image, subsampling: str) -> bytes:
    pixels = np.ascontiguousarray(np.asarray(image))
    pixels = (
        255 - pixels if image.mode == "CMYK" else pixels
    )  # inverted, like Adobe's files, which other decoders expect
    return bytes(simplejpeg.encode_jpeg(pixels, 85, "CMYK" if image.mode == "CMYK" else "RGB", subsampling))


@cache
def encode_jpegs(photo: int) -> dict[str, bytes]:
    """A photo as a JPEG of every kind."""
    image = draw_photos()[photo]
    grey, cmyk = image.convert("L"), image.convert("CMYK")
    return {
        "4:2:0": encode(image, "JPEG", quality=85),
        "4:2:2": encode(image, "JPEG", quality=75, subsampling="4:2:2"),
        "4:4:4": encode(image, "JPEG", quality=92, subsampling="4:4:4"),
        "4:4:0": _encode_with_turbo(image, "440"),
        "4:1:1": _encode_with_turbo(image, "411"),
        "optimised": encode(image, "JPEG", quality=75, optimize=True),
        "progressive": encode(image, "JPEG", quality=85, progressive=True),
        "restart markers": encode(image, "JPEG", quality=85, restart_marker_rows=1),
        "grey": encode(grey, "JPEG", quality=85),
        "progressive grey": encode(grey, "JPEG", quality=85, progressive=True),
        "cmyk": encode(cmyk, "JPEG", quality=85),
        "ycck": _encode_with_turbo(cmyk, "420"),
        "rgb": encode(image, "JPEG", quality=85, keep_rgb=True),
    }


@cache
def encode_other_formats(photo: int) -> dict[str, bytes]:
    """A photo in every other format."""
    image = draw_photos()[photo]
    palette, transparent = image.quantize(64), image.copy()
    transparent.putalpha(image.convert("L"))
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return {
        "png": encode(image, "PNG"),
        "16-bit png": encode(deep, "PNG"),
        "palette png": encode(palette, "PNG", transparency=3),
        "transparent png": encode(transparent, "PNG"),
        "gif": encode(palette, "GIF"),
        "webp": encode(image, "WEBP"),
        "lossless webp": encode(image, "WEBP", lossless=True, method=0),
        "tiff": encode(image, "TIFF"),
        "lzw tiff": encode(image, "TIFF", compression="tiff_lzw"),
        "bmp": encode(image, "BMP"),
        "avif": encode(image, "AVIF", speed=10),
        "jpeg 2000": encode(image, "JPEG2000"),
    }


def encode_animation(images: list[Image.Image], kind: str) -> bytes:
    """A file of several frames."""
    first, *rest = (
        image.resize(images[0].size) for image in images
    )  # Pillow leaves settings of one format in an image for the next
    return encode(first, kind, save_all=True, append_images=rest)


def cut_file(data: bytes) -> dict[str, bytes]:
    """The file, cut at several places before its end."""
    found = {f"cut at {share} %": data[: len(data) * share // 100] for share in (1, 50, 90, 99)}
    found["cut at a block"] = data[: len(data) // 2 // BLOCK * BLOCK]
    return found | {"without its last two bytes": data[:-2]}


def overwrite(data: bytes, at: int, block: bytes) -> bytes:
    """A file with a block written over its bytes at a position."""
    return data[:at] + block + data[at + len(block) :]


def damage_jpeg(data: bytes, other: bytes, seed: int) -> dict[str, bytes]:
    """A JPEG with about its original length and damaged content. `other` is the JPEG of another photo."""
    generator = random.Random(seed)
    start = data.index(SCAN) + 100

    def draw_position() -> int:
        return generator.randrange(start, len(data) - 2 * BLOCK)

    at, aligned = draw_position(), max(BLOCK, draw_position() // BLOCK * BLOCK)
    foreign = other[len(other) // 2 :][:BLOCK]
    return {
        "4 kB zeroed": overwrite(data, at, bytes(BLOCK)),
        "a block zeroed": overwrite(data, aligned, bytes(BLOCK)),
        "the end zeroed": overwrite(data, len(data) - BLOCK - 2, bytes(BLOCK)),
        "4 kB dropped": data[:at] + data[at + BLOCK :],
        "4 kB of noise": overwrite(data, draw_position(), generator.randbytes(BLOCK)),
        "4 kB of another photo": overwrite(data, draw_position(), foreign),
        "a foreign second half": data[: len(data) // 2] + other[len(other) // 2 :],
    }


def flip_bit(data: bytes, first: int, end: int, generator: random.Random) -> bytes:
    """A file with one bit flipped, at a random position between `first` and `end`."""
    at, bit = generator.randrange(first, end), generator.randrange(8)
    return overwrite(data, at, bytes([data[at] ^ 1 << bit]))


def add_irregularities(data: bytes) -> dict[str, tuple[bytes, str]]:
    """A JPEG with irregularities that every viewer shows correctly, each with the code of libjpeg's warning."""
    tables = data.index(b"\xff\xdb")
    found = {
        "stray bytes": (data[:tables] + b"stray" + data[tables:], "stray-bytes"),
        "zeros before the end": (data[:-2] + bytes(500) + END, "padding"),
        "blanks before the end": (data[:-2] + b" " * 60 + END, "padding"),
        "a thumbnail and padding": (add_thumbnail(data[:-2] + bytes(500) + END, data[:BLOCK] + END), "padding"),
    }
    if b"JFIF\0\1" in data:
        found["revision 9"] = (data.replace(b"JFIF\0\1", b"JFIF\0\x09", 1), "jfif-revision")
    return found


def add_decoder_warnings(data: bytes) -> dict[str, bytes]:
    """A JPEG with irregularities in its header or between its scans that every viewer shows correctly."""
    tables, scan = data.index(b"\xff\xdb"), data.index(SCAN)
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    end_of_frame = frame + 2 + int.from_bytes(data[frame + 2 : frame + 4])
    adobe = make_segment(b"\xee", b"Adobe\0\x64\0\0\0\0\0")

    def insert(at: int, *segments: bytes) -> bytes:
        return data[:at] + b"".join(segments) + data[at:]

    profile = [make_segment(b"\xe2", b"ICC_PROFILE\0" + bytes([n, 2]) + bytes(300)) for n in (1, 2)]
    found = {
        "a doubled ICC chunk": insert(tables, *profile, profile[1]),
        "a missing ICC chunk": insert(tables, profile[0]),
        "ICC chunks behind the frame": insert(end_of_frame, *profile, profile[0]),
        "padding and a doubled ICC chunk": insert(tables, *profile, profile[1])[:-2] + bytes(99) + END,
    }
    if b"Adobe" not in data and data[frame + 9] == 3:
        found["Adobe transform 5"] = data[:2] + adobe[:-1] + b"\5" + data[tables:]
    if data[frame + 1] == 0xC0:
        last = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4])
        for name, parameters in {"0-64": b"\0\x40\0", "0-0": b"\0\0\0", "1-63-16": b"\1\x3f\x10"}.items():
            found[f"scan parameters {name}"] = data[: last - 3] + parameters + data[last:]
    else:
        found["padding between scans"] = data.replace(SCAN, bytes(60) + SCAN)
    return found


def make_png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def make_tiff(width: int, height: int, tile: int, compressed: bytes) -> bytes:
    """A grey, deflated TIFF with one square tile."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 134, 325: 0}
    tags[325] = len(compressed)
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4) + compressed


def make_bombs(side: int) -> dict[str, bytes]:
    """Small files whose headers announce `side` x `side` pixels."""
    small = Image.new("RGB", (40, 30), "red")
    wide, words = struct.pack(">II", side, side), struct.pack("<II", side, side)
    jpeg, gif, bmp = encode(small, "JPEG"), encode(small.convert("P"), "GIF"), encode(small, "BMP")
    jp2, avif, webp = encode(small, "JPEG2000"), encode(small, "AVIF"), encode(small, "WEBP", lossless=True)
    size = struct.pack("<HH", side, side)
    header = make_png_chunk(b"IHDR", wide + b"\x08\x02\0\0\0")
    return {
        "jpeg": overwrite(jpeg, jpeg.index(b"\xff\xc0") + 5, struct.pack(">HH", side, side)),
        "png": b"\x89PNG\r\n\x1a\n"
        + header
        + make_png_chunk(b"IDAT", zlib.compress(b""))
        + make_png_chunk(b"IEND", b""),
        "gif": overwrite(gif, 6, size),
        "gif's frame": overwrite(gif, gif.index(b",\0\0\0\0") + 5, size),
        "bmp": overwrite(bmp, 18, words),
        "tiff": make_tiff(side, side, 256, b""),
        "tiff's tile": make_tiff(40, 30, side, b""),
        "jpeg 2000": overwrite(jp2, jp2.index(b"ihdr") + 4, wide),
        "avif": overwrite(avif, avif.index(b"ispe") + 8, wide),
        "webp": overwrite(webp, 21, struct.pack("<I", 16_383 | 16_383 << 14)),
    }


def pair_jpegs() -> list[tuple[str, bytes, bytes]]:
    """Two photos as JPEGs of every kind: the kind, the file, and the file of another photo of the same kind."""
    first, second, third = (encode_jpegs(photo) for photo in range(3))
    return [(kind, *pair) for kind in first for pair in ((first[kind], second[kind]), (second[kind], third[kind]))]
