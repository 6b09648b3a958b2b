"""A CMYK profile (ICC) whose cyan is red, so that a test sees whether an image was converted with it."""

import struct
from itertools import product

PAPER = (255, 128, 128)  # L*a*b* as a byte each
RED = (128, 192, 170)
BLACK = (0, 128, 128)


def profile() -> bytes:
    """A CMYK profile, version 2.4, with one table of colours (ICC.1:2001-04, 6.5.8: lut8Type)."""
    tags = {b"desc": _description(), b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": _white(), b"A2B0": _table()}
    at, index, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        index += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    content = struct.pack(">I", len(tags)) + index + body
    return _header(128 + len(content)) + content


def _header(size: int) -> bytes:
    date = struct.pack(">6H", 2024, 1, 1, 0, 0, 0)
    white = b"".join(_fixed(value) for value in (0.9642, 1.0, 0.8249))
    parts = struct.pack(">I4sI", size, b"", 0x02400000), b"prtrCMYKLab ", date, b"acsp", bytes(28), white
    return b"".join(parts).ljust(128, b"\0")


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65_536))


def _description() -> bytes:
    return b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67)


def _white() -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(value) for value in (0.9642, 1.0, 0.8249))


def _table() -> bytes:
    straight = bytes(range(256))
    identity = b"".join(_fixed(float(row == column)) for row in range(3) for column in range(3))
    nodes = {(0, 0, 0, 0): PAPER, (1, 0, 0, 0): RED}
    colours = b"".join(bytes(nodes.get(node, BLACK)) for node in product((0, 1), repeat=4))
    return b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + 4 * straight + colours + 3 * straight
