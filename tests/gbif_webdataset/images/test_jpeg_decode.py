import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gbif_webdataset.images import jpeg_decode
from gbif_webdataset.images.convert import orientation
from gbif_webdataset.images.jpeg_decode import Header, decode, read_header
from tests.support.shard_run import encoded, photo, psnr, turned

XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'


@pytest.fixture(params=["simplejpeg", "Pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each decoder in turn; Pillow is what there is where simplejpeg has no wheel."""
    if request.param == "Pillow":
        monkeypatch.setattr(jpeg_decode, "simplejpeg", None)
    return str(request.param)


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    return encoded(photo(320, 240, 1).convert(mode), quality=90, **options)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (jpeg(), Header(320, 240, 1, False)),
        (jpeg("L"), Header(320, 240, 1, False)),
        (jpeg("CMYK"), Header(320, 240, 1, True)),
        (jpeg(progressive=True, subsampling=0), Header(320, 240, 1, False)),
        (jpeg(exif=turned(6)), Header(320, 240, 6, False)),
        (jpeg(xmp=XMP), Header(320, 240, 8, False)),
        (jpeg(icc_profile=bytes(200_000), exif=turned(3)), Header(320, 240, 3, False)),
        (jpeg(comment=b"Exif\0\0"), Header(320, 240, 1, False)),
    ],
)
def test_a_header_says_size_orientation_and_inks(decoder: str, data: bytes, expected: Header) -> None:
    assert read_header(data) == expected
    with Image.open(io.BytesIO(data)) as image:
        assert orientation(image) == expected.turn


def test_another_format_has_no_header_of_a_jpeg() -> None:
    assert read_header(encoded(photo(32, 24, 1), "PNG")) is None


@pytest.mark.parametrize("cut", range(2, 700, 7))
def test_a_header_cut_anywhere_ends_in_an_error_or_a_header(decoder: str, cut: int) -> None:
    try:
        assert read_header(jpeg(exif=turned(6))[:cut]) in (None, Header(320, 240, 6, False))
    except Exception as error:
        assert isinstance(error, OSError | SyntaxError | ValueError | IndexError)


def test_padding_before_a_marker_hides_no_orientation() -> None:
    data = jpeg(exif=turned(6))
    padded = data[:2] + b"\xff\xff" + data[2:]
    header = read_header(padded)
    assert header is None or header.turn == 6


@pytest.mark.parametrize("least", [(1, 1), (40, 30), (41, 30), (120, 90), (199, 100), (320, 240)])
def test_what_is_decoded_is_never_smaller_than_asked_and_seldom_much_larger(
    decoder: str, least: tuple[int, int]
) -> None:
    data = jpeg()
    height, width, channels = decode(data, Header(320, 240, 1, False), least).shape
    assert channels == 3
    assert width >= least[0]
    assert height >= least[1]
    largest = 2 * max(least[0] / 320, least[1] / 240) + (1 / 8)
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
def test_a_full_decode_is_pillows_but_for_rounding(options: dict[str, Any]) -> None:
    data = jpeg(**options)
    with Image.open(io.BytesIO(data)) as image:
        ours = Image.fromarray(decode(data, Header(320, 240, 1, False), (320, 240)))
        assert psnr(ours, image) > 45


def test_inks_become_rgb(decoder: str) -> None:
    pixels = decode(jpeg("CMYK"), Header(320, 240, 1, True), (320, 240))
    assert psnr(Image.fromarray(pixels), photo(320, 240, 1)) > 30


def test_what_simplejpeg_warns_of_is_decoded_by_pillow(decoder: str) -> None:
    data = jpeg()
    padded = data[:-2] + b"\0" * 40 + data[-2:]
    assert decode(padded, Header(320, 240, 1, False), (320, 240)).shape == (240, 320, 3)


def test_a_jpeg_that_breaks_off_is_refused(decoder: str) -> None:
    data = jpeg()
    with pytest.raises(OSError, match="truncated"):
        decode(data[: len(data) // 2], Header(320, 240, 1, False), (40, 30))


def test_the_codecs_are_named_with_their_versions() -> None:
    assert jpeg_decode.CODECS.endswith(jpeg_decode._codecs())
    assert "Pillow " in jpeg_decode.CODECS
    assert "OpenCV 4." in jpeg_decode.CODECS
    assert ("simplejpeg" in jpeg_decode.CODECS) == (jpeg_decode.simplejpeg is not None)


def test_grey_becomes_rgb_in_the_same_shades(decoder: str) -> None:
    pixels = decode(jpeg("L"), Header(320, 240, 1, False), (320, 240))
    assert pixels.shape == (240, 320, 3)
    assert np.ptp(pixels.astype(int), axis=2).max() == 0
