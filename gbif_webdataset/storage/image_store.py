"""The store of a chunk's images. No stage knows which kind of store a dataset has."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from gbif_webdataset.storage.chunks import index_name, list_packed_chunks, pack_folder_name
from gbif_webdataset.storage.file_store import FileStore
from gbif_webdataset.storage.pack_store import PackStore

KINDS = FILES, PACKED, KEEP = "files", "packed", "keep"
"""What users choose: one file for each image, packs, or what the dataset has; a new dataset gets files."""


class ImageStore(Protocol):
    """The images of a chunk, by their paths below images/. Threads may share a store.

    `put`, `stage_copy`, `finish_copies`, `delete`, `discard` and `tidy` are called within `writing`.
    """

    def size(self, image_path: str) -> int | None:
        """The size of an image in bytes; None if the store does not have it."""

    def read(self, image_path: str) -> bytes:
        """The bytes of an image. Raises FileNotFoundError if the store does not have it."""

    def sort(self, image_paths: Sequence[str]) -> list[int]:
        """The positions of the paths in the order in which their images are read fastest."""

    def list_paths(self) -> Iterator[str]:
        """The paths of all images."""

    def writing(self) -> AbstractContextManager[Any]:
        """A context in which this process may change the store. Raises BusyError if another process may."""

    def new_file(self, image_path: str) -> AbstractContextManager[BinaryIO]:
        """An empty file for the bytes of an image, which is gone at the end of the context."""

    def put(self, image_path: str, file: BinaryIO, sha256: str) -> None:
        """Store the bytes of a file of `new_file`, in place of those that the image had."""

    def stage_copy(self, source: str, target: str, sha256: str) -> bool:
        """Prepare to copy an image to another path; False if its bytes do not have this SHA-256."""

    def finish_copies(self) -> Iterator[str]:
        """Complete the copies that were prepared; the path of each, once the image is there."""

    def delete(self, image_paths: Iterable[str]) -> None:
        """Delete images, so that no file has their bytes."""

    def discard(self, image_paths: Iterable[str]) -> None:
        """Remove images to free their space; other images may be copied, but no bytes are overwritten."""

    def tidy(self) -> None:
        """Free the space of images that were deleted or replaced."""


def is_packed(images: Path, chunk: int) -> bool:
    """Whether the images of a chunk are in packs."""
    return (images / index_name(chunk)).exists() or any((images / pack_folder_name(chunk)).glob("[0-9]*.tar"))


def choose_kind(images: Path, requested: str) -> str:
    """FILES or PACKED for a dataset: the requested kind or, with KEEP, PACKED if a chunk is packed."""
    if requested != KEEP:
        return requested
    return PACKED if list_packed_chunks(images) else FILES


def choose_chunk_kind(images: Path, chunk: int, requested: str, stored: Iterable[str]) -> str:
    """FILES or PACKED for a chunk: the requested kind or, with KEEP, what it has; a new chunk gets the dataset's.

    `stored` are the paths of the images that the chunk downloaded.
    """
    if requested != KEEP or is_packed(images, chunk):
        return PACKED if requested == KEEP else requested
    files = FileStore(images)
    return FILES if any(files.size(path) is not None for path in stored) else choose_kind(images, KEEP)


def open_store(images: Path, chunk: int) -> ImageStore:
    """The store that a chunk has."""
    return PackStore(images, chunk) if is_packed(images, chunk) else FileStore(images)


def create_store(images: Path, chunk: int, kind: str, pack_bytes: int) -> ImageStore:
    """The store of this kind for a chunk."""
    return PackStore(images, chunk, pack_bytes) if kind == PACKED else FileStore(images)
