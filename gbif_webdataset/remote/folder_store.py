"""Files in a folder, such as one that a web server serves."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gbif_webdataset.remote.local_file import LocalFile, RecordedFile, write_blocks
from gbif_webdataset.remote.store_address import StoreAddress
from gbif_webdataset.remote.store_errors import StoreError, TemporaryStoreError
from gbif_webdataset.storage.atomic import (
    TEMPORARY,
    atomic_file,
    delete_unless_locked,
    place_file,
    sync,
    temporary_file,
)

BLOCK_BYTES = 8 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
WRONG_KIND = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


class FolderStore:
    """The files below a target's folder; names are relative to it."""

    def __init__(self, target: StoreAddress) -> None:
        self._target, self._folder = target, Path(target.prefix)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if there is none."""
        with self._explained():
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def iterate(self, name: str) -> Iterator[bytes]:
        """The bytes of a file in blocks.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = self._folder / name
        with self._explained():
            is_file = path.is_file()
        if not is_file:
            raise FileNotFoundError(name)
        with self._explained(), path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def download(self, name: str, path: Path) -> None:
        """Copy a file to `path`.

        Raises:
            LocalFileError: `path` cannot be written.
        """
        try:
            write_blocks(path, self.iterate(name))
        except FileNotFoundError:
            raise StoreError.missing(self._target.option, name) from None

    def put(self, name: str, file: RecordedFile) -> None:
        """Write a file, which exists completely or not at all.

        Raises:
            DamagedFileError: the source differs from its record.
        """
        with self._explained(), atomic_file(self._folder / name) as temporary, temporary.open("wb") as copy:
            for block in file.iterate(BLOCK_BYTES):
                copy.write(block)

    def replace(self, name: str, content: bytes, old: bytes | None) -> None:
        """Write a file if its bytes are still `old`, with None if there was none.

        Raises:
            StoreError: another process has changed it.
        """
        if (found := self.read(name)) != old and found != content:
            raise StoreError.changed(self._target.option, f"{name} has changed")
        self.put(name, LocalFile.of_content(Path(name), content))

    def copy(self, source: str, name: str, size: int) -> None:
        """Write a file with the bytes of another one: as a hard link, with its permissions, or else as a new file."""
        path = self._folder / name
        with self._explained(), temporary_file(path) as temporary:
            link = temporary.with_name(f"{temporary.name}-link")
            try:
                link.hardlink_to(self._folder / source)
                link.replace(path)
                sync(path.parent)
            except OSError:
                shutil.copyfile(self._folder / source, temporary)
                place_file(temporary, path)
            finally:
                link.unlink(missing_ok=True)  # it stays if `path` is the same file

    def find_size(self, name: str) -> int | None:
        """The size of a file in bytes; None if there is none."""
        with self._explained():
            try:
                return (self._folder / name).stat().st_size
            except FileNotFoundError:
                return None

    def list_sizes(self) -> dict[str, int]:
        """The size of each file below the folder, in bytes, by name."""
        found = {}
        with self._explained():
            for folder, _, names in os.walk(self._folder, onerror=_refuse_unreadable):
                for name in names:
                    path = Path(folder, name)
                    with contextlib.suppress(FileNotFoundError):
                        found[path.relative_to(self._folder).as_posix()] = path.stat().st_size
        return found

    def delete(self, names: Sequence[str]) -> None:
        """Delete files, and folders that are empty without them."""
        with self._explained():
            for name in names:
                (self._folder / name).unlink(missing_ok=True)
            for folder in sorted({(self._folder / name).parent for name in names}, reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def count_memory(self, file: RecordedFile) -> int:
        """The bytes of a file that are in memory while it is copied."""
        return min(file.size, 2 * BLOCK_BYTES)

    def abort_uploads(self, sizes: Mapping[str, int]) -> None:
        """Delete the temporary files that a killed run left beside these objects, or in a folder with a slash."""
        folders = {self._folder / name.rpartition("/")[0] for name in sizes}
        with self._explained():
            for path in [path for folder in folders for path in folder.glob(f"{TEMPORARY}*")]:
                delete_unless_locked(path)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what the system refuses as a sentence about the target, and all other faults as temporary."""
        try:
            yield
        except OSError as error:
            text, place = os.strerror(error.errno or errno.EIO), self._target.option
            if error.errno in FULL:
                raise StoreError.at(place, text, "free some space there, and repeat the command") from None
            if error.errno in DENIED:
                raise StoreError.at(place, text, "choose a folder that you may write to") from None
            if error.errno in WRONG_KIND:
                raise StoreError.at(place, text, "choose an empty folder") from None
            raise TemporaryStoreError(text) from None


def _refuse_unreadable(error: OSError) -> None:
    """Raise the error of a folder that cannot be listed, unless it does not exist."""
    if not isinstance(error, FileNotFoundError):
        raise error
