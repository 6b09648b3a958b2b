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
