"""Whether a JPEG is sound, told from its entropy-coded data, and the small grey picture that comes of looking.

libjpeg-turbo reads those data in full at any scale, so an eighth of the size decides the same as the whole. Its
warnings are errors here, but for three kinds in files that every viewer shows well: what such a warning is about is
mended in memory, and the file has to pass without it.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from gbif_webdataset.images.convert import Pixels
from gbif_webdataset.verify.finding import CORRUPT, JFIF_REVISION, PADDING, STRAY_BYTES, TRUNCATED

try:
    import simplejpeg
except ImportError:  # there is no wheel for every machine
    simplejpeg = None

IS_STRICT = simplejpeg is not None  # else Pillow decides, which passes over what libjpeg only warns of
_SCALES = (8, 4, 2)  # as Pillow's draft has them, so that both see the same picture
LEAST = 32  # pixels a side of the small picture, where the image has them

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])", re.DOTALL)  # those with a segment behind them
_REVISION = re.compile(rb"(\xff\xe0..JFIF\0)..", re.DOTALL)
_LIMITS = ("subsampling level", "color conversion")  # what simplejpeg can't do and other decoders may
_SOI, _FRAMES = b"\xff\xd8\xff", (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_FRAME_BYTES, _APPLICATION_BYTES = 10, 18  # the least that the fields which are read take
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_APPLICATION = {0xE0, 0xE2, 0xEE}  # JFIF, colour profiles, Adobe
_PLAIN = {*_FRAMES, 0xC4, 0xDB, 0xDD, 0xFE}  # tables, the restart interval, comments
_START, _SCAN, _END = 2, b"\xda", b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Plain:
    """What the header of a JPEG says: pixels, as stored and as seen, and the mode as Pillow names it."""

    width: int
    height: int
    mode: str


@dataclass(frozen=True, slots=True)
class Look:
    """What is wrong: `error` where the picture suffers, `warning` where it doesn't; and the small grey picture.

    The picture is None where there is an error, and where only Pillow can decode the file.
    """

    error: str = ""
    warning: str = ""
    grey: Pixels | None = None


def look(data: bytes, width: int, height: int) -> Look:
    """Look at a JPEG whose header told its size, which is bearable, in pixels as stored. Needs `IS_STRICT`."""
    warnings: list[str] = []
    scale = next((scale for scale in _SCALES if min(width, height) >= LEAST * scale), 1)
    wide, high = -(-width // scale), -(-height // scale)
    while True:
        try:
            if simplejpeg.decode_jpeg_header(data)[:2] != (height, width):  # it reads this odd header otherwise
                return Look(CORRUPT)
            grey = simplejpeg.decode_jpeg(data, "GRAY", min_height=high, min_width=wide)[:, :, 0]
            return Look("", warnings[0] if warnings else "", grey)
        except ValueError as fault:
            message = str(fault)
        if any(limit in message for limit in _LIMITS):
            return Look("", warnings[0] if warnings else "")
        if "Premature end of JPEG file" in message:
            return Look(TRUNCATED)
        mended = _mended(data, message, warnings)
        if mended is None:
            return Look(CORRUPT)
        data = mended


def plain(data: bytes) -> Plain | None:
    """The header of a JPEG in which nothing stands that Pillow has to make out, such as EXIF; None for any other file.

    Pillow takes longer to open a file than all else but the decoding of a small photo.
    """
    segments, scan = _header(data) if data.startswith(_SOI) else ([], None)
    if scan is None or _START + sum(map(len, segments)) != scan:
        return None
    frames = [segment for segment in segments if segment[1] in _FRAMES]
    if len(frames) != 1 or len(frames[0]) < _FRAME_BYTES or not all(map(_is_plain, segments)):
        return None
    bits, height, width, components = struct.unpack_from(">BHHB", frames[0], 4)
    mode = _MODES.get(components)
    return Plain(width, height, mode) if bits == 8 and width and height and mode else None


def _is_plain(segment: bytes) -> bool:
    """Whether a segment holds no metadata but JFIF's, Adobe's, a colour profile or a comment."""
    marker = segment[1]
    if marker == 0xE2 and not segment.startswith(b"ICC_PROFILE\0", 4):
        return False
    return marker in _PLAIN or (marker in _APPLICATION and len(segment) >= _APPLICATION_BYTES)


def breaks_off(data: bytes) -> bool:
    """Whether a JPEG ends before its first scan begins."""
    return _header(data)[1] is None


def _mended(data: bytes, message: str, warnings: list[str]) -> bytes | None:
    """The file without what libjpeg warns of, whose code joins `warnings`; None where that can't be mended."""
    for pattern, code, mend in _MENDS:
        found = pattern.search(message)
        if found and code not in warnings:
            warnings.append(code)
            return mend(data, found)
    return None


def _header(data: bytes) -> tuple[list[bytes], int | None]:
    """The segments before the first scan, and where that begins; None where the data end before it."""
    segments: list[bytes] = []
    at = _START
    while found := _MARKER.search(data, at):
        if found[1] == _SCAN:
            return segments, found.start()
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
        segments.append(data[found.start() : at])
    return segments, None


def _with_known_revision(data: bytes, _: re.Match[str]) -> bytes:
    """The file with the revision of JFIF that everybody writes."""
    return _REVISION.sub(lambda found: found[1] + b"\1\1", data, count=1)


def _without_padding(data: bytes, message: re.Match[str]) -> bytes | None:
    """The file without the bytes before its end that repeat one value; other bytes are more of another picture."""
    scan = _header(data)[1]
    end = -1 if scan is None else data.find(_END, scan)
    if end < 0:
        return None
    kept = len(data[:end].rstrip(data[end - 1 : end]))
    if data[kept - 1] == 0xFF:
        kept += 1  # the zero that makes it no marker
    return data[:kept] + data[end:] if end - kept >= int(message[1]) else None


def _without_stray_bytes(data: bytes, _: re.Match[str]) -> bytes | None:
    """The file without bytes between the segments of its header."""
    segments, scan = _header(data)
    return None if scan is None else b"".join([data[:_START], *segments, data[scan:]])


_Mend = Callable[[bytes, re.Match[str]], bytes | None]
_MENDS: tuple[tuple[re.Pattern[str], str, _Mend], ...] = (
    (re.compile("JFIF revision"), JFIF_REVISION, _with_known_revision),
    (re.compile("([0-9]+) extraneous bytes before marker 0xd9"), PADDING, _without_padding),
    (re.compile("extraneous bytes before marker"), STRAY_BYTES, _without_stray_bytes),
)
