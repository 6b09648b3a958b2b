"""A store that has one file for each image."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from gbif_webdataset.storage.atomic import TEMPORARY, file_sha256


class FileStore:
    """Images in files below the folder `images`. A file gets its name once it is complete.

    Paths are texts where files are written: making Path objects takes 4 % of the processor time of a download.
    """

    def __init__(self, images: Path) -> None:
        self._images = images
        self._folders: dict[str, str] = {}
        self._staged: list[str] = []

    def size(self, image_path: str) -> int | None:
        """The size of an image in bytes; None if there is no such file."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return (self._images / image_path).stat().st_size
        return None

    def read(self, image_path: str) -> bytes:
        """The bytes of an image. Raises FileNotFoundError."""
        return (self._images / image_path).read_bytes()

    def sort(self, image_paths: Sequence[str]) -> list[int]:
        """The positions of the paths, in their order: where a file is on the disk is not known."""
        return list(range(len(image_paths)))

    def list_paths(self) -> Iterator[str]:
        """The paths of all images of the folder, whichever chunk they belong to, without those in packs."""
        for folder, _, names in os.walk(self._images):
            for name in sorted(names):
                if name.endswith(".jpg") and not name.startswith(TEMPORARY):
                    yield (Path(folder) / name).relative_to(self._images).as_posix()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Self]:
        """Nothing: processes write different files."""
        yield self

    @contextlib.contextmanager
    def new_file(self, image_path: str) -> Iterator[BinaryIO]:
        """An empty file with the temporary name of the image."""
        temporary = self._make_temporary_path(image_path)
        try:
            with open(temporary, "w+b") as file:
                yield file
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def put(self, image_path: str, file: BinaryIO, sha256: str) -> None:
        """Give a file of `new_file` the name of its image; for another image, copy it."""
        temporary = self._make_temporary_path(image_path)
        file.flush()
        if file.name != temporary:
            shutil.copyfile(file.name, temporary)
        os.replace(temporary, f"{self._images}/{image_path}")

    def stage_copy(self, source: str, target: str, sha256: str) -> bool:
        """Copy an image to the temporary name of another one; False if its bytes do not have this SHA-256.

        A run that was killed while it moved images may have left the only copy under the temporary name.
        """
        temporary = Path(self._make_temporary_path(target))
        for present in (temporary, self._images / source):
            with contextlib.suppress(FileNotFoundError):
                if present != temporary:
                    shutil.copyfile(present, temporary)
                if file_sha256(temporary) == sha256:
                    self._staged.append(target)
                    return True
        return False

    def finish_copies(self) -> Iterator[str]:
        """Give the copies their names. Images may change places, so all copies are made before."""
        for target in self._staged:
            Path(self._make_temporary_path(target)).replace(self._images / target)
            yield target
        self._staged.clear()

    def delete(self, image_paths: Iterable[str]) -> None:
        """Delete the files of these images."""
        for image_path in image_paths:
            (self._images / image_path).unlink(missing_ok=True)

    def discard(self, image_paths: Iterable[str]) -> None:
        """Delete the files of these images."""
        self.delete(image_paths)

    def tidy(self) -> None:
        """Nothing: the space of deleted files is free."""

    def _make_temporary_path(self, image_path: str) -> str:
        """The temporary path of an image, whose folder is created."""
        folder, _, name = image_path.rpartition("/")
        if folder not in self._folders:
            target = self._images / folder
            target.mkdir(parents=True, exist_ok=True)
            self._folders[folder] = str(target)
        return f"{self._folders[folder]}/{TEMPORARY}{name}"
