import struct
import time

import pytest
from PIL import Image

from gbif_webdataset.verify import complexity
from tests.support import damage
from tests.support.verify_run import Checker

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as in VerifyChunk


def repeat_last_scan(jpeg: bytes, times: int) -> bytes:
    return jpeg[:-2] + jpeg[jpeg.rindex(damage.SCAN) : -2] * times + damage.END


def make_gif(sub_blocks: int) -> bytes:
    gif = damage.encode(Image.new("P", (40, 30)), "GIF")
    at = 13 + (3 << (gif[10] & 7) + 1 if gif[10] & 0x80 else 0)
    return gif[:at] + b"!\xfe" + (b"\1a") * sub_blocks + b"\0" + gif[at:]


def make_complex() -> dict[str, bytes]:
    small = Image.new("RGB", (40, 30), "red")
    jpeg, png = damage.encode(small, "JPEG"), damage.encode(small, "PNG")
    large = damage.encode(Image.new("L", (4000, 3000)), "JPEG", progressive=True)
    text = damage.make_png_chunk(b"tEXt", b"Comment\0moth")
    strips = damage.make_tiff(40, 30, 256, bytes(99))
    return {
        "2,000 scans": repeat_last_scan(damage.encode(small, "JPEG", progressive=True), 2_000),
        "300 scans of 12 megapixels": repeat_last_scan(large, 300),
        "segments": jpeg[:2] + damage.make_segment(b"\xfe", b"") * 300_000 + jpeg[2:],
        "bytes of segments": jpeg[:2] + damage.make_segment(b"\xe1", bytes(65_000)) * 600 + jpeg[2:],
        "chunks": png[:-12] + text * 200_000 + png[-12:],
        "bytes of chunks": png[:33] + damage.make_png_chunk(b"eXIf", bytes(33 << 20)) + png[33:],
        "compressed texts": png[:33] + damage.make_png_chunk(b"zTXt", b"a\0\0" + compress(bytes(3 << 20))) + png[33:],
        "comments": make_gif(300_000),
        "tiles": strips.replace(struct.pack("<HHI", 324, 4, 1), struct.pack("<HHI", 324, 4, 1 << 28)),
    }


def compress(data: bytes) -> bytes:
    import zlib

    return zlib.compress(data)


@pytest.mark.parametrize("name", make_complex())
def test_a_file_that_takes_very_long_to_read_is_too_complex(check: Checker, name: str) -> None:
    data = make_complex()[name]
    begun = time.process_time()
    assert check(data).error == "too-complex"
    assert time.process_time() - begun < 2


def test_files_below_the_limits_are_read(check: Checker) -> None:
    progressive = damage.encode(Image.new("RGB", (40, 30), "red"), "JPEG", progressive=True)
    assert check(repeat_last_scan(progressive, 400)).error == ""
    assert check(make_gif(2_000)).error == ""
    jpeg = damage.encode_jpegs(0)["progressive"]
    assert check(jpeg + damage.SCAN * 3_000).error == ""
    assert check(damage.add_thumbnail(jpeg, b"\xff\xda\0\3" * 3_000)).error == ""


def test_damaged_files_are_not_too_complex() -> None:
    for photos in (damage.encode_jpegs(0), damage.encode_other_formats(0)):
        for kind, data in photos.items():
            name = {"jpeg 2000": "jp2"}.get(kind, kind.split()[-1])
            for cut in damage.cut_file(data).values():
                assert not complexity.is_too_complex(cut, name if name in ("png", "gif", "tiff") else "jpeg")
