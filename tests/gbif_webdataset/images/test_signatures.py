import io

import pytest
from PIL import Image

from gbif_webdataset.images.signatures import HEAD_BYTES, identify_image


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("JPEG", "jpeg"),
        ("MPO", "jpeg"),
        ("PNG", "png"),
        ("GIF", "gif"),
        ("WEBP", "webp"),
        ("TIFF", "tiff"),
        ("BMP", "bmp"),
        ("AVIF", "avif"),
        ("JPEG2000", "jp2"),
    ],
)
def test_images_written_by_pillow_are_identified(kind: str, name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, kind)
    assert identify_image(file.getvalue()[:HEAD_BYTES]) == name


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", None),
        (b"MM\0*\0\0\0\x08", "tiff"),
        (b"", None),
        (b"\xff\xd8", None),
        (b"BMW is a car, and this a text about it", None),
        (b"<!DOCTYPE html><html>", None),
        (b'{"error": "not found"}', None),
        (b"\x1f\x8b\x08\0\0\0\0\0", None),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
    ],
)
def test_first_bytes_of_other_files_are_identified(head: bytes, kind: str | None) -> None:
    assert identify_image(head) == kind
