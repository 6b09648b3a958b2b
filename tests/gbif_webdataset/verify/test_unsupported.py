import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import damage
from tests.support.verify_run import Checker, VerifyRun

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as in VerifyChunk


def make_bitfield_bmp(masks: tuple[int, int, int], bits: int = 32) -> bytes:
    pixels = bytes(range(256)) * 3 * (bits // 8)
    header = struct.pack("<IiiHHIIiiII", 40, 24, 32, 1, bits, 3, len(pixels), 0, 0, 0, 0) + struct.pack("<III", *masks)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


def make_bmp_with_palette(colours: int) -> bytes:
    pixels = bytes(range(256))
    header = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 8, 0, len(pixels), 0, 0, colours, 0) + bytes(4 * colours)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


def change_frame(jpeg: bytes, offset: int, value: bytes, marker: bytes = b"\xff\xc0") -> bytes:
    """A JPEG with other bytes in its frame header."""
    return damage.overwrite(jpeg, jpeg.index(marker) + offset, value)


def make_unsupported() -> dict[str, bytes]:
    photo = damage.draw_photos()[0]
    jpeg, webp = damage.encode_jpegs(0)["4:2:0"], damage.encode(photo, "WEBP")
    tiff = damage.make_tiff(256, 256, 256, webp)
    floats = io.BytesIO()
    Image.fromarray(np.zeros((64, 64), np.float32)).save(floats, "TIFF")
    double = floats.getvalue()
    return {
        "12-bit jpeg": change_frame(jpeg, 4, b"\x0c"),
        "12-bit extended jpeg": change_frame(change_frame(jpeg, 4, b"\x0c"), 1, b"\xc1"),
        "jpeg of a hierarchical process": change_frame(jpeg, 1, b"\xc5"),
        "jpeg that states no height": change_frame(jpeg, 5, b"\0\0"),
        "jpeg with two channels": change_frame(jpeg, 9, b"\2"),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500),
        "jpeg xl": b"\xff\x0a" + bytes(500),
        "jpeg xl in a container": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(500),
        "bitfield bmp": make_bitfield_bmp((0x3FF00000, 0xFFC00, 0x3FF)),
        "16-bit bitfield bmp": make_bitfield_bmp((0xF00, 0xF0, 0xF), 16),
        "bmp of 300 colours": make_bmp_with_palette(300),
        "webp in tiff": tiff.replace(struct.pack("<HHII", 259, 4, 1, 8), struct.pack("<HHII", 259, 4, 1, 50_001)),
        "jpeg xl in tiff": tiff.replace(struct.pack("<HHII", 259, 4, 1, 8), struct.pack("<HHII", 259, 4, 1, 50_002)),
        "tiff of an odd number of bits": damage.make_tiff(8, 8, 16, bytes(99)).replace(
            struct.pack("<HHII", 258, 4, 1, 8), struct.pack("<HHII", 258, 4, 1, 11)
        ),
        "tiff with floats as palette": double.replace(
            struct.pack("<HHII", 262, 3, 1, 1), struct.pack("<HHII", 262, 3, 1, 3)
        ),
    }


@pytest.mark.parametrize("kind", make_unsupported())
def test_sound_files_without_a_decoder_are_an_unsupported_format(check: Checker, kind: str) -> None:
    assert check(make_unsupported()[kind]).error == "unsupported-format"


def test_a_cut_tiff_of_an_unusual_compression_is_not_reported_as_sound(check: Checker) -> None:
    data = make_unsupported()["webp in tiff"]
    assert check(data[: len(data) // 2]).error in ("truncated", "corrupt-data")


def test_files_of_unsupported_formats_are_not_listed_for_deletion(tmp_path: Path) -> None:
    run = VerifyRun(tmp_path)
    photo = damage.encode(Image.linear_gradient("L").resize((61, 43)), "JPEG")
    files = {"d/1.jpg": b"\xff\x0a" + bytes(99), "d/2.jpg": photo[:-99], "d/3.png": damage.make_bombs(500)["png"]}
    run.verify({**files, "d/4.jpg": photo})
    assert run.combine() == {"too-many-pixels": 1, "truncated": 1, "unsupported-format": 1, "valid": 1}
    assert [line[:2] for line in run.errors()[1:]] == [["d/2.jpg", "truncated"]]
