import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gbif_webdataset.images import jpeg_decode
from gbif_webdataset.images.convert import read_orientation
from gbif_webdataset.images.jpeg_decode import JpegHeader, decode_jpeg, read_header
from tests.support.shard_run import encoded, photo, psnr, turned

XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'


@pytest.fixture(params=["simplejpeg", "Pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each decoder in turn: Pillow decodes everything on machines for which simplejpeg has no wheel."""
    if request.param == "Pillow":
        monkeypatch.setattr(jpeg_decode, "simplejpeg", None)
    return str(request.param)


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    return encoded(photo(320, 240, 1).convert(mode), quality=90, **options)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (jpeg(), JpegHeader(320, 240, 1, False)),
        (jpeg("L"), JpegHeader(320, 240, 1, False)),
        (jpeg("CMYK"), JpegHeader(320, 240, 1, True)),
        (jpeg(progressive=True, subsampling=0), JpegHeader(320, 240, 1, False)),
        (jpeg(exif=turned(6)), JpegHeader(320, 240, 6, False)),
        (jpeg(xmp=XMP), JpegHeader(320, 240, 8, False)),
        (jpeg(icc_profile=bytes(200_000), exif=turned(3)), JpegHeader(320, 240, 3, False)),
        (jpeg(comment=b"Exif\0\0"), JpegHeader(320, 240, 1, False)),
    ],
)
def test_the_header_gives_size_orientation_and_whether_colours_are_cmyk(
    decoder: str, data: bytes, expected: JpegHeader
) -> None:
    assert read_header(data) == expected
    with Image.open(io.BytesIO(data)) as image:
        assert read_orientation(image) == expected.orientation


def test_files_of_other_formats_have_no_jpeg_header() -> None:
    assert read_header(encoded(photo(32, 24, 1), "PNG")) is None


@pytest.mark.parametrize("cut", range(2, 700, 7))
def test_a_header_cut_at_any_byte_gives_an_error_or_the_header(decoder: str, cut: int) -> None:
    try:
        assert read_header(jpeg(exif=turned(6))[:cut]) in (None, JpegHeader(320, 240, 6, False))
    except Exception as error:
        assert isinstance(error, OSError | SyntaxError | ValueError | IndexError)


def test_padding_before_a_marker_does_not_hide_the_orientation() -> None:
    data = jpeg(exif=turned(6))
    padded = data[:2] + b"\xff\xff" + data[2:]
    header = read_header(padded)
    assert header is None or header.orientation == 6


@pytest.mark.parametrize("min_size", [(1, 1), (40, 30), (41, 30), (120, 90), (199, 100), (320, 240)])
def test_decoded_pixels_have_at_least_the_requested_size_and_at_most_about_twice_as_much(
    decoder: str, min_size: tuple[int, int]
) -> None:
    data = jpeg()
    height, width, channels = decode_jpeg(data, JpegHeader(320, 240, 1, False), min_size).shape
    assert channels == 3
    assert width >= min_size[0]
    assert height >= min_size[1]
    largest = 2 * max(min_size[0] / 320, min_size[1] / 240) + (1 / 8)
    assert width <= largest * 320 + 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subsampling": 0},
        {"subsampling": 1},
        {"progressive": True},
        {"restart_marker_blocks": 4},
    ],
)
def test_a_decode_at_full_scale_equals_pillows_up_to_rounding(options: dict[str, Any]) -> None:
    data = jpeg(**options)
    with Image.open(io.BytesIO(data)) as image:
        ours = Image.fromarray(decode_jpeg(data, JpegHeader(320, 240, 1, False), (320, 240)))
        assert psnr(ours, image) > 45


def test_cmyk_becomes_rgb(decoder: str) -> None:
    pixels = decode_jpeg(jpeg("CMYK"), JpegHeader(320, 240, 1, True), (320, 240))
    assert psnr(Image.fromarray(pixels), photo(320, 240, 1)) > 30


def test_a_jpeg_that_simplejpeg_warns_about_is_decoded_by_pillow(decoder: str) -> None:
    data = jpeg()
    padded = data[:-2] + b"\0" * 40 + data[-2:]
    assert decode_jpeg(padded, JpegHeader(320, 240, 1, False), (320, 240)).shape == (240, 320, 3)


def test_a_truncated_jpeg_is_an_error(decoder: str) -> None:
    data = jpeg()
    with pytest.raises(OSError, match="truncated"):
        decode_jpeg(data[: len(data) // 2], JpegHeader(320, 240, 1, False), (40, 30))


def test_codecs_names_every_codec_with_its_version() -> None:
    assert jpeg_decode.CODECS.endswith(jpeg_decode._describe_codecs())
    assert "Pillow " in jpeg_decode.CODECS
    assert "OpenCV 4." in jpeg_decode.CODECS
    assert ("simplejpeg" in jpeg_decode.CODECS) == (jpeg_decode.simplejpeg is not None)


def test_grey_becomes_rgb_with_equal_channels(decoder: str) -> None:
    pixels = decode_jpeg(jpeg("L"), JpegHeader(320, 240, 1, False), (320, 240))
    assert pixels.shape == (240, 320, 3)
    assert np.ptp(pixels.astype(int), axis=2).max() == 0
