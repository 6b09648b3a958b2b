import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from gbif_webdataset.images.convert import (
    JPEG_MAX_SIDE,
    WEBP_MAX_SIDE,
    convert_to_rgb,
    encode_jpeg,
    encode_webp,
    read_orientation,
    turn_upright,
)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("turn", range(1, 9))
def test_turn_upright_agrees_with_pillow_for_every_orientation(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    source = Image.fromarray(np.random.default_rng(turn).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    with Image.open(io.BytesIO(encoded(source, "PNG", exif=exif))) as image:
        image.load()
        expected = ImageOps.exif_transpose(image)
        assert np.array_equal(turn_upright(np.asarray(image), read_orientation(image)), expected)


def test_broken_exif_data_counts_as_upright() -> None:
    data = encoded(Image.new("RGB", (40, 30)), "JPEG", exif=b"Exif\0\0nonsense")
    with Image.open(io.BytesIO(data)) as image:
        assert read_orientation(image) == 1


def test_transparent_pixels_become_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 200, 255))
    assert convert_to_rgb(image).getpixel((0, 0)) == (255, 255, 255)
    assert convert_to_rgb(image).getpixel((1, 1)) == (0, 0, 200)


def test_the_transparent_colour_of_a_palette_becomes_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 1), 1)
    with Image.open(io.BytesIO(encoded(image, "PNG", transparency=0))) as read:
        assert convert_to_rgb(read).getpixel((0, 0)) == (255, 255, 255)
        assert convert_to_rgb(read).getpixel((1, 1)) == (200, 100, 50)


@pytest.mark.parametrize("kind", ["uint16", "int32", "float32"])
def test_deep_grey_is_scaled_to_8_bit(kind: str) -> None:
    ramp = np.linspace(0, 65_535, 256).reshape(16, 16)
    grey = np.asarray(convert_to_rgb(Image.fromarray(ramp.astype(kind))))[:, :, 1].astype(int)
    assert np.abs(grey.ravel() - np.arange(256)).max() <= 1


def test_a_dark_16_bit_image_stays_dark() -> None:
    assert convert_to_rgb(Image.fromarray(np.full((8, 8), 2570, "uint16"))).getpixel((0, 0)) == (10, 10, 10)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "LA", "PA", "RGBa", "I;16B"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    assert convert_to_rgb(Image.new(mode, (20, 10))).mode == "RGB"


def test_a_side_longer_than_jpeg_allows_is_an_error() -> None:
    with pytest.raises(ValueError, match="65500"):
        encode_jpeg(np.zeros((1, JPEG_MAX_SIDE + 1, 3), np.uint8), 90)


def test_a_side_longer_than_webp_allows_is_an_error() -> None:
    with pytest.raises(ValueError, match="16383"):
        encode_webp(np.zeros((WEBP_MAX_SIDE + 1, 1, 3), np.uint8), 90)


def test_encoded_images_carry_no_metadata() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    for data in (encode_jpeg(pixels, 90), encode_webp(pixels, 90)):
        with Image.open(io.BytesIO(data)) as image:
            assert not {"exif", "icc_profile", "comment"} & image.info.keys()
