"""The files of an archive, in a zip, a tar (compressed or not) or a folder. Nothing is extracted to disk."""

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

MAX_UNCHECKED_BYTES = 1 << 20  # smaller files may expand as much as they like
END_BYTES = 1 << 20
GZIP, ZIP = b"\x1f\x8b", b"PK"
# What the readers of zips and tars raise for damaged bytes. bz2 raises an OSError without a number.
READ_ERRORS = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, cast(type[Exception], isal_zlib.error),
    lzma.LZMAError, struct.error, EOFError, NotImplementedError, ValueError, OverflowError,
)  # fmt: skip
MISSING = "--dwca {}: the archive does not exist; give the path of a GBIF download"


class Container(Protocol):
    """The files of an archive, by their names, with `/` between the parts."""

    def list_files(self) -> list[str]:
        """The names of all files."""

    def count_bytes(self, name: str) -> int:
        """Bytes of a file, as the container declares them."""

    def open(self, name: str) -> IO[bytes]:
        """A file for reading, from its beginning to its end."""


class Member(io.BufferedIOBase):
    """A file of an archive, for reading. `read` raises ArchiveError if the archive is damaged."""

    def __init__(self, archive: Path, file: IO[bytes]) -> None:
        self._archive, self._file = archive, file

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes; fewer at the end of the file."""
        with _report_damage(self._archive):
            return self._file.read(-1 if size is None else size)

    read1 = read

    def close(self) -> None:
        """Close this file and the archive's own file."""
        self._file.close()
        super().close()


class ZipFiles:
    """The files of a zip.

    Raises:
        ArchiveError: a file expands more than `max_expansion` times.
    """

    def __init__(self, path: Path, members: zipfile.ZipFile, max_expansion: float) -> None:
        self._path, self._members = path, members
        self._infos = {
            normalize_name(info.filename): info for info in members.infolist() if not info.filename.endswith("/")
        }
        for info in self._infos.values():
            if info.file_size > max(MAX_UNCHECKED_BYTES, info.compress_size * max_expansion):
                times = info.file_size / max(1, info.compress_size)
                raise ArchiveError(
                    f"{path}: {info.filename} expands {times:,.0f} times, more than --ReadArchive-max-expansion "
                    f"{max_expansion:g}; set a higher value if you trust the archive"
                )

    def list_files(self) -> list[str]:
        """The names of all files."""
        return list(self._infos)

    def count_bytes(self, name: str) -> int:
        """Bytes of a file, as the zip declares them; reading never gives more."""
        return self._infos[name].file_size

    def open(self, name: str) -> IO[bytes]:
        """A file, decompressed while it is read."""
        with _report_damage(self._path):
            file = self._members.open(self._infos[name])
            if self._infos[name].compress_type == zipfile.ZIP_DEFLATED:
                # Decompressing takes half of zipfile's time. zipfile still checks sizes and CRC-32.
                file._decompressor = isal_zlib.decompressobj(-zlib.MAX_WBITS)  # type: ignore[attr-defined]
            return cast(IO[bytes], Member(self._path, file))


class TarFiles:
    """The files of a tar. A tar has no index, so opening a file reads everything before it.

    Raises:
        ArchiveError: the tar expands more than `max_expansion` times.
    """

    def __init__(self, path: Path, max_expansion: float) -> None:
        self._path = path
        limit = max(MAX_UNCHECKED_BYTES, path.stat().st_size * max_expansion)
        self._sizes: dict[str, int] = {}
        with tarfile.open(path, "r|*") as members:
            for member in members:
                if member.isfile():
                    self._sizes[normalize_name(member.name)] = member.size
                if max(members.offset, member.size) > limit:
                    raise ArchiveError(
                        f"{path}: expands more than --ReadArchive-max-expansion {max_expansion:g} times; set a higher "
                        "value if you trust the archive"
                    )

    def list_files(self) -> list[str]:
        """The names of all files."""
        return list(self._sizes)

    def count_bytes(self, name: str) -> int:
        """Bytes of a file."""
        return self._sizes[name]

    def open(self, name: str) -> IO[bytes]:
        """A file of the tar."""
        members = tarfile.open(self._path, "r|*")  # noqa: SIM115 - closed with the file that is returned
        while member := _next_member(self._path, members):
            if member.isfile() and normalize_name(member.name) == name:
                return cast(IO[bytes], Member(self._path, cast(IO[bytes], members.extractfile(member))))
        raise ArchiveError(f"{self._path}: the archive changed while it was read; repeat the command")


class FolderFiles:
    """The files of a folder. Links to files outside the folder are left out."""

    def __init__(self, path: Path) -> None:
        root = path.resolve()
        self._paths = {
            file.relative_to(path).as_posix(): file
            for file in path.rglob("*")
            if file.is_file() and file.resolve().is_relative_to(root)
        }

    def list_files(self) -> list[str]:
        """The names of all files."""
        return list(self._paths)

    def count_bytes(self, name: str) -> int:
        """Bytes of a file."""
        return self._paths[name].stat().st_size

    def open(self, name: str) -> IO[bytes]:
        """A file for reading."""
        return self._paths[name].open("rb")


@contextmanager
def open_container(path: Path, max_expansion: float) -> Iterator[Container]:
    """Open a zip, a tar or a folder.

    Raises:
        ArchiveError: it is missing or damaged, or expands more than `max_expansion` times.
    """
    if not path.exists():
        raise ArchiveError(MISSING.format(path))
    if path.is_dir():
        yield FolderFiles(path)
    elif zipfile.is_zipfile(path):
        with _report_damage(path):
            members = zipfile.ZipFile(path)
        with members:
            yield ZipFiles(path, members, max_expansion)
    else:
        with _report_damage(path):
            files = TarFiles(path, max_expansion)
        yield files


@contextmanager
def _report_damage(path: Path) -> Iterator[None]:
    """Raise ArchiveError if the block fails because the archive `path` is damaged, encrypted or of another kind."""
    try:
        yield
    except READ_ERRORS as error:
        if isinstance(error, tarfile.ReadError) and _starts_with(path, ZIP):
            raise ArchiveError(f"{path}: the zip is incomplete; download the archive again") from error
        if isinstance(error, tarfile.ReadError) and "unexpected end" not in str(error) and not _starts_with(path, GZIP):
            raise ArchiveError(
                f"{path}: not a zip, a tar.gz or a folder; give the archive as GBIF provides it"
            ) from error
        raise ArchiveError(f"{path}: the archive is damaged ({error}); download it again") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(f"{path}: the archive is damaged ({error}); download it again") from error
    except RuntimeError as error:
        if "encrypted" not in str(error):
            raise
        raise ArchiveError(f"{path}: the archive is encrypted; give the archive as GBIF provides it") from error


def compute_identity(path: Path) -> str:
    """A digest that changes with the archive's content, computed without reading all of it.

    It covers name, size and CRC-32 of each file of a zip; name, size and date of each file of a folder; and of a tar
    its size, its first and its last megabyte (the last bytes of a gzip file are a CRC-32 of its content).

    Raises:
        ArchiveError: the archive is missing or damaged.
    """
    listing: object
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listing = [(file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    elif path.is_file() and zipfile.is_zipfile(path):
        with _report_damage(path), zipfile.ZipFile(path) as members:
            listing = sorted((info.filename, info.file_size, info.CRC) for info in members.infolist())
    elif path.is_file():
        with path.open("rb") as file:
            first = file.read(END_BYTES)
            size = path.stat().st_size
            file.seek(max(0, size - END_BYTES))
            listing = [size, hashlib.sha256(first).hexdigest(), hashlib.sha256(file.read()).hexdigest()]
    else:
        raise ArchiveError(MISSING.format(path))
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def normalize_name(name: str) -> str:
    """The name of a file with `/` between its parts and without `.` as a part."""
    return str(PurePosixPath(name.replace("\\", "/")))


def _next_member(path: Path, members: tarfile.TarFile) -> tarfile.TarInfo | None:
    with _report_damage(path):
        return members.next()


def _starts_with(path: Path, signature: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(signature)) == signature
