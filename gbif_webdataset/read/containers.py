"""What an archive's files come in: a zip, a tar (gzipped or not), or a folder. Nothing is extracted."""

import errno
import gzip
import hashlib
import io
import json
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from isal import isal_zlib

from gbif_webdataset.errors import ArchiveError

SMALL = 1 << 20
ENDS = 1 << 20
GZIP = b"\x1f\x8b"
# What the readers of zips and tars raise where bytes make no sense to them; bz2 raises OSErrors without a number.
FAULTS = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, cast(type[Exception], isal_zlib.error),
    lzma.LZMAError, struct.error, EOFError, NotImplementedError, ValueError, OverflowError,
)  # fmt: skip


class Container(Protocol):
    """The files of an archive by their names, which hold `/` and no `..`."""

    def names(self) -> list[str]:
        """The names of all files."""

    def size(self, name: str) -> int:
        """Bytes of a file, as the container declares them."""

    def open(self, name: str) -> IO[bytes]:
        """A file's bytes, to be read from its beginning."""


class Member(io.BufferedIOBase):
    """A file of an archive, read forwards. Raises ArchiveError where it is damaged."""

    def __init__(self, archive: Path, file: IO[bytes]) -> None:
        self._archive, self._file = archive, file

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, fewer at the end."""
        with _told(self._archive):
            return self._file.read(-1 if size is None else size)

    read1 = read

    def close(self) -> None:
        """Close the file in the archive, too."""
        self._file.close()
        super().close()


class ZipFiles:
    """The members of a zip file. Raises ArchiveError for a member that expands more than `max_expansion` times."""

    def __init__(self, path: Path, members: zipfile.ZipFile, max_expansion: float) -> None:
        self._path, self._members = path, members
        self._infos = {plain(info.filename): info for info in members.infolist() if not info.filename.endswith("/")}
        for info in self._infos.values():
            if info.file_size > max(SMALL, info.compress_size * max_expansion):
                times = info.file_size / max(1, info.compress_size)
                raise ArchiveError(
                    f"{path}: {info.filename} expands {times:,.0f} times, more than max_expansion {max_expansion:g}; "
                    "raise that if you trust the archive"
                )

    def names(self) -> list[str]:
        """The names of all files."""
        return list(self._infos)

    def size(self, name: str) -> int:
        """Bytes of a file, as the zip declares them; reading never yields more."""
        return self._infos[name].file_size

    def open(self, name: str) -> IO[bytes]:
        """A member, inflated as it is read."""
        with _told(self._path):
            file = self._members.open(self._infos[name])
            if self._infos[name].compress_type == zipfile.ZIP_DEFLATED:
                # zipfile goes on checking sizes and CRC-32; only its inflating, half of its time, is done faster.
                file._decompressor = isal_zlib.decompressobj(-zlib.MAX_WBITS)  # type: ignore[attr-defined]
            return cast(IO[bytes], Member(self._path, file))


class TarFiles:
    """The members of a tar. It has no index: opening a member reads all before it."""

    def __init__(self, path: Path, max_expansion: float) -> None:
        self._path = path
        limit = max(SMALL, path.stat().st_size * max_expansion)
        self._sizes: dict[str, int] = {}
        with tarfile.open(path, "r|*") as members:
            for member in members:
                if member.isfile():
                    self._sizes[plain(member.name)] = member.size
                if max(members.offset, member.size) > limit:
                    raise ArchiveError(
                        f"{path}: expands more than max_expansion {max_expansion:g} times; raise that if you trust it"
                    )

    def names(self) -> list[str]:
        """The names of all files."""
        return list(self._sizes)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return self._sizes[name]

    def open(self, name: str) -> IO[bytes]:
        """A member, read as the tar goes by."""
        members = tarfile.open(self._path, "r|*")  # noqa: SIM115 - closed with the member that is handed out
        while member := _next(self._path, members):
            if member.isfile() and plain(member.name) == name:
                return cast(IO[bytes], Member(self._path, cast(IO[bytes], members.extractfile(member))))
        raise ArchiveError(f"{self._path}: {name} has gone while it was read")


class FolderFiles:
    """The files in a folder, as far as they are in it: links that lead out of it are not followed."""

    def __init__(self, path: Path) -> None:
        root = path.resolve()
        self._paths = {
            file.relative_to(path).as_posix(): file
            for file in path.rglob("*")
            if file.is_file() and file.resolve().is_relative_to(root)
        }

    def names(self) -> list[str]:
        """The names of all files."""
        return list(self._paths)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return self._paths[name].stat().st_size

    def open(self, name: str) -> IO[bytes]:
        """A file."""
        return self._paths[name].open("rb")


@contextmanager
def opened(path: Path, max_expansion: float) -> Iterator[Container]:
    """Open an archive of any kind.

    Raises ArchiveError where it is missing, damaged, or expands more than `max_expansion` times.
    """
    if not path.exists():
        raise ArchiveError(f"{path}: no such archive; give the path of a GBIF download with --dwca")
    if path.is_dir():
        yield FolderFiles(path)
    elif zipfile.is_zipfile(path):
        with _told(path):
            members = zipfile.ZipFile(path)
        with members:
            yield ZipFiles(path, members, max_expansion)
    else:
        with _told(path):
            files = TarFiles(path, max_expansion)
        yield files


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell what the reader of an archive's bytes finds wrong with them as an ArchiveError."""
    try:
        yield
    except FAULTS as error:
        if isinstance(error, tarfile.ReadError) and _begins(path, b"PK"):
            raise ArchiveError(f"{path}: a zip that breaks off; download it again") from error
        if isinstance(error, tarfile.ReadError) and "unexpected end" not in str(error) and not _begins(path, GZIP):
            raise ArchiveError(
                f"{path}: neither a zip, a tar.gz nor a folder; give the archive as GBIF sends it"
            ) from error
        raise ArchiveError(f"{path}: damaged ({error}); download it again") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(f"{path}: damaged ({error}); download it again") from error
    except RuntimeError as error:
        if "encrypted" not in str(error):
            raise
        raise ArchiveError(f"{path}: encrypted; give the archive as GBIF sends it") from error


def identity(path: Path) -> str:
    """A digest of what the archive holds, found without reading it whole.

    Of a zip each member's name, size and CRC-32; of a folder each file's name, size and date; of a tar its size and
    both its ends, of which a gzip's last bytes are a CRC-32 of all.
    """
    listing: object
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listing = [(file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    elif path.is_file() and zipfile.is_zipfile(path):
        with _told(path), zipfile.ZipFile(path) as members:
            listing = sorted((info.filename, info.file_size, info.CRC) for info in members.infolist())
    elif path.is_file():
        with path.open("rb") as file:
            first = file.read(ENDS)
            size = path.stat().st_size
            file.seek(max(0, size - ENDS))
            listing = [size, hashlib.sha256(first).hexdigest(), hashlib.sha256(file.read()).hexdigest()]
    else:
        raise ArchiveError(f"{path}: no such archive; give the path of a GBIF download with --dwca")
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def plain(name: str) -> str:
    """A member's name with `/` between its parts and none of `.`."""
    return str(PurePosixPath(name.replace("\\", "/")))


def _next(path: Path, members: tarfile.TarFile) -> tarfile.TarInfo | None:
    with _told(path):
        return members.next()


def _begins(path: Path, signature: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(signature)) == signature
