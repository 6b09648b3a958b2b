from gbif_webdataset.verify.png_damage import check_png
from tests.support import damage
from tests.support.verify_run import Checker


def test_wrong_checksums_of_critical_chunks_are_corrupt_data(check: Checker) -> None:
    data = damage.encode_other_formats(0)["png"]
    at = data.rindex(b"IDAT")
    assert check(damage.overwrite(data, len(data) - 16, b"\0\0\0\0")).error == "corrupt-data"
    assert check(damage.overwrite(data, at + 500, bytes(damage.BLOCK))).error == "corrupt-data"
    text = damage.overwrite(damage.make_png_chunk(b"tEXt", b"Comment\0moth"), 20, b"\0")
    assert check(data[:-12] + text + data[-12:]).error == ""


def test_a_png_that_ends_within_a_chunk_is_truncated() -> None:
    data = damage.encode_other_formats(0)["png"]
    assert check_png(data) == ""
    assert {check_png(data[:end]) for end in (8, 20, len(data) // 2, len(data) - 1)} == {"truncated"}
