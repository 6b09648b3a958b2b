import gzip
import hashlib
import random
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from gbif_webdataset.verify import check_image as check_module
from gbif_webdataset.verify import jpeg_damage
from gbif_webdataset.verify.check_image import check_image
from gbif_webdataset.verify.finding import Finding
from tests.support import damage
from tests.support.verify_run import Checker, sha256_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as in VerifyChunk
MAX_PIXELS = 100_000_000
CUTS = list(damage.cut_file(b""))
HARMLESS_CUTS = {"gif": {"without its last two bytes"}}  # they are its trailer
NO_IMAGES = {
    "nothing": b"",
    "html": b"<!doctype html><title>Not found</title>" * 100,
    "json": b'{"error": "not found"}',
    "zeros": bytes(5000),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\nshowpage\n",
    "pdf": b"%PDF-1.7\n" + bytes(500),
}
SIZE = (61, 43)
FEW_PIXELS = 10_000
REPOSITORY = Path(__file__).parents[3]


def noise(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """An image that does not compress, so that a part of its file has a part of its pixels."""
    bands = {"RGB": 3, "L": 1, "CMYK": 4, "RGBA": 4}[mode]
    return Image.frombytes(mode, size, random.Random(1).randbytes(size[0] * size[1] * bands))


def huge_png(width: int, height: int) -> bytes:
    header = damage.make_png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + damage.make_png_chunk(b"IDAT", zlib.compress(b""))
        + damage.make_png_chunk(b"IEND", b"")
    )


JPEG = damage.encode(noise(), "JPEG")
FRAMES = [Image.new("P", SIZE, color) for color in range(3)]
UNDAMAGED = {
    "jpeg": (JPEG, "JPEG", "RGB"),
    "grey jpeg": (damage.encode(noise("L"), "JPEG"), "JPEG", "L"),
    "cmyk jpeg": (damage.encode(noise("CMYK"), "JPEG"), "JPEG", "CMYK"),
    "progressive jpeg": (damage.encode(noise(), "JPEG", progressive=True), "JPEG", "RGB"),
    "jpeg with bytes behind it": (JPEG + b"trailing", "JPEG", "RGB"),
    "png": (damage.encode(noise(), "PNG"), "PNG", "RGB"),
    "transparent png": (damage.encode(noise("RGBA"), "PNG"), "PNG", "RGBA"),
    "16-bit png": (damage.encode(Image.new("I;16", SIZE, 40_000), "PNG"), "PNG", "I;16"),
    "palette png": (damage.encode(noise().quantize(16), "PNG"), "PNG", "P"),
    "gif": (damage.encode(noise().quantize(64), "GIF"), "GIF", "P"),
    "animated gif": (damage.encode(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "GIF", "P"),
    "webp": (damage.encode(noise(), "WEBP"), "WEBP", "RGB"),
    "tiff": (damage.encode(noise(), "TIFF"), "TIFF", "RGB"),
    "deflated tiff": (damage.encode(noise(), "TIFF", compression="tiff_adobe_deflate"), "TIFF", "RGB"),
    "bmp": (damage.encode(noise(), "BMP"), "BMP", "RGB"),
}
DAMAGED = {
    f"half of a {name}": data[: len(data) // 2] for name, (data, _, _) in UNDAMAGED.items() if "animated" not in name
}
DAMAGED |= {
    "all but the end of a jpeg": JPEG[:-300],
    "a jpeg's first bytes": JPEG[:64],
    "a jpeg's header": JPEG[: JPEG.index(b"\xff\xda")],
    "a png's header": UNDAMAGED["png"][0][:33],
    "nothing": b"",
    "zeros": bytes(5000),
    "html": b"<!doctype html><title>Not found</title>" * 10,
    "json": b'{"error": "not found"}',
    "png with a wrong checksum": UNDAMAGED["png"][0][:20] + b"\xff" + UNDAMAGED["png"][0][21:],
}


@pytest.mark.parametrize("name", UNDAMAGED)
def test_an_undamaged_image_is_measured(tmp_path: Path, name: str) -> None:
    data, kind, mode = UNDAMAGED[name]
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    found = check_image(path.read_bytes(), sha256_of(data), FEW_PIXELS)
    assert (found.error, found.warning, found.valid) == ("", "", True)
    assert (found.format, found.mode, found.width, found.height) == (kind, mode, *SIZE)
    assert (found.stored_width, found.stored_height) == SIZE
    assert (found.file_size, found.sha256) == (len(data), sha256_of(data))
    assert found.perceptual_hash is not None
    assert len(found.perceptual_hash) == 16


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_has_a_defect(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(DAMAGED[name])
    found = check_image(path.read_bytes(), sha256_of(DAMAGED[name]), FEW_PIXELS)
    assert not found.valid
    assert found.error in {"truncated", "corrupt-data", "not-an-image"}
    assert (found.file_size, found.sha256) == (len(DAMAGED[name]), sha256_of(DAMAGED[name]))


def test_the_defect_distinguishes_truncation_from_files_that_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    codes = {}
    for name in ("half of a jpeg", "html", "nothing"):
        path.write_bytes(DAMAGED[name])
        codes[name] = check_image(path.read_bytes(), sha256_of(DAMAGED[name]), FEW_PIXELS).error
    assert codes == {"half of a jpeg": "truncated", "html": "not-an-image", "nothing": "not-an-image"}


def test_a_changed_file_has_a_defect_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    changed = JPEG[:-1] + b"\x00"
    path.write_bytes(changed)
    assert check_image(path.read_bytes(), sha256_of(JPEG), FEW_PIXELS) == Finding(
        "changed-file", file_size=len(changed), sha256=sha256_of(changed)
    )


def test_max_pixels_limits_width_times_height(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    assert check_image(path.read_bytes(), sha256_of(JPEG), SIZE[0] * SIZE[1]).valid
    found = check_image(path.read_bytes(), sha256_of(JPEG), SIZE[0] * SIZE[1] - 1)
    assert (found.error, found.width, found.height) == ("too-many-pixels", *SIZE)


def test_a_huge_image_is_not_decoded_in_a_fresh_interpreter(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(huge_png(60_000, 60_000))
    code = (
        "import sys; from pathlib import Path; from gbif_webdataset.verify.check_image import check_image; path = Path(sys.argv[1]);"
        "import hashlib; print(check_image(path.read_bytes(), hashlib.sha256(path.read_bytes()).hexdigest(), 100_000_000).error)"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "a.jpg")]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("too-many-pixels\n", "")


def test_a_format_that_is_not_listed_is_not_opened(tmp_path: Path, odd_format: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(odd_format)
    assert check_image(path.read_bytes(), sha256_of(odd_format), FEW_PIXELS).error == "not-an-image"


def test_out_of_memory_is_raised_and_is_no_defect_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(UNDAMAGED["png"][0])

    def run_out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(check_module, "shrink_to_grey", run_out_of_memory)
    with pytest.raises(MemoryError):
        check_image(path.read_bytes(), sha256_of(UNDAMAGED["png"][0]), FEW_PIXELS)


def test_an_error_of_any_type_in_a_decoder_is_corrupt_data(tmp_path: Path, listed_odd_format: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(listed_odd_format)
    found = check_image(path.read_bytes(), sha256_of(listed_odd_format), FEW_PIXELS)
    assert (found.valid, found.error, found.format, (found.width, found.height)) == (
        False,
        "corrupt-data",
        "ODD",
        (61, 43),
    )


def test_undamaged_images_of_other_formats_have_no_defect_and_no_warning(check: Checker) -> None:
    photos = damage.draw_photos()
    files = damage.encode_other_formats(0) | {
        f"animated {kind}": damage.encode_animation(photos[:2], kind) for kind in ("GIF", "WEBP", "PNG", "MPO", "TIFF")
    }
    for kind, data in files.items():
        finding = check(data, strict=True)
        assert (finding.error, finding.warning, finding.flat) == ("", "", False), kind
        assert (finding.width, finding.height) == photos[0].size, kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_width_and_height_are_those_after_turning_by_exif(check: Checker, kind: str) -> None:
    photo = damage.draw_photos()[0].resize((160, 120))
    for orientation in range(1, 9):
        finding = check(damage.encode_turned(photo, orientation, kind), strict=True)
        assert finding.error == ""
        assert (finding.stored_width, finding.stored_height) == (160, 120)
        assert (finding.width, finding.height) == ((120, 160) if orientation >= 5 else (160, 120))


def test_one_flipped_bit_since_the_download_is_a_changed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for number, (kind, data, _) in enumerate(damage.pair_jpegs()):
        sha256, header, generator = hashlib.sha256(data).hexdigest(), data.index(damage.SCAN), random.Random(number)
        for first, end in ((0, header), (header, len(data))):
            path.write_bytes(damage.flip_bit(data, first, end, generator))
            assert check_image(path.read_bytes(), sha256, MAX_PIXELS).error == "changed-file", kind


@pytest.mark.parametrize("cut", CUTS)
def test_cut_files_of_other_formats_are_defects(check: Checker, cut: str) -> None:
    for kind, data in damage.encode_other_formats(0).items():
        codes = {""} if cut in HARMLESS_CUTS.get(kind, ()) else {"truncated", "corrupt-data"}
        assert check(damage.cut_file(data)[cut]).error in codes, kind
        if kind.endswith("png") or kind.endswith("webp") or kind in ("tiff", "bmp"):
            assert check(damage.cut_file(data)[cut]).error == "truncated", kind


@pytest.mark.parametrize("name", NO_IMAGES)
def test_files_that_are_no_images_are_reported_as_such(check: Checker, name: str) -> None:
    assert check(NO_IMAGES[name]) == Finding(
        "not-an-image", file_size=len(NO_IMAGES[name]), sha256=hashlib.sha256(NO_IMAGES[name]).hexdigest()
    )


def test_a_gzipped_jpeg_is_no_image_and_heic_is_an_unsupported_format(check: Checker) -> None:
    assert check(gzip.compress(damage.encode_jpegs(0)["4:2:0"])).error == "not-an-image"
    assert check(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)).error == "unsupported-format"


@pytest.mark.parametrize("kind", damage.make_bombs(12_000))
def test_an_image_with_too_many_pixels_is_not_decoded(check: Checker, kind: str) -> None:
    begun = time.process_time()
    assert check(damage.make_bombs(12_000)[kind]).error == "too-many-pixels"
    assert time.process_time() - begun < 1


def test_results_without_pillow_equal_those_with_pillow(check: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = damage.draw_photos()[0]
    files = [data for _, data, _ in damage.pair_jpegs()]
    files += [file for file, _ in damage.add_irregularities(files[0]).values()]
    files += [*damage.cut_file(files[0]).values(), *damage.damage_jpeg(files[0], files[1], 0).values()]
    files += [
        damage.encode_turned(photo, 6),
        damage.encode_animation([photo, photo], "MPO"),
        *damage.encode_other_formats(0).values(),
    ]
    files += [damage.encode(photo, "JPEG", **more) for more in ({"comment": b"moth"}, {"icc_profile": b"profile" * 9})]
    files += [*NO_IMAGES.values(), *damage.make_bombs(12_000).values()]
    files += [files[0][:2] + damage.make_segment(b"\xe1", b"Exif\0\0nonsense") + files[0][2:]]
    without_pillow = [check(data) for data in files]
    assert any(map(jpeg_damage.read_plain_header, files))
    monkeypatch.setattr(jpeg_damage, "read_plain_header", lambda data: None)
    assert [check(data) for data in files] == without_pillow


def test_without_simplejpeg_pillow_finds_truncation_and_measures_the_same(
    check: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(20, 300), (64, 48), (80, 60), (100, 75), (255, 255), (300, 256)]
    small = {f"{size}": damage.encode(damage.draw_photos()[0].resize(size), "JPEG") for size in sizes}
    files = {kind: data for kind, data, _ in damage.pair_jpegs()} | small
    with_simplejpeg = {kind: check(data) for kind, data in files.items()}
    monkeypatch.setattr(jpeg_damage, "HAS_SIMPLEJPEG", False)
    for kind, data in files.items():
        assert check(data) == with_simplejpeg[kind], kind
        for cut in CUTS[:-1] if kind not in small else ():
            assert check(damage.cut_file(data)[cut]).error == "truncated", (kind, cut)
