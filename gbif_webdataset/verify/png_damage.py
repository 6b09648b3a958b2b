"""Damage in PNGs: the checksums of their chunks, which Pillow does not check for the chunks with the pixels."""

import struct
import zlib

from gbif_webdataset.terms.outcomes import Defect

_SIGNATURE_BYTES = 8
_ANCILLARY_BIT = 0x20  # in the first letter of the names of chunks that decoders may skip (PNG, third edition, 5.4)


def check_png(data: bytes) -> str:
    """TRUNCATED if a PNG ends before its last chunk ends, CORRUPT_DATA if a critical chunk is damaged, else empty."""
    view, at = memoryview(data), _SIGNATURE_BYTES
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        checksum = struct.unpack_from(">I", data, end - 4)[0]
        if not kind[0] & _ANCILLARY_BIT and zlib.crc32(view[at + 4 : end - 4]) != checksum:
            return Defect.CORRUPT_DATA
        if kind == b"IEND":
            return ""
        at = end
    return Defect.TRUNCATED
