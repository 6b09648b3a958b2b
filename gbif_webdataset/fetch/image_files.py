"""How a chunk's images get into its store: from the network, from an older folder of images, or from other paths."""

import hashlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from gbif_webdataset.fetch.ledger import Outcome
from gbif_webdataset.images.signatures import HEAD_BYTES, identify_image
from gbif_webdataset.remote.remote_images import RemoteImages
from gbif_webdataset.storage.free_space import FreeSpaceGuard
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.image_store import ImageStore


class ImageFiles:
    """Puts images into a store, as long as `min_free_bytes` are free on the disk of the folder `images`.

    All methods may be called by many threads, and raise FetchError if less space is free.
    """

    def __init__(self, store: ImageStore, images: Path, min_free_bytes: int) -> None:
        self.store, self.images = store, images
        self._free_space = FreeSpaceGuard(images, min_free_bytes)

    def check_free_space(self) -> None:
        """Raise FetchError if too little disk space is free for further images."""
        self._free_space.check()

    def new_file(self, image_path: str) -> AbstractContextManager[BinaryIO]:
        """An empty file for the bytes of an image."""
        return self.store.new_file(image_path)

    def copy_cached(
        self, cache: ImageReader | RemoteImages, image_paths: Iterable[str], target: BinaryIO
    ) -> tuple[int, str] | None:
        """Copy the first of these images that an older dataset has: its bytes and SHA-256, or None."""
        self._free_space.check()
        for image_path in image_paths:
            try:
                data = cache.read(image_path)
            except FileNotFoundError:
                continue
            if identify_image(data[:HEAD_BYTES]):
                target.write(data)
                return len(data), hashlib.sha256(data).hexdigest()
        return None

    def stage_copy(self, outcomes: Iterable[Outcome], image_path: str) -> Outcome | None:
        """Prepare to copy the bytes of one of these outcomes to the path of an image: this outcome, or None."""
        for outcome in outcomes:
            self._free_space.check()
            if outcome.sha256 and self.store.stage_copy(outcome.image_path, image_path, outcome.sha256):
                return outcome
        return None
