"""A store that keeps the images of a chunk in a few large files: packs and their index."""

import contextlib
import hashlib
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self, cast

from gbif_webdataset.storage.atomic import sync
from gbif_webdataset.storage.chunks import index_name, list_packed_chunks, pack_folder_name
from gbif_webdataset.storage.index_file import IndexFile
from gbif_webdataset.storage.pack_files import PackFiles, scan_spans
from gbif_webdataset.storage.pack_index import PackedImage, PackIndex, find_damaged_line, find_last_image
from gbif_webdataset.storage.pack_writer import PackWriter, restore_index

PACK_BYTES = 2_000_000_000
"""The usual limit on the size of a pack."""
MAX_MEMORY_BYTES = 1 << 22
"""Bytes of an image that is being downloaded in memory; a larger one has a temporary file without a name."""


class PackStore:
    """The images of a chunk in images/chunk-NNNNN/000.tar, ..., listed in images/chunk-NNNNN.idx.

    The index decides which images exist. Images are changed within `writing` only.
    """

    def __init__(self, images: Path, chunk: int, pack_bytes: int = PACK_BYTES) -> None:
        self._folder = images / pack_folder_name(chunk)
        self.files = PackFiles(self._folder, pack_bytes)
        self._index_file = IndexFile(images / index_name(chunk), self.files.list_packs)
        self.writer = PackWriter(self.files, self._index_file)
        self._is_prepared = False
        self._staged: list[tuple[str, PackedImage]] = []
        self._lock = threading.RLock()

    @property
    def index(self) -> PackIndex:
        """What the index lists."""
        with self._lock:
            return self._index_file.content

    def forget_index(self) -> None:
        """Free the memory of the index; it is read again when it is needed."""
        self._index_file.forget()

    def size(self, image_path: str) -> int | None:
        """The size of an image in bytes; None if the index does not list it."""
        image = self.index.images.get(image_path)
        return image.size if image else None

    def read(self, image_path: str) -> bytes:
        """The bytes of an image. Raises FileNotFoundError."""
        image = self.index.images.get(image_path)
        if image is None:
            raise FileNotFoundError(image_path)
        return self.files.read(image)

    def sort(self, image_paths: Sequence[str]) -> list[int]:
        """The positions of the paths in the order of their images in the packs."""
        images = self.index.images
        places = [(image.pack, image.offset) if (image := images.get(path)) else (-1, 0) for path in image_paths]
        return sorted(range(len(places)), key=places.__getitem__)

    def list_paths(self) -> Iterator[str]:
        """The paths of all images."""
        yield from self.index.images

    @contextlib.contextmanager
    def writing(self) -> Iterator[Self]:
        """Allow this process to write. At the end everything is on the disk, and each pack is a whole tar.

        Raises:
            BusyError: another process is writing.
        """
        is_new = not (self._folder.exists() and self._index_file.path.exists())
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._is_prepared:
            self.restore_index()
        with self._index_file.writing():
            if is_new:
                sync(self._folder.parent)
                sync(self._folder.parent.parent)
            if not self._is_prepared:
                self.files.begin(find_last_image(self._index_file.path))
                self._is_prepared = True
            try:
                yield self
            finally:
                self.files.finish()
                self.files.close()
                self._index_file.sync()

    @contextlib.contextmanager
    def new_file(self, image_path: str) -> Iterator[BinaryIO]:
        """An empty file in memory or, if it gets large, on the disk."""
        with tempfile.SpooledTemporaryFile(MAX_MEMORY_BYTES, dir=str(self._folder)) as file:
            yield cast(BinaryIO, file)

    def put(self, image_path: str, file: BinaryIO, sha256: str) -> None:
        """Append the bytes of a file to the last pack."""
        file.seek(0)
        data = file.read()
        with self._lock:
            self.writer.add(image_path, data, sha256)

    def put_bytes(self, image_path: str, data: bytes) -> None:
        """Append the bytes of an image to the last pack."""
        self.writer.add(image_path, data, hashlib.sha256(data).hexdigest())

    def stage_copy(self, source: str, target: str, sha256: str) -> bool:
        """Note that an image will be copied to another path; False if its bytes do not have this SHA-256.

        In a run that was killed while images changed places, an image that was replaced may have the only copy.
        """
        for image in self.index.find_all(source):
            if image.sha256 == sha256 and hashlib.sha256(self.files.read(image)).hexdigest() == sha256:
                self._staged.append((target, image))
                return True
        return False

    def finish_copies(self) -> Iterator[str]:
        """Append the copies. The bytes of images that are replaced are there until `tidy`."""
        for target, image in self._staged:
            self.writer.add(target, self.files.read(image), image.sha256)
            yield target
        self._staged.clear()

    def delete(self, image_paths: Iterable[str]) -> None:
        """Overwrite the bytes of images, and then remove them from the index."""
        self.writer.erase([image for path in image_paths for image in self.index.find_all(path)])

    def discard(self, image_paths: Iterable[str]) -> None:
        """Remove images; a pack that loses all its images is deleted."""
        self.writer.discard(image_paths)

    def tidy(self) -> None:
        """Overwrite images that were replaced, and write packs again of which a quarter is deleted."""
        self.writer.tidy()

    def restore_index(self) -> None:
        """Write the index again if lines are damaged, or if it lacks images that the packs have.

        Raises:
            BusyError: another process is writing.
        """
        if self.is_index_damaged():
            with self._index_file.writing():  # another process must not write meanwhile
                restore_index(self.files, self._index_file)

    def is_index_damaged(self) -> bool:
        """Whether lines of the index are damaged, or lines of images in the packs are missing.

        A run that is killed leaves at most one image without a line, except for lines that never reached the disk.
        """
        packs, path = self.files.list_packs(), self._index_file.path
        if not path.exists() or find_damaged_line(path) is not None:
            return bool(packs) or path.exists()
        last = find_last_image(path)
        unlisted = 0
        for pack in packs:
            if last is None or pack >= last.pack:
                start = last.end if last and pack == last.pack else 0
                unlisted += sum(not span.is_deleted for span in scan_spans(self.files.path(pack), start))
        return unlisted > (0 if last is None else 1)


def restore_indexes(images: Path, chunks: Iterable[int] | None = None) -> None:
    """Write the indexes of these chunks, or of all, again if they are damaged, or missing beside packs.

    Raises:
        BusyError: another process is writing images of such a chunk.
    """
    for chunk in list_packed_chunks(images) if chunks is None else chunks:
        PackStore(images, chunk).restore_index()
