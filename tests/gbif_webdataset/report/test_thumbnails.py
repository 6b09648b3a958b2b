import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from gbif_webdataset.report.thumbnails import BOX, Thumbnail, make_contact_sheet, make_thumbnail
from gbif_webdataset.storage.image_reader import ImageReader
from tests.support.shard_run import encoded, photo, psnr, turned

RED, GREEN, BLUE, WHITE = (200, 30, 40), (20, 160, 60), (30, 50, 190), (255, 255, 255)
KINDS = {
    "RGB": ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"), "L": ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"),
    "P": ("PNG", "GIF", "TIFF", "BMP"), "CMYK": ("JPEG", "TIFF"),
}  # fmt: skip


def corners(width: int = 320, height: int = 200) -> Image.Image:
    """A picture whose corners tell which way is up."""
    pixels = np.zeros((height, width, 3), "uint8")
    halves = (slice(0, height // 2), slice(height // 2, None)), (slice(0, width // 2), slice(width // 2, None))
    for row, column, colour in ((0, 0, RED), (0, 1, GREEN), (1, 0, BLUE), (1, 1, WHITE)):
        pixels[halves[0][row], halves[1][column]] = colour
    return Image.fromarray(pixels)


def shown(root: Path, data: bytes) -> Image.Image:
    """The thumbnail of a file, as a browser decodes it."""
    (root / "image").write_bytes(data)
    found = make_thumbnail(ImageReader(root), "image")
    assert found is not None
    return picture(found)


def picture(of: Thumbnail) -> Image.Image:
    head, _, content = of.uri.partition(",")
    assert head == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    image.load()
    assert image.format == "WEBP"
    assert image.size == (of.width, of.height)
    assert image.width <= BOX[0] and image.height <= BOX[1]
    return image.convert("RGB")


def colour(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """The colour at a part of the width and the height."""
    return tuple(image.getpixel((int(x * image.width), int(y * image.height))))


def png(width: int, height: int) -> bytes:
    """The head of a PNG, with pixels for none of its rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def tile(side: int) -> bytes:
    """A TIFF of 16 x 16 pixels in one tile that is far larger."""
    pixels = zlib.compress(bytes(side * side))
    entries = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 200)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*entries, (325, len(pixels))])
    return (b"II*\0" + struct.pack("<IH", 8, len(entries) + 1) + directory).ljust(200, b"\0") + pixels


def jpeg(width: int, height: int, progressive: bool) -> bytes:
    """A JPEG that says it is so large, and breaks off soon."""
    data = bytearray(encoded(Image.new("RGB", (64, 64), RED), progressive=progressive))
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(("mode", "kind"), [(mode, kind) for mode, kinds in KINDS.items() for kind in kinds])
def test_every_format_and_mode_is_shown_in_its_colours(tmp_path: Path, kind: str, mode: str) -> None:
    data = encoded(corners().convert(mode), kind)
    small = shown(tmp_path, data)
    assert small.size == (192, 120)
    with Image.open(io.BytesIO(data)) as whole:
        assert psnr(small, whole.convert("RGB").resize(small.size)) > 28


def test_transparent_pixels_are_white_and_half_transparent_ones_are_paler(tmp_path: Path) -> None:
    image = corners().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 160, 100))
    image.paste((0, 0, 0, 128), (160, 0, 320, 100))
    small = shown(tmp_path, encoded(image, "PNG"))
    assert colour(small, 0.25, 0.25) == pytest.approx(WHITE, abs=6)
    assert colour(small, 0.75, 0.25) == pytest.approx((127,) * 3, abs=6)
    assert colour(small, 0.25, 0.75) == pytest.approx(BLUE, abs=12)


def test_a_palette_with_a_transparent_colour_is_white_there(tmp_path: Path) -> None:
    image = corners().quantize(8)
    clear = image.getpixel((0, 0))
    small = shown(tmp_path, encoded(image, "GIF", transparency=clear))
    assert colour(small, 0.25, 0.25) == pytest.approx(WHITE, abs=6)
    assert colour(small, 0.75, 0.25) == pytest.approx(GREEN, abs=16)


def test_sixteen_bit_grey_is_scaled_to_eight_bits(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65_535, 256).astype("uint16"), (128, 1))
    small = shown(tmp_path, encoded(Image.fromarray(ramp), "PNG"))
    assert [colour(small, x, 0.5)[0] for x in (0.1, 0.5, 0.9)] == pytest.approx([26, 128, 230], abs=8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(320, 200), (120, 900)])
def test_images_of_every_exif_orientation_are_upright(
    tmp_path: Path, kind: str, orientation: int, size: tuple[int, int]
) -> None:
    data = encoded(corners(*size), kind, exif=turned(orientation))
    small = shown(tmp_path, data)
    with Image.open(io.BytesIO(data)) as whole:
        upright = ImageOps.exif_transpose(whole).convert("RGB")
    upright.thumbnail(BOX)
    assert abs(small.width - upright.width) <= 1 and abs(small.height - upright.height) <= 1
    for x in (0.25, 0.75):
        for y in (0.25, 0.75):
            assert colour(small, x, y) == pytest.approx(colour(upright, x, y), abs=24), (x, y)


def test_a_small_image_is_not_enlarged(tmp_path: Path) -> None:
    assert shown(tmp_path, encoded(corners(30, 20))).size == (30, 20)
    assert shown(tmp_path, encoded(corners(30, 20), exif=turned(6))).size == (20, 30)
    assert shown(tmp_path, encoded(corners(5000, 2), "PNG")).size == (192, 1)


@pytest.mark.parametrize("progressive", [False, True])
def test_the_first_part_of_a_truncated_jpeg_is_shown(tmp_path: Path, progressive: bool) -> None:
    whole = photo(800, 600, 1)
    data = encoded(whole, quality=90, progressive=progressive)
    small = shown(tmp_path, data[: len(data) * 2 // 3])
    assert small.size == (192, 144)
    upper = (0, 0, 171, 60)
    assert psnr(small.crop(upper), whole.resize(small.size).crop(upper)) > 24
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_files_that_are_not_images_are_skipped(tmp_path: Path) -> None:
    files = {
        "empty": b"", "page": b"<html>not found</html>", "head": encoded(corners())[:20], "zeros": bytes(9999),
        "bomb": png(30_000, 30_000), "wide": png(2**31 - 1, 2**31 - 1), "icon": b"\x00\x00\x01\x00" * 99,
        "vector": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "gif": b"GIF89a" + b"\xff" * 50,
        "tiff": b"II*\x00" + b"\xff" * 50,
        "tile": tile(10_240), "progressive": jpeg(12_000, 12_000, progressive=True),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "good").write_bytes(encoded(corners()))
    for name in (*files, "folder", "missing", "no/such/folder", "nul\0"):
        assert make_thumbnail(ImageReader(tmp_path), name) is None, name
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    [found] = make_contact_sheet(ImageReader(tmp_path), {"all": [*files, "folder", "missing", "good"]}, 6)["all"]
    assert found.path == "good"


def test_a_huge_baseline_jpeg_is_shown_because_it_needs_little_memory(tmp_path: Path) -> None:
    assert shown(tmp_path, jpeg(12_000, 6000, progressive=False)).size == (192, 96)


def images(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (root / name).write_bytes(encoded(photo(200, 150, seed)))


def test_each_key_has_its_first_existing_candidates_up_to_the_maximum(tmp_path: Path) -> None:
    images(tmp_path, "a1", "a2", "a3", "b2")
    found = make_contact_sheet(
        ImageReader(tmp_path), {"a": ["a1", "a2", "a3"], "b": ["b1", "b2"], "c": ["c1"], "d": []}, 2
    )
    assert {key: [one.path for one in of] for key, of in found.items()} == {
        "a": ["a1", "a2"], "b": ["b2"], "c": [], "d": [],
    }  # fmt: skip


def test_the_sheet_stays_within_its_bytes_and_every_key_gets_its_first_before_any_gets_its_second(
    tmp_path: Path,
) -> None:
    names = [f"{key}{number}" for number in range(3) for key in "abcd"]
    images(tmp_path, *names)
    candidates = {key: [f"{key}{number}" for number in range(3)] for key in "abcd"}
    whole = make_contact_sheet(ImageReader(tmp_path), candidates, 3)
    sizes = {one.path: len(one.uri) for of in whole.values() for one in of}
    assert set(sizes) == set(names)
    for many in range(len(names)):
        exact = sum(sizes[name] for name in names[:many])
        for budget in (exact, exact + sizes[names[many]] - 1):
            found = make_contact_sheet(ImageReader(tmp_path), candidates, 3, budget)
            assert list(found) == list("abcd")
            assert {one.path for of in found.values() for one in of} == set(names[:many])
            assert sum(len(one.uri) for of in found.values() for one in of) == exact <= budget
