"""The files of an archive, in a zip, a tar (compressed or not) or a folder. Nothing is extracted to disk."""

import copy
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
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

from isal import isal_zlib

from gbif_webdataset.errors import ArchiveError
from gbif_webdataset.read import decompress
from gbif_webdataset.read.tar_stream import (
    MAX_HEADER_BYTES,
    HeaderTooLargeError,
    TarMember,
    TarStream,
    UnknownFormatError,
)

MAX_UNCHECKED_BYTES = 1 << 20  # smaller files may expand as much as they like
END_BYTES = 1 << 20
MAX_NAMES_BYTES = 64 << 20  # of the names of all files, each with BYTES_PER_NAME beside its characters
BYTES_PER_NAME = 100
MAX_ZIP_INDEX_BYTES = 128 << 20
ZIP_END, ZIP64_END, ZIP_END_BYTES = b"PK\5\6", b"PK\6\6", (1 << 16) + 200
GZIP, ZIP, BZIP2, XZ = b"\x1f\x8b", b"PK", b"BZh", b"\xfd7zXZ\0"
# What the readers of zips and tars raise for damaged bytes. bz2 raises an OSError without a number.
READ_ERRORS = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, cast(type[Exception], isal_zlib.error),
    lzma.LZMAError, struct.error, EOFError, NotImplementedError, ValueError, OverflowError,
)  # fmt: skip
GIVE_GBIFS = "give the archive as GBIF provides it"
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

    def __init__(self, archive: Path, name: str, file: IO[bytes]) -> None:
        self._archive, self._name, self._file = archive, name, file

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes; fewer at the end of the file."""
        with _report_damage(self._archive, self._name):
            return self._file.read(-1 if size is None else size)

    read1 = read

    def close(self) -> None:
        """Close this file and the archive's own file."""
        self._file.close()
        super().close()


OTHER_METHODS = {zipfile.ZIP_BZIP2: decompress.open_bzip2, zipfile.ZIP_LZMA: decompress.open_zip_lzma}
"""The compression methods of a zip that zipfile does not read in pieces."""


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
        info = self._infos[name]
        with _report_damage(self._path, name):
            if info.compress_type in OTHER_METHODS:
                return cast(IO[bytes], Member(self._path, name, self._open_other(info)))
            return cast(IO[bytes], Member(self._path, name, _open_fast(self._members, info)))

    def _open_other(self, info: zipfile.ZipInfo) -> IO[bytes]:
        """A file that is not deflated. zipfile expands 4 KB of it at once, which may give gigabytes."""
        raw = copy.copy(info)
        raw.compress_type, raw.file_size = zipfile.ZIP_STORED, info.compress_size
        raw.CRC = None  # type: ignore[assignment]  # it is that of the decompressed bytes
        file = OTHER_METHODS[info.compress_type](self._members.open(raw))
        return cast(IO[bytes], decompress.CheckedFile(file, info.file_size, info.CRC))


class TarFiles:
    """The files of a tar. A tar has no index, so opening a file reads everything before it.

    Raises:
        ArchiveError: the tar expands more than `max_expansion` times.
    """

    def __init__(self, path: Path, max_expansion: float) -> None:
        self._path = path
        limit = max(MAX_UNCHECKED_BYTES, path.stat().st_size * max_expansion)
        self._members: dict[str, tuple[int, TarMember]] = {}
        names_bytes = 0
        with _open_tar(path) as tar:
            for number, member in enumerate(iter(tar.next_member, None)):
                if tar.offset > limit:
                    raise ArchiveError(
                        f"{path}: expands more than --ReadArchive-max-expansion {max_expansion:g} times; set a higher "
                        "value if you trust the archive"
                    )
                names_bytes += len(member.name) + BYTES_PER_NAME
                if names_bytes > MAX_NAMES_BYTES:
                    raise ArchiveError(f"{path}: has too many files, or too long names; {GIVE_GBIFS}")
                if member.is_file:
                    self._members[normalize_name(member.name)] = number, member

    def list_files(self) -> list[str]:
        """The names of all files."""
        return list(self._members)

    def count_bytes(self, name: str) -> int:
        """Bytes of a file."""
        return self._members[name][1].size

    def open(self, name: str) -> IO[bytes]:
        """A file of the tar."""
        number, member = self._members[name]
        tar = TarStream(_open_decompressed(self._path))
        with _report_damage(self._path, name):
            for _ in range(number):
                tar.next_member()
            if tar.next_member() == member:
                return cast(IO[bytes], Member(self._path, name, cast(IO[bytes], tar)))
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
            _check_zip_index(path)
            members = zipfile.ZipFile(path)
        with members:
            yield ZipFiles(path, members, max_expansion)
    else:
        with _report_damage(path):
            files = TarFiles(path, max_expansion)
        yield files


def _open_fast(members: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A file of a zip, decompressed and checked by isal: zlib takes twice as long. zipfile still checks the sizes."""
    file: Any = members.open(info)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        file._decompressor = isal_zlib.decompressobj(-zlib.MAX_WBITS)
    file._update_crc = partial(_update_crc, file)
    return cast(IO[bytes], file)


def _update_crc(file: Any, data: bytes) -> None:
    """ZipExtFile._update_crc with isal's CRC-32."""
    file._running_crc = isal_zlib.crc32(data, file._running_crc)
    if file._eof and file._running_crc != file._expected_crc:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {file.name!r}")


@contextmanager
def _report_damage(path: Path, name: str = "") -> Iterator[None]:
    """Raise ArchiveError if the block fails because the archive `path` is damaged, encrypted or of another kind.

    `name` is the file of the archive that is read.
    """
    try:
        yield
    except READ_ERRORS as error:
        raise ArchiveError(f"{path}: {_describe_damage(path, name, error)}") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        raise ArchiveError(f"{path}: {_describe_damage(path, name, error)}") from error
    except RuntimeError as error:
        if "encrypted" not in str(error):
            raise
        raise ArchiveError(f"{path}: the archive is encrypted; {GIVE_GBIFS}") from error


def _describe_damage(path: Path, name: str, error: Exception) -> str:
    """What is wrong with the archive, and what to do."""
    if isinstance(error, tarfile.TarError | EOFError) and _starts_with(path, ZIP):
        return "the zip is incomplete; download the archive again"
    is_packed = any(_starts_with(path, signature) for signature in (GZIP, BZIP2, XZ))
    if isinstance(error, UnknownFormatError) and not is_packed:
        return f"not a zip, a tar.gz or a folder; {GIVE_GBIFS}"
    where = f" of {name}" if name else ""
    reason = f"the bytes{where} are not valid"
    if isinstance(error, EOFError | tarfile.TruncatedHeaderError):  # type: ignore[attr-defined]
        reason = "it ends too early"
    elif isinstance(error, HeaderTooLargeError):
        reason = f"a header of more than {MAX_HEADER_BYTES >> 10} KiB in the tar"
    elif isinstance(error, zipfile.BadZipFile) and "CRC" in str(error):
        reason = f"the checksum{where} is wrong"
    elif isinstance(error, NotImplementedError):
        reason = f"the method by which {name or 'a file'} is compressed is unknown"
    return f"the archive is damaged ({reason}); download it again"


def _open_decompressed(path: Path) -> IO[bytes]:
    """The bytes of a tar that may be compressed."""
    if _starts_with(path, GZIP):
        return cast(IO[bytes], gzip.open(path))
    file = path.open("rb")
    if _starts_with(path, BZIP2):
        return decompress.open_bzip2(file)
    return decompress.open_xz(file) if _starts_with(path, XZ) else file


@contextmanager
def _open_tar(path: Path) -> Iterator[TarStream]:
    with closing(_open_decompressed(path)) as stream:
        yield TarStream(stream)


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
        with _report_damage(path):
            _check_zip_index(path)
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


def compute_joint_identity(paths: Sequence[Path]) -> str:
    """A digest that changes with the content of one of the archives; of one archive, `compute_identity`.

    Raises:
        ArchiveError: an archive is missing or damaged.
    """
    identities = sorted(map(compute_identity, paths))
    return identities[0] if len(identities) == 1 else hashlib.sha256("\n".join(identities).encode()).hexdigest()


def _check_zip_index(path: Path) -> None:
    """Raise ArchiveError if the index of a zip is so large that reading it takes gigabytes of memory."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - ZIP_END_BYTES))
        end = file.read()
    sizes = [struct.unpack_from("<I", end, at + 12)[0] for at in [end.rfind(ZIP_END)] if 0 <= at <= len(end) - 16]
    if sizes == [0xFFFFFFFF]:
        found = [at for at in [end.rfind(ZIP64_END)] if 0 <= at <= len(end) - 48]
        sizes = [struct.unpack_from("<Q", end, at + 40)[0] for at in found]
    if any(size > MAX_ZIP_INDEX_BYTES for size in sizes):
        raise ArchiveError(f"{path}: the zip has an index of more than {MAX_ZIP_INDEX_BYTES >> 20} MiB; {GIVE_GBIFS}")


def normalize_name(name: str) -> str:
    """The name of a file with `/` between its parts and without `.` as a part."""
    return str(PurePosixPath(name.replace("\\", "/")))


def _starts_with(path: Path, signature: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(signature)) == signature
