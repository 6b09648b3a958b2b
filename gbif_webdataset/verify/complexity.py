"""Files that are small but take very long to read: many scans, tiles, chunks, or bytes of metadata.

The limits are counts, not times, so that the result does not depend on the machine. They are at least ten times what
sound photos have.
"""

import re
import struct
from collections.abc import Callable

from gbif_webdataset.verify.tiff_directory import TiffDirectory

MAX_SCANS = 500  # the limit of libjpeg-turbo's own fuzzers; encoders write at most about 20
MAX_SCANNED_PIXELS = 2_500_000_000  # of all scans of a JPEG; each takes about 1 ns
MAX_SEGMENTS = 10_000  # in the header of a JPEG
MAX_CHUNKS = 100_000  # of a PNG
MAX_SUB_BLOCKS = 4_096  # before the first frame of a GIF; Pillow's time grows with their square
MAX_TILES = 100_000  # tiles or strips of a TIFF
MAX_METADATA_BYTES = 32 << 20

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])", re.DOTALL)
_SCAN, _END = 0xDA, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL_FRAMES = (0xC0, 0xC1)
_TEXT_LIMITS = ("MAX_TEXT_CHUNK", "MAX_TEXT_MEMORY")  # of Pillow, in its messages


def is_too_complex(data: bytes, kind: str | None) -> bool:
    """Whether a file of a kind of `identify_image` exceeds a limit. Damaged and cut files do not."""
    check = _CHECKS.get(kind or "")
    try:
        return check is not None and check(data)
    except (struct.error, IndexError, ValueError):  # the file is cut or damaged, as its decoder will find
        return False


def is_limit_of_pillow(fault: Exception) -> bool:
    """Whether Pillow stopped at its limit on the compressed texts of a PNG."""
    return any(limit in str(fault) for limit in _TEXT_LIMITS)


def _is_complex_jpeg(data: bytes) -> bool:
    segments, pixels, components, at = 0, 0, 0, 2
    while (found := _MARKER.search(data, at)) and found[1][0] != _SCAN:
        segments += 1
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2]))
        if segments > MAX_SEGMENTS or at > MAX_METADATA_BYTES + found.end():
            return True
        if found[1][0] in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", data, found.end() + 3)
            pixels, components = height * width, components if found[1][0] in _SEQUENTIAL_FRAMES else 0
    if found is None:
        return False
    if found.start() > MAX_METADATA_BYTES:
        return True
    if data[found.end() + 2] == components:
        return False  # the scan has all components, and libjpeg refuses a second one
    max_scans = min(MAX_SCANS, MAX_SCANNED_PIXELS // (pixels or 1))
    # Markers in metadata and behind the end of the image are counted, too, so this is only the first, fast check.
    return data.count(b"\xff\xda") > max(max_scans, 1) and _count_scans(data, found.start()) > max(max_scans, 1)


def _count_scans(data: bytes, at: int) -> int:
    scans = 0
    while (found := _MARKER.search(data, at)) and found[1][0] != _END and scans <= MAX_SCANS:
        scans += found[1][0] == _SCAN
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return scans


def _is_complex_png(data: bytes) -> bool:
    chunks, metadata, at = 0, 0, 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunks += 1
        metadata += length if kind not in (b"IDAT", b"fdAT") else 0
        if chunks > MAX_CHUNKS or metadata > MAX_METADATA_BYTES:
            return bool(at + 12 + length <= len(data))
        at += 12 + length
    return False


def _is_complex_gif(data: bytes) -> bool:
    flags = data[10]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    blocks = 0
    while data[at] == ord("!"):
        at += 2
        while size := data[at]:
            at += 1 + size
            blocks += 1
            if blocks > MAX_SUB_BLOCKS:
                return True
        at += 1
        blocks += 1
    return False


def _is_complex_tiff(data: bytes) -> bool:
    directory = TiffDirectory(data)
    return directory.tiles > MAX_TILES or directory.metadata_bytes > MAX_METADATA_BYTES


_CHECKS: dict[str, Callable[[bytes], bool]] = {
    "jpeg": _is_complex_jpeg,
    "png": _is_complex_png,
    "gif": _is_complex_gif,
    "tiff": _is_complex_tiff,
}
