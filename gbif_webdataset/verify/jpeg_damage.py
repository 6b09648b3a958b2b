"""Damage in JPEGs, found in their entropy-coded data, and a small grey picture as a by-product of the search.

libjpeg-turbo reads all of the entropy-coded data at any scale, so decoding to an eighth of the size finds the same
damage as decoding in full. It stops at its first warning. Where the warning is about the header or about padding, no
pixel is lost: the header is normalized and the padding removed in memory, and then the file must decode without a
warning. So what counts as damage depends on the entropy-coded data, not on a list of harmless warnings.
"""

import re
import struct
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
_UNSUPPORTED = ("subsampling level", "color conversion")  # errors of simplejpeg for files that other decoders may read
_TRUNCATED = "Premature end of JPEG file"
_DATA_LOSS = "Corrupt JPEG data"  # how all warnings of libjpeg about entropy-coded data start
_EXTRANEOUS = re.compile("([0-9]+) extraneous bytes before marker 0x([0-9a-f]{2})")
_MAX_REPAIRS = 20  # padding before the end and before each scan of a progressive file
_SOI, _FRAMES = b"\xff\xd8\xff", (0xC0, 0xC1, 0xC2)  # start of image; baseline, extended, progressive
_PROGRESSIVE, _MIN_SCAN_BYTES = 0xC2, 10
_MIN_FRAME_BYTES, _MIN_APPLICATION_BYTES = 10, 18  # the fields that are read
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_APPLICATION_MARKERS = {0xE0, 0xE2, 0xEE}  # JFIF, colour profiles, Adobe
_PLAIN_MARKERS = {*_FRAMES, 0xC4, 0xDB, 0xDD, 0xFE}  # tables, the restart interval, comments
_DECODING_MARKERS = {*_FRAMES, 0xC4, 0xDB, 0xDD}  # tables and the restart interval: what decoding needs
_START, _SCAN, _SEQUENTIAL_SCAN = 2, b"\xda", b"\0\x3f\0"  # parameters of all scans that are not progressive
_ADOBE_BYTES, _ADOBE_TRANSFORMS = 16, {1: (0, 1), 3: (0, 1), 4: (0, 2)}  # by number of components; the last is usual


@dataclass(frozen=True, slots=True)
class PlainHeader:
    """The header of a JPEG: size in pixels, which is the same as stored and as shown, and Pillow's name of the mode."""

    width: int
    height: int
    mode: str
    is_progressive: bool


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
    scale = next((scale for scale in _SCALES if min(width, height) >= MIN_SIDE * scale), 1)
    warning = ""

    min_width, min_height = -(-width // scale), -(-height // scale)
    for _ in range(_MAX_REPAIRS):
        try:
            if simplejpeg.decode_jpeg_header(data)[:2] != (height, width):  # the two decoders read the header otherwise
                return JpegCheck(Defect.CORRUPT_DATA)
            grey = simplejpeg.decode_jpeg(data, "GRAY", min_height=min_height, min_width=min_width)[:, :, 0]
            return JpegCheck("", warning, grey)
        except ValueError as fault:
            message = str(fault)
        if any(text in message for text in _UNSUPPORTED):
            return JpegCheck("", warning)
        if _TRUNCATED in message:
            return JpegCheck(Defect.TRUNCATED)
        warning = warning or _classify_warning(message)
        repaired = _remove_padding(data, message) or _normalize_header(data)
        if repaired == data:
            break
        data = repaired
    # simplejpeg does not distinguish other warnings from errors, but Pillow does.
    return JpegCheck(Defect.CORRUPT_DATA) if _DATA_LOSS in message else JpegCheck("", warning)


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
    is_progressive = frames[0][1] == _PROGRESSIVE
    return PlainHeader(width, height, mode, is_progressive) if bits == 8 and width and height and mode else None


def _is_plain(segment: bytes) -> bool:
    """Whether a segment has no metadata other than JFIF, Adobe, a colour profile or a comment."""
    marker = segment[1]
    if marker == 0xE2 and not segment.startswith(b"ICC_PROFILE\0", 4):
        return False
    return marker in _PLAIN_MARKERS or (marker in _APPLICATION_MARKERS and len(segment) >= _MIN_APPLICATION_BYTES)


def is_cut_in_header(data: bytes) -> bool:
    """Whether a JPEG ends before its first scan starts."""
    return _read_segments(data)[1] is None


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


def _classify_warning(message: str) -> str:
    """The DecoderWarning of libjpeg's first warning about a file without data loss."""
    if "JFIF revision" in message:
        return DecoderWarning.JFIF_REVISION
    extraneous = _EXTRANEOUS.search(message)
    if extraneous:
        return DecoderWarning.PADDING if extraneous[2] == "d9" else DecoderWarning.STRAY_BYTES
    return DecoderWarning.DECODER_WARNING


def _remove_padding(data: bytes, message: str) -> bytes | None:
    """The file without the bytes of one value before a marker that `message` names; None if there are none.

    Bytes of several values are part of another picture.
    """
    extraneous, scan = _EXTRANEOUS.search(message), _read_segments(data)[1]
    if extraneous is None or scan is None:
        return None
    marker = b"\xff" + bytes.fromhex(extraneous[2])
    at = scan + 1
    while (at := data.find(marker, at + 1)) >= 0:
        padding = len(data[:at].rstrip(data[at - 1 : at]))
        if data[padding - 1] == 0xFF:
            padding += 1  # the zero after 0xFF is part of the data: it shows that 0xFF starts no marker
        if at - padding >= int(extraneous[1]):
            return data[:padding] + data[at:]
    return None


def _normalize_header(data: bytes) -> bytes:
    """The file with only those parts of its header that decoding needs, and with usual values in them.

    It has no metadata, no colour profile and no stray bytes. The entropy-coded data are the same.
    """
    segments, scan = _read_segments(data)
    frame = next((segment for segment in segments if segment[1] in _FRAMES), b"")
    if scan is None or len(frame) < _MIN_FRAME_BYTES:
        return data
    header = b"".join(_normalize_segment(segment, components=frame[9]) for segment in segments)
    return data[:_START] + header + _normalize_scans(data[scan:], is_progressive=frame[1] == _PROGRESSIVE)


def _normalize_segment(segment: bytes, components: int) -> bytes:
    """A segment with the usual JFIF revision or Adobe transform; empty if decoding does not need the segment."""
    if segment[1] in _DECODING_MARKERS:
        return segment
    if segment.startswith(b"JFIF\0", 4):
        return segment[:9] + b"\1\1" + segment[11:]
    if segment[1] == 0xEE and segment.startswith(b"Adobe", 4) and len(segment) >= _ADOBE_BYTES:
        transforms = _ADOBE_TRANSFORMS.get(components, (0,))
        transform = segment[15] if segment[15] in transforms else transforms[-1]
        return segment[:15] + bytes([transform]) + segment[16:]
    return b""


def _normalize_scans(scans: bytes, is_progressive: bool) -> bytes:
    """The scans with the only parameters that a sequential JPEG can have; those of a progressive one are kept."""
    if is_progressive:
        return scans
    normalized, at = bytearray(scans), 0
    while (at := scans.find(b"\xff" + _SCAN, at)) >= 0:
        end = at + 2 + int.from_bytes(scans[at + 2 : at + 4])
        if end - at >= _MIN_SCAN_BYTES and end < len(scans):
            normalized[end - 3 : end] = _SEQUENTIAL_SCAN
        at = max(end, at + 2)
    return bytes(normalized)
