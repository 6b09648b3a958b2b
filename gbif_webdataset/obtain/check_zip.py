"""Whether a downloaded zip is complete: its directory, and the CRC-32 of each of its files."""

import errno
import zipfile
import zlib
from pathlib import Path

MAX_DIRECTORY_BYTES = 128 << 20
MAX_EXPANSION = 1000
"""Files that expand more often are not read here. ReadArchive refuses them."""
READ_BYTES = 1 << 20
CHECKED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The methods that are decompressed in small pieces. ReadArchive checks the files of all others while it reads them."""
ENCRYPTED = 0x1
_DIRECTORY_BYTES = 5  # the place of the directory's size in zipfile's list
_READ_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError)


class DamagedZipError(Exception):
    """A file that is no complete zip. The text completes a sentence that begins with the file."""


def check_zip(path: Path) -> None:
    """Return if a zip is complete.

    Raises:
        DamagedZipError: it is not.
    """
    try:
        _check_directory_size(path)
        with zipfile.ZipFile(path) as members:
            for info in filter(_is_checked, members.infolist()):
                with members.open(info) as file:
                    while file.read(READ_BYTES):
                        pass
    except _READ_ERRORS as error:
        raise DamagedZipError(_describe(error)) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a seek to a place before the file
            raise
        raise DamagedZipError(_describe(error)) from error


def _check_directory_size(path: Path) -> None:
    """Raise DamagedZipError if a zip has no directory, or one that takes gigabytes of memory."""
    with path.open("rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if not end:
        raise DamagedZipError("is not a zip, or ends too early")
    if end[_DIRECTORY_BYTES] > MAX_DIRECTORY_BYTES:
        raise DamagedZipError("has too many files")


def _is_checked(info: zipfile.ZipInfo) -> bool:
    is_plausible = info.file_size <= max(READ_BYTES, MAX_EXPANSION * info.compress_size)
    return info.compress_type in CHECKED_METHODS and not info.flag_bits & ENCRYPTED and is_plausible


def _describe(error: Exception) -> str:
    if isinstance(error, zipfile.BadZipFile) and "CRC" in str(error):
        return "has a wrong checksum (CRC-32) within"
    return "is damaged"
