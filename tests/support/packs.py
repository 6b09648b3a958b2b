"""Images in packs, and the bytes of all files of a folder."""

import random
import tarfile
from collections.abc import Mapping
from pathlib import Path

from gbif_webdataset.storage.pack_store import PACK_BYTES, PackStore

SMALL = 20_000  # bytes of a pack
CHUNK = 7


def bytes_of(name: str, size: int = 1_000) -> bytes:
    """Bytes that occur nowhere else."""
    return random.Random(name).randbytes(size)


def pack_images(images: Path, chunk: int, contents: Mapping[str, bytes], pack_bytes: int = PACK_BYTES) -> None:
    """Add images to the packs of a chunk; `contents` has their bytes by path."""
    with PackStore(images, chunk, pack_bytes).writing() as store:
        for path, data in contents.items():
            store.put_bytes(path, data)


def fill_packs(images: Path, names: str) -> dict[str, bytes]:
    """Add images with these letters as names to small packs of CHUNK; their bytes by path."""
    made = {f"d/{name}.jpg": bytes_of(name) for name in names}
    pack_images(images, CHUNK, made, SMALL)
    return made


def read_packed(images: Path, chunk: int = CHUNK) -> dict[str, bytes]:
    """The images in the packs of a chunk."""
    store = PackStore(images, chunk)
    return {path: store.read(path) for path in store.list_paths()}


def read_files(folder: Path) -> bytes:
    """The bytes of all files, one after another."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def list_packs(images: Path) -> list[str]:
    """The names of the packs of CHUNK."""
    return sorted(path.name for path in (images / "chunk-00007").iterdir())


def list_members(pack: Path) -> list[str]:
    """The names in a tar."""
    with tarfile.open(pack) as tar:
        return tar.getnames()
