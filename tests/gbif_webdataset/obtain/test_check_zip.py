import io
import struct
import zipfile
from pathlib import Path

import pytest

from gbif_webdataset.obtain.check_zip import MAX_DIRECTORY_BYTES, DamagedZipError, check_zip
from tests.support.gbif_api import make_zip

ARCHIVES = Path(__file__).parents[3] / "sample"


def test_the_sample_is_complete() -> None:
    check_zip(ARCHIVES / "archive.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_of_any_method_is_accepted(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.txt", b"moth" * 1000)
    check_zip(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: data[:-30], "is not a zip, or ends too early"),
        (lambda data: data[: len(data) // 2], "is not a zip, or ends too early"),
        (lambda data: b"", "is not a zip, or ends too early"),
        (lambda data: data[:1000] + b"\xff" + data[1001:], r"has a wrong checksum \(CRC-32\) within"),
        (lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x03", 1), "is damaged"),
        (lambda data: data[100:], "is damaged"),
    ],
)
def test_damage_is_found(damage: object, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(damage(make_zip()))
    with pytest.raises(DamagedZipError, match=f"^{sentence}$"):
        check_zip(path)


def test_a_directory_that_takes_gigabytes_of_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        file.truncate(MAX_DIRECTORY_BYTES + 1000)
        file.seek(MAX_DIRECTORY_BYTES + 1000)
        file.write(b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 1, 1, MAX_DIRECTORY_BYTES + 1, 0, 0))
    with pytest.raises(DamagedZipError, match="has too many files"):
        check_zip(path)


def test_a_file_that_expands_very_much_is_left_to_the_reader_of_the_archive(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.txt", bytes(50_000_000))
    data = bytearray(buffer.getvalue())
    at = data.rfind(b"PK\x01\x02")
    data[at + 16 : at + 20] = b"\0\0\0\0"  # a wrong CRC, which would be found if the file were read
    data[at + 24 : at + 28] = struct.pack("<L", 4_000_000_000)
    (tmp_path / "a.zip").write_bytes(data)
    check_zip(tmp_path / "a.zip")
