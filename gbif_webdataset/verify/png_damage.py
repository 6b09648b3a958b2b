"""Whether a PNG is whole: its chunks' checksums, which Pillow passes over where the pixels are."""

import struct
import zlib

from gbif_webdataset.verify.finding import CORRUPT, TRUNCATED

_SIGNATURE_BYTES = 8
_ANCILLARY = 0x20  # set in the first letter of a chunk that decoders may leave out (PNG, third edition, 5.4)


def fault_of(data: bytes) -> str:
    """TRUNCATED where a PNG ends before its last chunk does, CORRUPT where a critical chunk is damaged, else empty."""
    view, at = memoryview(data), _SIGNATURE_BYTES
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        checksum = struct.unpack_from(">I", data, end - 4)[0]
        if not kind[0] & _ANCILLARY and zlib.crc32(view[at + 4 : end - 4]) != checksum:
            return CORRUPT
        if kind == b"IEND":
            return ""
        at = end
    return TRUNCATED
