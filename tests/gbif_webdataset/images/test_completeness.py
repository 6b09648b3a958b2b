import io
import struct

import pytest
from PIL import Image

from gbif_webdataset.images.completeness import is_complete_image


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((160, 120), 60).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


KINDS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
BOXES = struct.pack(">I4s4s4x", 16, b"ftyp", b"heic") + struct.pack(">I4s", 108, b"mdat") + bytes(100)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_image_is_complete_also_with_bytes_after_its_end(kind: str) -> None:
    assert is_complete_image(io.BytesIO(encoded(kind)))
    assert is_complete_image(io.BytesIO(encoded(kind) + bytes(100)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 0.99])
def test_an_image_that_ends_early_is_not_complete(kind: str, share: float) -> None:
    whole = encoded(kind)
    assert not is_complete_image(io.BytesIO(whole[: int(len(whole) * share)]))


def test_a_file_of_boxes_is_complete_if_its_last_box_is() -> None:
    assert is_complete_image(io.BytesIO(BOXES))
    assert not is_complete_image(io.BytesIO(BOXES[:-1]))


def test_a_file_that_cannot_be_checked_counts_as_complete() -> None:
    assert is_complete_image(io.BytesIO(b"\xff\x0a" + bytes(100)))
