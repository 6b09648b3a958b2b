"""Headers of tar files whose bytes depend on names and sizes alone."""

import tarfile

MTIME = 946_684_800  # 2000-01-01: GNU tar warns about older files
MODE = 0o644
_MAX_NAME_BYTES = 100  # of a plain header; a longer or non-ASCII name needs an extended one
_SIZE_DIGITS = 11


def make_header(name: str, size: int) -> bytes:
    """The header of a member with `size` bytes of data, preceded by an extended header if the name needs one."""
    if len(name) <= _MAX_NAME_BYTES and name.isascii() and size < 8**_SIZE_DIGITS:
        return _make_plain_header(name.encode(), size)
    return _make_tar_info(name, size).tobuf(tarfile.DEFAULT_FORMAT, tarfile.ENCODING, "surrogateescape")


def _make_tar_info(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, MODE, MTIME
    return member


_BLANK = _make_tar_info("", 0).tobuf()
_BLANK_SUM = sum(_BLANK[:148]) + sum(_BLANK[156:]) + 8 * ord(" ")


def _make_plain_header(name: bytes, size: int) -> bytes:
    """The same bytes as tarfile's, in a twentieth of the time."""
    digits = b"%011o" % size
    checksum = _BLANK_SUM + sum(name) + sum(digits) - _SIZE_DIGITS * ord("0")
    return b"".join(
        (
            name.ljust(_MAX_NAME_BYTES, b"\0"),
            _BLANK[100:124],
            digits,
            _BLANK[135:148],
            b"%06o\0 " % checksum,
            _BLANK[156:],
        )
    )


def count_padding(size: int) -> int:
    """The zero bytes that follow so many bytes of data, up to a whole block."""
    return -size % tarfile.BLOCKSIZE
