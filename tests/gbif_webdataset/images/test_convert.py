import io

import numpy as np
import pytest
from PIL import Image

from gbif_webdataset.images.convert import (
    JPEG_MAX_SIDE,
    kind_of,
    orientation,
    to_jpeg,
    to_rgb,
    upright_pixels,
    upright_size,
)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


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
def test_what_pillow_writes_is_known_by_its_first_bytes(kind: str, name: str) -> None:
    assert kind_of(encoded(Image.new("RGB", (40, 30), "red"), kind)[:64]) == name


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
def test_other_heads_are_told_apart(head: bytes, kind: str | None) -> None:
    assert kind_of(head) == kind


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(turn: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = turn
    source = Image.fromarray(np.random.default_rng(turn).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    with Image.open(io.BytesIO(encoded(source, "PNG", exif=exif))) as image:
        image.load()
        expected = ImageOps.exif_transpose(image)
        assert upright_size(image) == expected.size
        assert np.array_equal(upright_pixels(np.asarray(image), orientation(image)), expected)


def test_broken_exif_leaves_the_image_as_it_stands() -> None:
    data = encoded(Image.new("RGB", (40, 30)), "JPEG", exif=b"Exif\0\0nonsense")
    with Image.open(io.BytesIO(data)) as image:
        assert orientation(image) == 1
        assert upright_size(image) == (40, 30)


def test_transparent_pixels_are_laid_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 200, 255))
    assert to_rgb(image).getpixel((0, 0)) == (255, 255, 255)
    assert to_rgb(image).getpixel((1, 1)) == (0, 0, 200)


def test_a_palettes_transparent_colour_is_laid_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 1), 1)
    with Image.open(io.BytesIO(encoded(image, "PNG", transparency=0))) as read:
        assert to_rgb(read).getpixel((0, 0)) == (255, 255, 255)
        assert to_rgb(read).getpixel((1, 1)) == (200, 100, 50)


@pytest.mark.parametrize("kind", ["uint16", "int32", "float32"])
def test_deep_grey_is_scaled_to_8_bit(kind: str) -> None:
    ramp = np.linspace(0, 65_535, 256).reshape(16, 16)
    grey = np.asarray(to_rgb(Image.fromarray(ramp.astype(kind))))[:, :, 1].astype(int)
    assert np.abs(grey.ravel() - np.arange(256)).max() <= 1


def test_a_dark_16_bit_image_stays_dark() -> None:
    assert to_rgb(Image.fromarray(np.full((8, 8), 2570, "uint16"))).getpixel((0, 0)) == (10, 10, 10)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "LA", "PA", "RGBa", "I;16B"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    assert to_rgb(Image.new(mode, (20, 10))).mode == "RGB"


def test_a_side_beyond_jpegs_is_refused() -> None:
    with pytest.raises(ValueError, match="65500"):
        to_jpeg(np.zeros((1, JPEG_MAX_SIDE + 1, 3), np.uint8), 90)
