"""Delete images of all chunks of a dataset, whichever stores they have."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from gbif_webdataset.storage.chunks import list_packed_chunks
from gbif_webdataset.storage.file_store import FileStore
from gbif_webdataset.storage.pack_files import END
from gbif_webdataset.storage.pack_places import find_ends, find_places
from gbif_webdataset.storage.pack_store import PackStore
from gbif_webdataset.storage.tar_headers import count_padding


def delete_from_stores(images: Path, image_paths: Sequence[str], pack_bytes: int) -> None:
    """Delete images of all chunks, so that no file has their bytes."""
    FileStore(images).delete(image_paths)
    by_chunk: dict[int, set[str]] = defaultdict(set)
    for path, places in find_places(images, image_paths).items():
        for place in places:
            by_chunk[place.chunk].add(path)
    for chunk, paths in sorted(by_chunk.items()):
        with PackStore(images, chunk, pack_bytes).writing() as store:
            store.delete(sorted(paths))
            store.tidy()


def tidy_stores(images: Path, pack_bytes: int) -> None:
    """Complete what a killed run left unfinished: packs with bytes after their last image, and packs without images."""
    chunks = list_packed_chunks(images)
    ends = find_ends(images) if chunks else {}
    for chunk in chunks:
        store = PackStore(images, chunk, pack_bytes)
        sizes = store.files.list_packs()
        expected = {pack: end + count_padding(end) + len(END) for (of, pack), end in ends.items() if of == chunk}
        if sizes != expected:
            with store.writing():
                store.tidy()
