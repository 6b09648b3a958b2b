"""Damage in JPEGs, found in their entropy-coded data, and a small grey picture as a by-product of the search.

libjpeg-turbo reads all of the entropy-coded data at any scale, so decoding to an eighth of the size finds the same
damage as decoding in full. Its warnings count as errors, except for three kinds of irregularities that every viewer
shows correctly: such an irregularity is removed in memory, and the repaired file must decode without a warning.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from gbif_webdataset.images.convert import Pixels
from gbif_webdataset.terms.outcomes import DecoderWarning, Defect

try:
    import simplejpeg
except ImportError:  # simplejpeg has no wheel for some machines
    simplejpeg = None

HAS_SIMPLEJPEG = simplejpeg is not None
"""Whether `check_jpeg` can be used. Pillow, the alternative, ignores what libjpeg only warns about."""
MIN_SIDE = 32
"""Minimum length of the sides of the small grey picture, in pixels, unless the image itself is smaller."""

_SCALES = (8, 4, 2)  # the divisors that Pillow's draft() uses, so that both decoders give the same picture
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])", re.DOTALL)  # markers that start a segment
_REVISION = re.compile(rb"(\xff\xe0..JFIF\0)..", re.DOTALL)
_UNSUPPORTED = ("subsampling level", "color conversion")  # errors of simplejpeg for files that other decoders may read
_SOI, _FRAMES = b"\xff\xd8\xff", (0xC0, 0xC1, 0xC2)  # start of image; baseline, extended, progressive
_MIN_FRAME_BYTES, _MIN_APPLICATION_BYTES = 10, 18  # the fields that are read
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_APPLICATION_MARKERS = {0xE0, 0xE2, 0xEE}  # JFIF, colour profiles, Adobe
_PLAIN_MARKERS = {*_FRAMES, 0xC4, 0xDB, 0xDD, 0xFE}  # tables, the restart interval, comments
_START, _SCAN, _END = 2, b"\xda", b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class PlainHeader:
    """The header of a JPEG: size in pixels, which is the same as stored and as shown, and Pillow's name of the mode."""

    width: int
    height: int
    mode: str


@dataclass(frozen=True, slots=True)
class JpegCheck:
    """The result of checking a JPEG: `error` for damage, `warning` for an irregularity, and a small grey picture.

    The picture is None for a damaged file and for a file that only Pillow can decode.
    """

    error: str = ""
    warning: str = ""
    grey: Pixels | None = None


def check_jpeg(data: bytes, width: int, height: int) -> JpegCheck:
    """Decode a JPEG whose header gives `width` x `height` pixels as stored. It needs HAS_SIMPLEJPEG.

    The caller must have checked that so many pixels can be decoded.
    """
    warnings: list[str] = []
    scale = next((scale for scale in _SCALES if min(width, height) >= MIN_SIDE * scale), 1)
    min_width, min_height = -(-width // scale), -(-height // scale)
    while True:
        try:
            if simplejpeg.decode_jpeg_header(data)[:2] != (height, width):  # the two decoders read the header otherwise
                return JpegCheck(Defect.CORRUPT_DATA)
            grey = simplejpeg.decode_jpeg(data, "GRAY", min_height=min_height, min_width=min_width)[:, :, 0]
            return JpegCheck("", warnings[0] if warnings else "", grey)
        except ValueError as fault:
            message = str(fault)
        if any(text in message for text in _UNSUPPORTED):
            return JpegCheck("", warnings[0] if warnings else "")
        if "Premature end of JPEG file" in message:
            return JpegCheck(Defect.TRUNCATED)
        repaired = _repair(data, message, warnings)
        if repaired is None:
            return JpegCheck(Defect.CORRUPT_DATA)
        data = repaired


def read_plain_header(data: bytes) -> PlainHeader | None:
    """The header of a JPEG without metadata that Pillow would have to interpret, such as EXIF; None for other files.

    Pillow is slow here: for a small photo, its opening takes longer than everything else but decoding.
    """
    segments, scan = _read_segments(data) if data.startswith(_SOI) else ([], None)
    if scan is None or _START + sum(map(len, segments)) != scan:
        return None
    frames = [segment for segment in segments if segment[1] in _FRAMES]
    if len(frames) != 1 or len(frames[0]) < _MIN_FRAME_BYTES or not all(map(_is_plain, segments)):
        return None
    bits, height, width, components = struct.unpack_from(">BHHB", frames[0], 4)
    mode = _MODES.get(components)
    return PlainHeader(width, height, mode) if bits == 8 and width and height and mode else None


def _is_plain(segment: bytes) -> bool:
    """Whether a segment has no metadata other than JFIF, Adobe, a colour profile or a comment."""
    marker = segment[1]
    if marker == 0xE2 and not segment.startswith(b"ICC_PROFILE\0", 4):
        return False
    return marker in _PLAIN_MARKERS or (marker in _APPLICATION_MARKERS and len(segment) >= _MIN_APPLICATION_BYTES)


def is_cut_in_header(data: bytes) -> bool:
    """Whether a JPEG ends before its first scan starts."""
    return _read_segments(data)[1] is None


def _repair(data: bytes, message: str, warnings: list[str]) -> bytes | None:
    """The file without the irregularity that libjpeg warns about; its code is added to `warnings`. None for damage."""
    for pattern, code, remove in _REPAIRS:
        found = pattern.search(message)
        if found and code not in warnings:
            warnings.append(code)
            return remove(data, found)
    return None


def _read_segments(data: bytes) -> tuple[list[bytes], int | None]:
    """The segments before the first scan, and the position of the scan; None if the file ends before it."""
    segments: list[bytes] = []
    at = _START
    while found := _MARKER.search(data, at):
        if found[1] == _SCAN:
            return segments, found.start()
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
        segments.append(data[found.start() : at])
    return segments, None


def _set_usual_revision(data: bytes, _: re.Match[str]) -> bytes:
    """The file with the usual JFIF revision, 1.01."""
    return _REVISION.sub(lambda found: found[1] + b"\1\1", data, count=1)


def _remove_padding(data: bytes, message: re.Match[str]) -> bytes | None:
    """The file without the bytes of one value before its end. Bytes of several values are part of another picture."""
    scan = _read_segments(data)[1]
    end = -1 if scan is None else data.find(_END, scan)
    if end < 0:
        return None
    padding = len(data[:end].rstrip(data[end - 1 : end]))
    if data[padding - 1] == 0xFF:
        padding += 1  # the zero after 0xFF is part of the data: it shows that 0xFF starts no marker
    return data[:padding] + data[end:] if end - padding >= int(message[1]) else None


def _remove_stray_bytes(data: bytes, _: re.Match[str]) -> bytes | None:
    """The file without bytes between the segments of its header."""
    segments, scan = _read_segments(data)
    return None if scan is None else b"".join([data[:_START], *segments, data[scan:]])


_Removal = Callable[[bytes, re.Match[str]], bytes | None]
_REPAIRS: tuple[tuple[re.Pattern[str], str, _Removal], ...] = (
    (re.compile("JFIF revision"), DecoderWarning.JFIF_REVISION, _set_usual_revision),
    (re.compile("([0-9]+) extraneous bytes before marker 0xd9"), DecoderWarning.PADDING, _remove_padding),
    (re.compile("extraneous bytes before marker"), DecoderWarning.STRAY_BYTES, _remove_stray_bytes),
)
