"""Ways in which the files of a dataset are damaged, each from a seed."""

import random
from collections.abc import Sequence
from pathlib import Path

FLIPPED, TRUNCATED, ZEROED, REMOVED, SWAPPED = DAMAGES = ("flipped", "truncated", "zeroed", "removed", "swapped")


def damage_file(path: Path, damage: str, rng: random.Random) -> None:
    """Flip a bit of a file, cut it, overwrite it with zeros, or remove it."""
    data = path.read_bytes()
    if damage == FLIPPED:
        at = rng.choice([at for at, byte in enumerate(data) if not chr(byte).isspace()])
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
    elif damage == TRUNCATED:
        path.write_bytes(data[: rng.randrange(len(data))])
    elif damage == ZEROED:
        path.write_bytes(bytes(len(data)))
    else:
        path.unlink()


def swap_files(one: Path, other: Path) -> None:
    """Give two files the bytes of each other."""
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def pick_other(path: Path, candidates: Sequence[Path], rng: random.Random) -> Path:
    """A file with other bytes than `path`."""
    return rng.choice([other for other in candidates if other.read_bytes() != path.read_bytes()])


GARBAGE, NOT_UTF8, NEWER, FOLDER, EMPTY = "garbage", "not UTF-8", "newer", "a folder", "empty"
CONTENTS = (EMPTY, TRUNCATED, ZEROED, GARBAGE, NOT_UTF8, NEWER, FOLDER)


def replace_content(path: Path, damage: str) -> None:
    """Give a file a content that the program never wrote, or put a folder in its place."""
    data = path.read_bytes() if path.exists() else b""
    if damage == FOLDER:
        path.unlink(missing_ok=True)
        path.mkdir()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        {
            EMPTY: b"",
            TRUNCATED: data[: len(data) // 2],
            ZEROED: bytes(len(data)),
            GARBAGE: random.Random(len(data)).randbytes(len(data)),
            NOT_UTF8: b"\xff\xfe\x80" + data[3:],
            NEWER: _make_newer(path, data),
        }[damage]
    )


def _make_newer(path: Path, data: bytes) -> bytes:
    """The file as a later version might write it, with more columns or values, and a higher format."""
    if path.suffix == ".json":
        return data.replace(b"{", b'{"format": 99, "schema": 7, ', 1)
    if path.suffix in (".journal", ".attempts"):
        return data.replace(b"]", b', {"schema": 7}]')
    if path.suffix == ".csv":
        return b"schema_7," + data.replace(b"\n", b"\nx,")
    return b"PAR2" + data[4:-4] + b"PAR2"
