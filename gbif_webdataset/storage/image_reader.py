"""Reads images of all chunks of a dataset."""

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from gbif_webdataset.storage.chunks import list_packed_chunks
from gbif_webdataset.storage.pack_places import Place, find_places, locate_pack


class ImageReader:
    """The images below a folder `images`, whichever store their chunks have. Threads may share a reader.

    Packs that are also in the folder `staged` are read there, if the place of an image is given.
    """

    def __init__(self, images: Path, staged: Path | None = None) -> None:
        self.images = images
        self._staged = staged
        self._has_packs = bool(list_packed_chunks(images))
        self._places: dict[str, Place] = {}
        self._searched: set[str] = set()
        self._has_all = False
        self._lock = threading.Lock()

    def find_places(self, image_paths: Sequence[str]) -> None:
        """Prepare to read these images, with one look at the indexes. Others are found, but take memory for all."""
        if self._has_packs:
            self._searched.update(image_paths)
            self._note_places(image_paths)

    def has_image(self, image_path: str) -> bool:
        """Whether there is an image at this path, after `find_places`."""
        return image_path in self._places or (self.images / image_path).exists()

    def read(self, image_path: str, place: str | None = None) -> bytes:
        """The bytes of an image; `place` is that of the table `packed`, if it is known.

        Raises:
            FileNotFoundError: there is no such image.
        """
        found = Place.parse(place) if place else self._places.get(image_path)
        if found:
            with contextlib.suppress(FileNotFoundError):  # the pack was written again, or replaced by files
                return self._read_packed(found, self._staged if place else None)
        try:
            return (self.images / image_path).read_bytes()
        except FileNotFoundError:
            if not self._has_packs or (found is None and image_path in self._searched):
                raise
        self._find_all()
        if image_path not in self._places:
            raise FileNotFoundError(image_path)
        return self._read_packed(self._places[image_path])

    def _read_packed(self, place: Place, staged: Path | None = None) -> bytes:
        pack = locate_pack(place)
        folder = staged if staged and (staged / pack).exists() else self.images
        handle = os.open(folder / pack, os.O_RDONLY)
        try:
            return os.pread(handle, place.size, place.offset)
        finally:
            os.close(handle)

    def _find_all(self) -> None:
        with self._lock:
            if not self._has_all:
                self._note_places(None)
                self._has_all = True

    def _note_places(self, image_paths: Sequence[str] | None) -> None:
        found = find_places(self.images, image_paths)
        self._places.update({path: places[0] for path, places in found.items()})
