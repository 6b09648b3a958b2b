import bz2
import io
import lzma
import tracemalloc
import zipfile
import zlib

import pytest

from gbif_webdataset.read.decompress import CheckedFile, open_bzip2, open_xz, open_zip_lzma


@pytest.mark.parametrize(("compress", "open_file"), [(bz2.compress, open_bzip2), (lzma.compress, open_xz)])
def test_several_streams_are_read_as_one(compress: type, open_file: type) -> None:
    data = compress(b"one" * 100_000) + compress(b"") + compress(b"two")
    assert open_file(io.BytesIO(data)).read() == b"one" * 100_000 + b"two"
    with pytest.raises(EOFError):
        open_file(io.BytesIO(data[:-5])).read()


@pytest.mark.parametrize(("compress", "open_file"), [(bz2.compress, open_bzip2), (lzma.compress, open_xz)])
def test_a_piece_takes_little_memory_however_much_the_file_expands(compress: type, open_file: type) -> None:
    data = compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        file = open_file(io.BytesIO(data))
        assert len(file.read(1_000)) == 1_000
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_xz_with_a_huge_dictionary_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}]
    data = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=filters)
    packed = data.compress(b"x") + data.flush()
    with pytest.raises(lzma.LZMAError):
        open_xz(io.BytesIO(packed)).read()
    for start in (b"\x09\x04\x05\x00\x5d\xff\xff\xff\xff", b"\x09\x04\x05\x00\xff\0\0\1\0", b"short"):
        with pytest.raises((lzma.LZMAError, ValueError)):
            open_zip_lzma(io.BytesIO(start + b"x" * 100)).read()


def test_a_wrong_checksum_and_a_missing_end_are_errors() -> None:
    assert CheckedFile(io.BytesIO(b"abc"), 3, zlib.crc32(b"abc")).read() == b"abc"
    assert CheckedFile(io.BytesIO(b"abcdef"), 3, zlib.crc32(b"abc")).read(100) == b"abc"
    for data, crc in ((b"abc", 1), (b"ab", zlib.crc32(b"ab"))):
        with pytest.raises(zipfile.BadZipFile):
            CheckedFile(io.BytesIO(data), 3, crc).read()
