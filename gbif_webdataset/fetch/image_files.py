"""The image files of a chunk: temporary names, and copies of files that are on this disk already."""

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from gbif_webdataset.fetch.ledger import Outcome
from gbif_webdataset.images.signatures import HEAD_BYTES, identify_image
from gbif_webdataset.storage.atomic import TEMPORARY, file_sha256
from gbif_webdataset.storage.free_space import FreeSpaceGuard


class ImageFiles:
    """The files below `images`. A file is written under a temporary name, and renamed once it is complete.

    All methods may be called by many threads, and raise FetchError if fewer than `min_free_bytes` are free.
    """

    def __init__(self, images: Path, min_free_bytes: int) -> None:
        self._images = images
        self._free_space = FreeSpaceGuard(images, min_free_bytes)
        self._folders: dict[str, Path] = {}

    def check_free_space(self) -> None:
        """Raise FetchError if too little disk space is free for further images."""
        self._free_space.check()

    def make_temporary_path(self, image_path: str) -> Path:
        """The temporary path of an image, whose folder is created."""
        folder, _, name = image_path.rpartition("/")
        target = self._folders.get(folder)
        if target is None:
            target = self._images / folder
            target.mkdir(parents=True, exist_ok=True)
            self._folders[folder] = target
        return target / f"{TEMPORARY}{name}"

    def copy_cached(self, cache: Path, image_paths: Iterable[str], temporary: Path) -> tuple[int, str] | None:
        """Copy the first of these images that exists in an older folder of images: its bytes and SHA-256, or None."""
        self._free_space.check()
        for image_path in image_paths:
            try:
                shutil.copyfile(cache / image_path, temporary)
            except FileNotFoundError:
                continue
            with temporary.open("rb") as file:
                if identify_image(file.read(HEAD_BYTES)):
                    return temporary.stat().st_size, file_sha256(temporary)
        return None

    def copy_downloaded(self, outcomes: Iterable[Outcome], image_path: str) -> tuple[Path, Outcome] | None:
        """Copy the bytes of one of these outcomes to the temporary path of an image: the path and the outcome, or None.

        A run that was killed while it moved images may have left the only copy under the temporary name.
        """
        for outcome in outcomes:
            self._free_space.check()
            temporary = self.make_temporary_path(image_path)
            for source in (temporary, self._images / outcome.image_path):
                with contextlib.suppress(FileNotFoundError):
                    if source != temporary:
                        shutil.copyfile(source, temporary)
                    if file_sha256(temporary) == outcome.sha256:
                        return temporary, outcome
        return None

    def finish_file(self, temporary: Path, image_path: str) -> None:
        """Give a complete file its final name."""
        temporary.replace(self._images / image_path)

    def settle_file(self, temporary: Path, outcome: Outcome) -> None:
        """Give the file of an outcome its final name, or delete what a failed attempt left of it."""
        if outcome.has_bytes:
            self.finish_file(temporary, outcome.image_path)
        else:
            temporary.unlink(missing_ok=True)

    def copy_and_finish(self, temporary: Path, image_path: str) -> None:
        """Copy a complete file to the path of another image."""
        copy = self.make_temporary_path(image_path)
        shutil.copyfile(temporary, copy)
        self.finish_file(copy, image_path)
