"""The index of a chunk's packs: a line for each image that was added to a pack or removed from it.

Columns, separated by tabs: path, pack, offset, size, sha256, action, and the CRC-32 of the line before its last tab.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from gbif_webdataset.storage.tar_headers import count_padding, make_header

ADDED, REMOVED = "added", "removed"
TAIL_BYTES = 1 << 16
"""Bytes at the end of an index in which the last image is looked for first."""


class PackedImage(NamedTuple):
    """An image in a pack: its path, the pack, where its bytes begin and how many they are, its SHA-256."""

    path: str
    pack: int
    offset: int
    size: int
    sha256: str

    @property
    def start(self) -> int:
        """Where the member of the tar begins."""
        return self.offset - len(make_header(self.path, self.size))

    @property
    def end(self) -> int:
        """Where the member of the tar ends."""
        return self.offset + self.size + count_padding(self.size)


def format_line(image: PackedImage, action: str) -> bytes:
    """The line of an index."""
    line = f"{image.path}\t{image.pack:03d}\t{image.offset}\t{image.size}\t{image.sha256}\t{action}"
    return f"{line}\t{crc32(line.encode()):08x}\n".encode()


def parse_line(line: bytes) -> tuple[PackedImage, str] | None:
    """The image and the action of a line; None if the line is damaged."""
    text, _, checksum = line.rstrip(b"\n").rpartition(b"\t")
    if line[-1:] != b"\n" or b"%08x" % crc32(text) != checksum:
        return None
    path, pack, offset, size, sha256, action = text.decode().split("\t")
    return PackedImage(path, int(pack), int(offset), int(size), sha256), action


def find_damaged_line(path: Path) -> int | None:
    """The number of the first line of an index that is damaged; None if all lines are intact.

    An incomplete last line, which a killed run may have left, does not count.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line[-10:] != b"\t%08x\n" % crc32(line[:-10]) and line[-1:] == b"\n":
                return number
    return None


class PackIndex:
    """The images that an index lists. `replaced` are those in whose place a later one came, oldest first."""

    def __init__(self) -> None:
        self.images: dict[str, PackedImage] = {}
        self.replaced: dict[str, list[PackedImage]] = {}

    @classmethod
    def load(cls, path: Path, sizes: Mapping[int, int]) -> "PackIndex":
        """The images in an index whose bytes are within their packs, which have these `sizes`.

        Damaged lines do not count, such as an incomplete last line, which a killed run may have left.
        """
        index = cls()
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            for line in file:
                if parsed := parse_line(line):
                    image, action = parsed
                    (index.add if action == ADDED else index.remove)(image)
        for image in list(index.list_all()):
            if image.offset + image.size > sizes.get(image.pack, 0):
                index.remove(image)
        return index

    def add(self, image: PackedImage) -> None:
        """Note an image; an earlier one at its path is replaced."""
        if earlier := self.images.get(image.path):
            self.replaced.setdefault(image.path, []).append(earlier)
        self.images[image.path] = image

    def remove(self, image: PackedImage) -> None:
        """Note that an image was removed."""
        if self.images.get(image.path) == image:
            del self.images[image.path]
        elif image in (replaced := self.replaced.get(image.path, [])):
            replaced.remove(image)
            if not replaced:
                del self.replaced[image.path]

    def find_all(self, path: str) -> list[PackedImage]:
        """The image at a path, and those that it replaced."""
        present = self.images.get(path)
        return [*([present] if present else []), *self.replaced.get(path, [])]

    def list_all(self) -> Iterator[PackedImage]:
        """All images, and those that were replaced."""
        yield from self.images.values()
        for replaced in self.replaced.values():
            yield from replaced


def find_last_image(path: Path) -> PackedImage | None:
    """The image that was added last, even if it was removed: its end is that of its pack. None if there is none."""
    size = path.stat().st_size
    for length in (min(size, TAIL_BYTES), size):
        with path.open("rb") as file:
            file.seek(size - length)
            lines = file.read().splitlines(keepends=True)
        for line in reversed(lines):
            if (parsed := parse_line(line)) and parsed[1] == ADDED:
                return parsed[0]
    return None
