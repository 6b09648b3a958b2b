"""The first directory of a TIFF: how its pixels are compressed, and whether they are all in the file."""

import struct
from dataclasses import dataclass

COMPRESSION, STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 259, 273, 279, 324, 325
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_DECODED = {1, 2, 3, 4, 5, 7, 8, 32_773, 32_946}  # compressions that every Pillow decodes
_DEFAULT_COMPRESSION = 1


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    at: int

    @property
    def bytes(self) -> int:
        return _TYPE_BYTES.get(self.kind, 1) * self.count


class TiffDirectory:
    """The entries of a TIFF's first directory.

    Raises:
        struct.error: the file ends before the directory ends.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._order = data, "<" if data[:2] == b"II" else ">"
        is_big = data[2:4] in (b"+\0", b"\0+")
        offset = self._unpack("Q" if is_big else "I", 8 if is_big else 4)
        number_bytes, entry_bytes, word = (8, 20, "Q") if is_big else (2, 12, "I")
        number = self._unpack("Q" if is_big else "H", offset)
        self._entries: dict[int, _Entry] = {}
        for at in range(offset + number_bytes, offset + number_bytes + min(number, 1 << 16) * entry_bytes, entry_bytes):
            tag, kind, count = self._unpack("H", at), self._unpack("H", at + 2), self._unpack(word, at + 4)
            value_at = at + (12 if is_big else 8)
            size = _TYPE_BYTES.get(kind, 1) * count
            is_inline = size <= (8 if is_big else 4)
            self._entries[tag] = _Entry(kind, count, value_at if is_inline else self._unpack(word, value_at))

    @property
    def tiles(self) -> int:
        """The number of tiles or strips."""
        return max(self._entries[tag].count for tag in (STRIP_OFFSETS, TILE_OFFSETS) if tag in self._entries)

    @property
    def metadata_bytes(self) -> int:
        """The bytes of all entries other than the positions and sizes of tiles."""
        positions = {STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES}
        return sum(entry.bytes for tag, entry in self._entries.items() if tag not in positions)

    @property
    def has_usual_compression(self) -> bool:
        """Whether every Pillow decodes the compression."""
        return (self._read(COMPRESSION) or [_DEFAULT_COMPRESSION])[0] in _DECODED

    @property
    def is_whole(self) -> bool:
        """Whether the file has all tiles or strips."""
        for offsets, sizes in ((STRIP_OFFSETS, STRIP_BYTES), (TILE_OFFSETS, TILE_BYTES)):
            if offsets in self._entries:
                ends = [at + size for at, size in zip(self._read(offsets), self._read(sizes), strict=False)]
                return bool(ends) and max(ends) <= len(self._data)
        return False

    def _read(self, tag: int) -> list[int]:
        entry = self._entries.get(tag)
        if entry is None or entry.kind not in _INTEGERS:
            return []
        return list(self._unpack_all(f"{entry.count}{_INTEGERS[entry.kind]}", entry.at))

    def _unpack(self, code: str, at: int) -> int:
        return int(self._unpack_all(code, at)[0])

    def _unpack_all(self, code: str, at: int) -> tuple[int, ...]:
        if at > len(self._data):  # unpack_from raises OverflowError for positions from 2**63
            raise struct.error("the position is beyond the end of the file")
        return struct.unpack_from(f"{self._order}{code}", self._data, at)
