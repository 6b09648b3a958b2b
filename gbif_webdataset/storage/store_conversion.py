"""Changes the kind of a chunk's store by copying its images. A process that is killed leaves each in one of both."""

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from gbif_webdataset.storage.chunks import index_name, pack_folder_name
from gbif_webdataset.storage.file_store import FileStore
from gbif_webdataset.storage.image_store import ImageStore, is_packed
from gbif_webdataset.storage.pack_store import PackStore

BATCH_BYTES = 1 << 28
"""Bytes of images that are copied before their files are deleted."""


def convert_store(images: Path, chunk: int, store: ImageStore, stored: Mapping[str, str], own: Collection[str]) -> None:
    """Put the images of a chunk into `store` that the chunk has in a store of the other kind.

    `stored` are the images and their SHA-256, by path. The files of images that are not its `own` belong to another
    chunk and are kept. Old bytes are deleted once the new ones are on the disk.
    """
    if isinstance(store, PackStore):
        _pack_files(images, store, stored, own)
    elif is_packed(images, chunk):
        _unpack_images(images, chunk, own)


def _pack_files(images: Path, store: PackStore, stored: Mapping[str, str], own: Collection[str]) -> None:
    files = FileStore(images)
    folders = {path.name for path in images.iterdir()} if images.exists() else set()
    in_folders = [path for path in stored if path.partition("/")[0] in folders]  # a network file system is asked once
    for batch in _make_batches(files, in_folders):
        with store.writing():
            for path in batch:
                data = files.read(path)
                digest, packed = hashlib.sha256(data).hexdigest(), store.index.images.get(path)
                if packed is None or packed.sha256 not in (digest, stored[path]):
                    store.put_bytes(path, data)
        files.delete(path for path in batch if path in own)
        for folder in {(images / path).parent for path in batch}:
            with contextlib.suppress(OSError):  # images of other chunks are in the folder
                folder.rmdir()


def _make_batches(files: FileStore, image_paths: Iterable[str]) -> Iterator[list[str]]:
    """The images that have files, in batches of about BATCH_BYTES."""
    batch: list[str] = []
    length = 0
    for path in image_paths:
        size = files.size(path)
        if size is not None:
            batch.append(path)
            length += size
            if length >= BATCH_BYTES:
                yield batch
                batch, length = [], 0
    if batch:
        yield batch


def _unpack_images(images: Path, chunk: int, own: Collection[str]) -> None:
    store, files = PackStore(images, chunk), FileStore(images)
    with store.writing():
        by_pack: dict[int, list[str]] = {pack: [] for pack in store.files.list_packs()}
        for path, image in store.index.images.items():
            by_pack.get(image.pack, []).append(path)
        for pack, paths in by_pack.items():
            for path in (paths[position] for position in store.sort(paths)):
                # An image of another chunk may be here as well; that chunk decides about the bytes of its file.
                if path in own or files.size(path) is None:
                    with files.new_file(path) as file:
                        file.write(store.read(path))
                        files.put(path, file, "")
            os.sync()
            store.writer.delete_pack(pack)
    (images / index_name(chunk)).unlink()
    with contextlib.suppress(OSError):  # a folder that is not empty is left to the user
        (images / pack_folder_name(chunk)).rmdir()
