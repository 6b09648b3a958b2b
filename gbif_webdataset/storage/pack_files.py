"""The packs of a chunk: plain tar files that grow at their end, each with many images."""

import contextlib
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gbif_webdataset.storage.atomic import sync
from gbif_webdataset.storage.pack_index import PackedImage
from gbif_webdataset.storage.tar_headers import count_padding, make_header

END = bytes(2 * tarfile.BLOCKSIZE)
"""The end of a tar."""
DELETED = "__deleted__"
"""The name of a member whose bytes were overwritten; webdataset skips such names."""
ZEROS = bytes(1 << 20)


class PackFiles:
    """The packs 000.tar, 001.tar, ... in a folder, each of at most `pack_bytes` bytes unless one image has more.

    Threads may read; one thread at a time may write, after `begin`.
    """

    def __init__(self, folder: Path, pack_bytes: int) -> None:
        self._folder, self._pack_bytes = folder, pack_bytes
        self._handles: dict[int, int] = {}
        self._mode = os.O_RDONLY
        self._lock = threading.Lock()
        self._pack, self._end = 0, 0  # where the next member begins
        self._unsynced: set[int] = set()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the files of the packs; they are opened again when they are needed."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def path(self, pack: int) -> Path:
        """The path of a pack."""
        return self._folder / f"{pack:03d}.tar"

    def list_packs(self) -> dict[int, int]:
        """The size of each pack, by its number."""
        found = {path.stem: path.stat().st_size for path in self._folder.glob("*.tar")}
        return {int(name): size for name, size in sorted(found.items()) if name.isdecimal()}

    def measure(self, pack: int) -> int:
        """The bytes that the members of a pack take, deleted ones included."""
        return self._end if pack == self._pack else max(0, self.path(pack).stat().st_size - len(END))

    def read(self, image: PackedImage) -> bytes:
        """The bytes of an image; fewer if the pack ends before. Raises FileNotFoundError if there is no such pack."""
        return os.pread(self._open(image.pack), image.size, image.offset)

    def begin(self, last: PackedImage | None) -> None:
        """Prepare to append after the image that was added last: cut off what a killed run left after it."""
        self.close()
        self._mode = os.O_RDWR
        sizes = self.list_packs()
        self._pack, self._end = (last.pack, last.end) if last else (0, 0)
        for pack in sizes:
            if pack > self._pack or (last is None and pack == 0):
                self.delete(pack)
        if last and sizes.get(self._pack, 0) >= self._end:
            os.truncate(self.path(self._pack), self._end)
        elif last:  # the pack was deleted, or has lost its end
            self.start_pack()

    def leave_pack(self, pack: int) -> None:
        """Append no further image to a pack."""
        if pack == self._pack:
            self.start_pack()

    def start_pack(self) -> None:
        """Let the next image be the first one of a new pack."""
        self._pack, self._end = self._pack + 1, 0

    def append(self, image_path: str, data: bytes, sha256: str) -> PackedImage:
        """Write an image to the end of the last pack, or to a new one if it is full."""
        header, padding = make_header(image_path, len(data)), bytes(count_padding(len(data)))
        length = len(header) + len(data) + len(padding)
        if self._end and self._end + length + len(END) > self._pack_bytes:
            self._write_end()
            self.start_pack()
        self._write(self._pack, self._end, [header, data, padding])
        image = PackedImage(image_path, self._pack, self._end + len(header), len(data), sha256)
        self._end += length
        return image

    def take_back(self, image: PackedImage) -> None:
        """Cut off an image that was appended last, because it cannot be listed."""
        self._end = image.start
        os.ftruncate(self._open(image.pack), self._end)

    def erase(self, image: PackedImage) -> None:
        """Overwrite the member of an image, name and bytes; readers of the tar find a member DELETED in its place."""
        if not self.path(image.pack).exists():
            return
        header = make_header(DELETED, image.end - image.start - tarfile.BLOCKSIZE)
        self._write(image.pack, image.start, [header])
        for offset in range(image.start + len(header), image.end, len(ZEROS)):
            self._write(image.pack, offset, [ZEROS[: image.end - offset]])

    def delete(self, pack: int) -> None:
        """Delete a pack."""
        if pack in self._handles:
            os.close(self._handles.pop(pack))
        self._unsynced.discard(pack)
        self.path(pack).unlink(missing_ok=True)

    def sync(self) -> None:
        """Write what was written to the disk."""
        for pack in sorted(self._unsynced):
            os.fsync(self._handles[pack])
        if self._unsynced:
            sync(self._folder)
        self._unsynced.clear()

    def finish(self) -> None:
        """Write the end of the last pack, and everything to the disk."""
        if self._end and self.path(self._pack).exists():
            self._write_end()
        self.sync()

    def _write_end(self) -> None:
        self._write(self._pack, self._end, [END])

    def _write(self, pack: int, offset: int, pieces: list[bytes]) -> None:
        handle = self._open(pack, os.O_CREAT)
        self._unsynced.add(pack)
        length = sum(map(len, pieces))
        written = os.pwritev(handle, pieces, offset)
        if written < length:  # a large image, or a disk that is nearly full
            left = b"".join(pieces)
            while written < length:
                written += os.pwrite(handle, left[written:], offset + written)

    def _open(self, pack: int, flags: int = 0) -> int:
        with self._lock:
            if pack not in self._handles:
                self._handles[pack] = os.open(self.path(pack), self._mode | flags, 0o666)
            return self._handles[pack]


class Span(NamedTuple):
    """A member of a pack as its headers describe it: its name, where it starts and ends, where its bytes are."""

    name: str
    start: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where the member ends."""
        return self.offset + self.size + count_padding(self.size)

    @property
    def is_deleted(self) -> bool:
        """Whether its bytes were overwritten."""
        return self.name == DELETED


def scan_spans(pack: Path, start: int = 0) -> Iterator[Span]:
    """The whole members of a pack from the position `start`, up to the first header that is damaged."""
    size = pack.stat().st_size
    with contextlib.suppress(tarfile.TarError), pack.open("rb") as file:
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would remember them all
                if member.offset_data + member.size <= size:
                    yield Span(member.name, member.offset, member.offset_data, member.size)
