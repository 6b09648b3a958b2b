"""Perceptual hashes of near duplicates and of other images, and images that show nothing."""

import hashlib
import itertools
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageOps

from gbif_webdataset.verify.check_image import check_image
from gbif_webdataset.verify.finding import Finding
from tests.support import damage
from tests.support.damage import draw_photos, encode, encode_turned

MAX_NEAR_BITS, MIN_FAR_BITS = 6, 17


def find(folder: Path, data: bytes) -> Finding:
    path = folder / "a.jpg"
    path.write_bytes(data)
    return check_image(path.read_bytes(), hashlib.sha256(data).hexdigest(), 100_000_000)


def bits(folder: Path, data: bytes) -> int:
    return int(find(folder, data).perceptual_hash or "", 16)


def test_smaller_and_coarser_copies_have_similar_hashes_and_other_photos_do_not(tmp_path: Path) -> None:
    hashes = []
    for photo in draw_photos():
        whole = bits(tmp_path, encode(photo, "JPEG", quality=90))
        half = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.LANCZOS)
        third = photo.resize((photo.width * 3 // 10, photo.height * 3 // 10), Image.Resampling.BICUBIC)
        copies = [
            encode(photo, "JPEG", quality=60),
            encode(half, "JPEG", quality=60),
            encode(third, "JPEG", quality=75),
        ]
        copies += [encode(photo, "JPEG", progressive=True), encode(photo, "PNG"), encode(half, "WEBP")]
        copies += [encode(photo.convert("L"), "JPEG"), encode(half.convert("CMYK"), "JPEG")]
        assert max((bits(tmp_path, copy) ^ whole).bit_count() for copy in copies) <= MAX_NEAR_BITS
        hashes.append(whole)
    assert min((one ^ other).bit_count() for one, other in itertools.combinations(hashes, 2)) >= MIN_FAR_BITS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_photo_turned_by_exif_has_a_hash_similar_to_its_upright_copy(tmp_path: Path, kind: str) -> None:
    photo = draw_photos()[0].resize((250, 190))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = photo.copy()
        stored.info["exif"] = exif.tobytes()
        upright = ImageOps.exif_transpose(stored)
        near = bits(tmp_path, encode_turned(photo, orientation, kind)) ^ bits(tmp_path, encode(upright, "PNG"))
        assert near.bit_count() <= MAX_NEAR_BITS, orientation


def test_pictures_of_one_colour_are_flat_in_every_format(tmp_path: Path) -> None:
    for colour in ("white", "black", (200, 190, 170), (30, 60, 220)):
        plate = Image.new("RGB", (400, 300), colour)
        for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
            assert find(tmp_path, encode(plate, kind)).flat is True, (kind, colour)
        for mode in ("L", "CMYK"):
            assert find(tmp_path, encode(plate.convert(mode), "JPEG", quality=30)).flat is True
    assert find(tmp_path, encode(Image.new("RGBA", (90, 80), (200, 10, 10, 0)), "PNG")).flat is True
    assert find(tmp_path, encode(Image.new("RGB", (1, 1)), "PNG")).flat is True


def test_photos_and_a_speck_on_a_white_sheet_are_not_flat(tmp_path: Path) -> None:
    for number, photo in enumerate(draw_photos()):
        for data in damage.encode_jpegs(number).values():
            assert find(tmp_path, data).flat is False
        faded = photo.convert("L").point([200 + level // 8 for level in range(256)])
        assert find(tmp_path, encode(faded, "JPEG")).flat is False
    sheet = Image.new("RGB", (2048, 1536), "white")
    ImageDraw.Draw(sheet).ellipse((1000, 700, 1030, 720), "black")
    assert find(tmp_path, encode(sheet, "JPEG")).flat is False
