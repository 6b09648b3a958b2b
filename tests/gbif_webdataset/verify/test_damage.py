"""Class by class, what verifying finds in damaged files, and that it finds nothing in sound ones."""

import gzip
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gbif_webdataset.verify import jpeg_damage
from gbif_webdataset.verify.verify_chunk import Finding, look
from tests.support import damage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as in VerifyChunk
MAX_PIXELS = 100_000_000
CUTS = list(damage.cuts(b""))
HARM = list(damage.harmed(bytes(4 * damage.BLOCK) + damage.SCAN + bytes(4 * damage.BLOCK), b"", 0))
SURVIVED = {"gif": {"without its last two bytes"}}  # its trailer
UNSEEN = {"4 kB of another photo": 1}  # of 26: where it ends, a code of the photo happens to begin
NO_IMAGES = {
    "nothing": b"",
    "html": b"<!doctype html><title>Not found</title>" * 100,
    "json": b'{"error": "not found"}',
    "zeros": bytes(5000),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\nshowpage\n",
    "pdf": b"%PDF-1.7\n" + bytes(500),
}

Looker = Callable[..., Finding]


@pytest.fixture
def found(tmp_path: Path) -> Looker:
    """What is found in bytes that are as they were served."""

    def find(data: bytes, strict: bool = False) -> Finding:
        path = tmp_path / "a.jpg"
        path.write_bytes(data)
        return look(path, hashlib.sha256(data).hexdigest(), MAX_PIXELS, strict)

    return find


def jpegs() -> list[tuple[str, bytes, bytes]]:
    """Two photos as JPEGs of every kind, each with another photo's of the same kind."""
    first, second, third = (damage.jpegs(photo) for photo in range(3))
    return [(kind, *pair) for kind in first for pair in ((first[kind], second[kind]), (second[kind], third[kind]))]


def test_nothing_is_found_in_sound_jpegs(found: Looker) -> None:
    for number, photo in enumerate(damage.photos()):
        for kind, data in damage.jpegs(number).items():
            finding = found(data, strict=True)
            assert (finding.error, finding.warning, finding.flat) == ("", "", False), kind
            assert (finding.format, finding.width, finding.height) == ("JPEG", *photo.size)


def test_nothing_is_found_in_sound_images_of_other_formats(found: Looker) -> None:
    photos = damage.photos()
    files = damage.others(0) | {
        f"animated {kind}": damage.animated(photos[:2], kind) for kind in ("GIF", "WEBP", "PNG", "MPO", "TIFF")
    }
    for kind, data in files.items():
        finding = found(data, strict=True)
        assert (finding.error, finding.warning, finding.flat) == ("", "", False), kind
        assert (finding.width, finding.height) == photos[0].size, kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_photo_that_exif_turns_is_sound_and_measured_as_viewers_see_it(found: Looker, kind: str) -> None:
    photo = damage.photos()[0].resize((160, 120))
    for orientation in range(1, 9):
        finding = found(damage.turned(photo, orientation, kind), strict=True)
        assert finding.error == ""
        assert (finding.stored_width, finding.stored_height) == (160, 120)
        assert (finding.width, finding.height) == ((120, 160) if orientation >= 5 else (160, 120))


def test_bytes_behind_and_fill_bytes_within_a_jpeg_are_its_own_affair(found: Looker) -> None:
    data = damage.jpegs(0)["4:2:0"]
    tables = data.index(b"\xff\xdb")
    for whole in (data + b"trailing", data + bytes(damage.BLOCK), data[:tables] + b"\xff\xff" + data[tables:]):
        assert found(whole, strict=True).error == ""
    assert found(damage.with_thumbnail(data, data[: damage.BLOCK] + damage.END), strict=True).error == ""


def test_what_only_warns_is_recorded_and_an_error_where_strict(found: Looker) -> None:
    seen = Counter[str]()
    for kind, data in damage.jpegs(0).items():
        for blemish, (file, code) in damage.blemished(data).items():
            lenient, strict = found(file), found(file, strict=True)
            assert (lenient.valid, lenient.error, lenient.warning) == (True, "", code), (kind, blemish)
            assert (strict.valid, strict.error, strict.warning) == (False, code, ""), (kind, blemish)
            assert lenient.perceptual_hash == found(data).perceptual_hash
            seen[code] += 1
    assert seen.keys() == {"stray-bytes", "padding", "jfif-revision"}


def test_two_blemishes_are_borne_and_damage_beside_one_is_not(found: Looker) -> None:
    data = damage.jpegs(0)["4:2:0"]
    old = damage.blemished(data)["revision 9"][0]
    both = damage.blemished(old)["zeros before the end"][0]
    assert (found(both).error, found(both).warning) == ("", "jfif-revision")
    assert found(damage.in_place(old, len(old) // 2, bytes(damage.BLOCK))).error == "corrupt-data"
    assert found(old[: len(old) // 2]).error == "truncated"


@pytest.mark.parametrize("cut", CUTS)
def test_a_jpeg_that_breaks_off_is_found(found: Looker, cut: str) -> None:
    for kind, data, _ in jpegs():
        assert found(damage.cuts(data)[cut]).error == "truncated", kind


@pytest.mark.parametrize("harm", HARM)
def test_a_harmed_jpeg_is_found(found: Looker, harm: str) -> None:
    codes = Counter(
        found(damage.harmed(data, other, seed)[harm]).error for seed, (_, data, other) in enumerate(jpegs())
    )
    unseen = UNSEEN.get(harm, 0)
    assert codes == Counter({"corrupt-data": codes.total() - unseen, "": unseen})


def test_a_jpeg_whose_end_is_zeroed_with_its_last_marker_breaks_off(found: Looker) -> None:
    for kind, data, _ in jpegs():
        assert found(data[: -damage.BLOCK] + bytes(damage.BLOCK)).error == "truncated", kind


def test_any_bit_that_changed_since_the_download_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for number, (kind, data, _) in enumerate(jpegs()):
        sha256, header, dice = hashlib.sha256(data).hexdigest(), data.index(damage.SCAN), random.Random(number)
        for first, end in ((0, header), (header, len(data))):
            path.write_bytes(damage.flipped(data, first, end, dice))
            assert look(path, sha256, MAX_PIXELS).error == "changed-file", kind


@pytest.mark.parametrize("cut", CUTS)
def test_other_formats_that_break_off_are_found(found: Looker, cut: str) -> None:
    for kind, data in damage.others(0).items():
        codes = {""} if cut in SURVIVED.get(kind, ()) else {"truncated", "corrupt-data"}
        assert found(damage.cuts(data)[cut]).error in codes, kind
        if kind.endswith("png") or kind.endswith("webp") or kind in ("tiff", "bmp"):
            assert found(damage.cuts(data)[cut]).error == "truncated", kind


def test_a_png_whose_checksums_are_wrong_is_found_though_pillow_decodes_it(found: Looker) -> None:
    data = damage.others(0)["png"]
    at = data.rindex(b"IDAT")
    assert found(damage.in_place(data, len(data) - 16, b"\0\0\0\0")).error == "corrupt-data"
    assert found(damage.in_place(data, at + 500, bytes(damage.BLOCK))).error == "corrupt-data"
    text = damage.in_place(damage.png_chunk(b"tEXt", b"Comment\0moth"), 20, b"\0")
    assert found(data[:-12] + text + data[-12:]).error == ""


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_is_told(found: Looker, name: str) -> None:
    assert found(NO_IMAGES[name]) == Finding(
        "not-an-image", file_size=len(NO_IMAGES[name]), sha256=hashlib.sha256(NO_IMAGES[name]).hexdigest()
    )


def test_a_jpeg_in_gzip_is_no_image_and_a_format_without_a_decoder_is_named(found: Looker) -> None:
    assert found(gzip.compress(damage.jpegs(0)["4:2:0"])).error == "not-an-image"
    assert found(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)).error == "unsupported-format"


@pytest.mark.parametrize("kind", damage.bombs(12_000))
def test_an_image_of_too_many_pixels_is_turned_away_by_its_header(found: Looker, kind: str) -> None:
    begun = time.process_time()
    assert found(damage.bombs(12_000)[kind]).error == "too-many-pixels"
    assert time.process_time() - begun < 1


def test_what_is_measured_without_pillow_is_what_pillow_would_say(
    found: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = damage.photos()[0]
    files = [data for _, data, _ in jpegs()]
    files += [file for file, _ in damage.blemished(files[0]).values()]
    files += [*damage.cuts(files[0]).values(), *damage.harmed(files[0], files[1], 0).values()]
    files += [damage.turned(photo, 6), damage.animated([photo, photo], "MPO"), *damage.others(0).values()]
    files += [damage.saved(photo, "JPEG", **more) for more in ({"comment": b"moth"}, {"icc_profile": b"profile" * 9})]
    files += [*NO_IMAGES.values(), *damage.bombs(12_000).values()]
    files += [files[0][:2] + damage.segment(b"\xe1", b"Exif\0\0nonsense") + files[0][2:]]
    plainly = [found(data) for data in files]
    assert any(map(jpeg_damage.plain, files))
    monkeypatch.setattr(jpeg_damage, "plain", lambda data: None)
    assert [found(data) for data in files] == plainly


def test_a_size_that_two_readers_read_differently_is_damage() -> None:
    data = damage.jpegs(0)["4:2:0"]
    assert jpeg_damage.look(data, *damage.photos()[0].size).error == ""
    assert jpeg_damage.look(data, 10, 10).error == "corrupt-data"


def test_without_simplejpeg_pillow_finds_what_breaks_off_and_measures_the_same(
    found: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(20, 300), (64, 48), (80, 60), (100, 75), (255, 255), (300, 256)]
    small = {f"{size}": damage.saved(damage.photos()[0].resize(size), "JPEG") for size in sizes}
    files = {kind: data for kind, data, _ in jpegs()} | small
    strictly = {kind: found(data) for kind, data in files.items()}
    monkeypatch.setattr(jpeg_damage, "IS_STRICT", False)
    for kind, data in files.items():
        assert found(data) == strictly[kind], kind
        for cut in CUTS[:-1] if kind not in small else ():
            assert found(damage.cuts(data)[cut]).error == "truncated", (kind, cut)
