"""The image of a sample: formats, sizes, and images that are not plain RGB."""

import hashlib
import io
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image, ImageOps

from gbif_webdataset.errors import ChangedImageError, MissingPieceError, SelectionError
from gbif_webdataset.images import convert, jpeg_decode
from gbif_webdataset.shards import shard_chunk
from gbif_webdataset.shards.create_webdataset import ShardCounts
from gbif_webdataset.shards.sample import TRANSFORMS, Sample, read_image
from gbif_webdataset.storage.image_reader import ImageReader
from gbif_webdataset.storage.pack_places import find_places
from gbif_webdataset.storage.pack_store import PackStore
from tests.support import cmyk
from tests.support.packs import pack_images
from tests.support.shard_run import (
    RECIPE,
    ShardRun,
    decode_image,
    encoded,
    hash_files,
    photo,
    psnr,
    sixty_moths,
    turned,
)


@pytest.fixture
def run(tmp_path: Path) -> ShardRun:
    return ShardRun(tmp_path)


@pytest.fixture
def moths(tmp_path: Path) -> ShardRun:
    return sixty_moths(tmp_path)


def count_transforms(counts: ShardCounts) -> dict[str, int]:
    return {name: count for name in TRANSFORMS if (count := getattr(counts, name))}


def deep_png() -> bytes:
    """16 bits per channel in colour, which Pillow reads but does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + np.full((30, 3), (0x8080, 0x4040, 0xC0C0), ">u2").tobytes() for _ in range(20))
    head = struct.pack(">IIBBBBB", 30, 20, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


RED = Image.new("RGB", (30, 20), (250, 10, 20))
CLEAR = Image.new("RGBA", (30, 20), (250, 10, 20, 0))
OPAQUE = Image.new("RGBA", (30, 20), (250, 10, 20, 255))
CYAN = Image.new("CMYK", (30, 20), (255, 0, 0, 0))
DEEP = Image.fromarray(np.full((20, 30), 0x8080, "uint16"))


@pytest.mark.parametrize(
    ("data", "expected", "colour"),
    [
        (encoded(CLEAR, "PNG"), {"transparent"}, (255, 255, 255)),
        (encoded(OPAQUE, "PNG"), set(), (250, 10, 20)),
        (encoded(CLEAR, "WEBP", lossless=True, exact=True), {"transparent"}, (255, 255, 255)),
        (encoded(DEEP, "PNG"), {"deep"}, (128, 128, 128)),
        (encoded(DEEP, "TIFF"), {"deep"}, (128, 128, 128)),
        (deep_png(), {"deep"}, (128, 64, 192)),
        (encoded(RED, "GIF", save_all=True, append_images=[CYAN.convert("RGB")]), {"animated"}, (250, 10, 20)),
        (encoded(RED, "WEBP", save_all=True, append_images=[CYAN.convert("RGB")]), {"animated"}, (250, 10, 20)),
        (encoded(RED, "PNG", save_all=True, append_images=[CYAN.convert("RGB")]), {"animated"}, (250, 10, 20)),
        (encoded(RED, "TIFF", save_all=True, append_images=[CYAN.convert("RGB")]), {"animated"}, (250, 10, 20)),
        (encoded(CYAN, "JPEG"), {"cmyk"}, (0, 255, 255)),
        (encoded(CYAN, "TIFF"), {"cmyk"}, (0, 255, 255)),
        (encoded(RED.transpose(Image.Transpose.ROTATE_90), exif=turned(6)), {"turned"}, (250, 10, 20)),
        (encoded(RED.transpose(Image.Transpose.ROTATE_90), "PNG", exif=turned(8)), {"turned"}, (250, 10, 20)),
    ],
)
def test_an_image_that_is_not_plain_rgb_is_converted_and_counted(
    run: ShardRun, data: bytes, expected: set[str], colour: tuple[int, int, int]
) -> None:
    run.add("train", "ds/1.jpg", data)
    run.write()
    counts = run.create()
    assert count_transforms(counts) == {"reencoded": 1} | dict.fromkeys(expected, 1)
    image = decode_image(run.only_sample())
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (30, 20))
    assert np.abs(np.asarray(image, int) - np.array(colour)).max() <= 6


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_with_its_profile(run: ShardRun, kind: str) -> None:
    run.add("train", "ds/1.jpg", encoded(CYAN, kind, icc_profile=cmyk.profile()))
    run.write()
    assert run.create().cmyk == 1
    image = decode_image(run.only_sample())
    red, green, blue = np.asarray(image, int).reshape(-1, 3).mean(0)
    assert red > 1.5 * green
    assert red > 1.5 * blue
    assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    "profile", [b"no profile at all", cmyk.profile()[:200], cmyk.profile().replace(b"CMYK", b"GRAY", 1)]
)
def test_cmyk_with_a_broken_profile_is_converted_without_it(run: ShardRun, profile: bytes) -> None:
    run.add("train", "ds/1.jpg", encoded(CYAN, icc_profile=profile))
    run.write()
    assert count_transforms(run.create()) == {"reencoded": 1, "cmyk": 1}
    assert np.abs(np.asarray(decode_image(run.only_sample()), int) - (0, 255, 255)).max() <= 3


def test_a_broken_second_frame_is_ignored(run: ShardRun) -> None:
    first, second = photo(60, 40, 1), photo(60, 40, 2)
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    run.add("train", "ds/1.jpg", data[:-900])
    run.write()
    run.create()
    assert psnr(decode_image(run.only_sample()), first) > 25


# Sizes


@pytest.mark.parametrize("decoder", ["simplejpeg", "Pillow"])
@pytest.mark.parametrize(("side", "shorter"), [((1024, 768), 450), ((1600, 1200), 450), ((640, 480), 450)])
def test_a_shrunk_photo_is_at_most_a_decibel_worse_than_one_of_a_full_decode(
    run: ShardRun, monkeypatch: pytest.MonkeyPatch, decoder: str, side: tuple[int, int], shorter: int
) -> None:
    if decoder == "Pillow":
        monkeypatch.setattr(jpeg_decode, "simplejpeg", None)
    data = encoded(photo(*side, 5), quality=90)
    run.add("train", "ds/1.jpg", data)
    run.write()
    run.create(replace(RECIPE, resize_min_size=shorter, max_shard_size=1_000_000))
    ours = decode_image(run.only_sample())
    full = Image.open(io.BytesIO(data)).convert("RGB")
    best = full.resize(ours.size, Image.Resampling.LANCZOS)
    plain = Image.open(io.BytesIO(encoded(full.resize(ours.size, Image.Resampling.BILINEAR), quality=95)))
    assert psnr(ours, best) > psnr(plain, best) - 1


@pytest.mark.parametrize(
    ("mode", "size", "expected", "enlarged"),
    [
        ("longer", (400, 300), (100, 75), 0),
        ("longer", (90, 60), (90, 60), 0),
        ("square", (400, 300), (100, 100), 0),
        ("square", (300, 401), (100, 100), 0),
        ("square", (90, 60), (100, 100), 1),
        ("square", (100, 100), (100, 100), 0),
    ],
)
def test_resize_mode_decides_which_side_is_measured(
    run: ShardRun, mode: str, size: tuple[int, int], expected: tuple[int, int], enlarged: int
) -> None:
    data = encoded(photo(*size, 1))
    run.add("train", "ds/1.jpg", data)
    run.write()
    counts = run.create(replace(RECIPE, resize_min_size=100, resize_mode=mode))
    assert decode_image(run.only_sample()).size == expected
    assert counts.enlarged == enlarged
    assert counts.passed_through == (run.only_sample()["jpg"] == data) == (size == expected)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_square_is_the_middle_of_the_upright_image(run: ShardRun, orientation: int) -> None:
    seen = Image.new("RGB", (400, 200), "white")
    seen.paste((0, 0, 255), (150, 50, 250, 150))
    stored = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    way = stored[orientation]
    data = encoded(seen.transpose(way) if way is not None else seen, quality=95, exif=turned(orientation))
    run.add("train", "ds/1.jpg", data)
    run.write()
    run.create(replace(RECIPE, resize_min_size=100, resize_mode="square"))
    pixels = np.asarray(decode_image(run.only_sample()), int)
    assert pixels.shape == (100, 100, 3)
    assert np.abs(pixels[30:70, 30:70] - (0, 0, 255)).max() < 16
    assert np.abs(pixels[:20] - 255).max() < 16


# Formats


def test_with_image_format_webp_every_image_is_encoded_as_webp(moths: ShardRun) -> None:
    counts = moths.create(replace(RECIPE, image_format="webp", resize_min_size=100))
    assert counts.reencoded == 60
    for sample in webdataset.WebDataset([str(path) for path in moths.shards()], shardshuffle=False).decode("pil"):
        assert sample["webp"].mode == "RGB"
        assert min(sample["webp"].size) <= 100
        assert "jpg" not in sample


@pytest.mark.parametrize(
    ("options", "passed"),
    [({}, 1), ({"lossless": True}, 1), ({"exif": turned(6)}, 0), ({"save_all": True, "append_images": [RED]}, 0)],
)
def test_a_plain_webp_passes_through_if_image_format_is_webp(
    run: ShardRun, options: dict[str, Any], passed: int
) -> None:
    data = encoded(photo(30, 20, 1), "WEBP", **options)
    run.add("train", "ds/1.jpg", data)
    run.write()
    counts = run.create(replace(RECIPE, image_format="webp"))
    assert (counts.passed_through, run.only_sample()["webp"] == data) == (passed, bool(passed))


def test_original_keeps_the_bytes_and_the_format_of_each_image(run: ShardRun) -> None:
    kinds = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "TIFF": "tif", "WEBP": "webp", "BMP": "bmp"}
    files = {kind: encoded(photo(30, 20, 1), kind) for kind in kinds} | {"JPEG": encoded(CYAN, exif=turned(6))}
    for kind, data in files.items():
        run.add("train", f"ds/{kind}.jpg", data)
    run.write()
    counts = run.create(replace(RECIPE, image_format="original"))
    assert count_transforms(counts) == {"passed_through": len(kinds)}
    read = {sample["__key__"]: sample for sample in run.samples()}
    for kind, extension in kinds.items():
        assert read[f"ds/{kind}"][extension] == files[kind]
    [shard] = run.shards()
    lines = shard.with_suffix(".idx").read_text().splitlines()[1:]
    assert {extension for line in lines for extension in line.split(" ")[0::4]} == {"cls", *kinds.values()}


def test_without_simplejpeg_pillow_decodes(moths: ShardRun, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, resize_min_size=60)
    moths.create(recipe)
    ours = {sample["__key__"]: decode_image(sample) for sample in moths.samples()}
    monkeypatch.setattr(jpeg_decode, "simplejpeg", None)
    moths.create(recipe, name="pillow")
    theirs = {sample["__key__"]: decode_image(sample) for sample in moths.samples(name="pillow")}
    assert ours.keys() == theirs.keys()
    assert hash_files(moths.root / "shards") != hash_files(moths.root / "pillow")
    assert min(psnr(ours[key], theirs[key]) for key in ours) > 30


def test_a_jpeg_that_needs_no_change_passes_through_byte_for_byte(run: ShardRun) -> None:
    data = encoded(photo(200, 150, 1), quality=77, comment=b"as it is", exif=turned(1))
    run.add("train", "ds/1.jpg", data)
    run.write()
    counts = run.create(replace(RECIPE, resize_min_size=150))
    assert run.only_sample()["jpg"] == data
    assert (counts.passed_through, counts.reencoded) == (1, 0)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied_and_removed(run: ShardRun, orientation: int) -> None:
    data = encoded(photo(64, 48, 3), quality=95, exif=turned(orientation))
    run.add("train", "ds/1.jpg", data)
    run.write()
    run.create()
    image = decode_image(run.only_sample())
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert image.size == expected.size
    assert image.getexif().get(0x0112) is None
    assert np.abs(np.asarray(image, int) - np.asarray(expected, int)).mean() < 4


@pytest.mark.parametrize(
    ("size", "shorter", "expected"),
    [
        ((400, 300), 100, (133, 100)),
        ((300, 1200), 100, (100, 400)),
        ((400, 300), 299, (399, 299)),
        ((90, 60), 100, (90, 60)),
    ],
)
def test_the_shorter_side_is_shrunk_to_resize_min_size_and_never_enlarged(
    run: ShardRun, size: tuple[int, int], shorter: int, expected: tuple[int, int]
) -> None:
    source = photo(*size, 5)
    run.add("train", "ds/1.jpg", encoded(source, quality=95))
    run.write()
    run.create(replace(RECIPE, resize_min_size=shorter))
    image = decode_image(run.only_sample())
    assert image.size == expected
    best = source.resize(expected, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(image, int) - np.asarray(best, int)).mean() < 6


def other_images() -> Iterator[tuple[str, bytes, tuple[int, int, int]]]:
    blank = Image.new("RGBA", (30, 20), (255, 0, 0, 0))
    yield "transparent", encoded(blank, "PNG"), (255, 255, 255)
    palette = Image.new("P", (30, 20), 0)
    palette.putpalette([200, 100, 50])
    yield "palette", encoded(palette, "PNG"), (200, 100, 50)
    yield "animated", encoded(palette, "GIF", save_all=True, append_images=[blank.convert("P")]), (200, 100, 50)
    grey = Image.fromarray(np.full((20, 30), 0x8080, "uint16"))
    yield "16-bit", encoded(grey, "PNG"), (128, 128, 128)
    yield "16-bit TIFF", encoded(grey, "TIFF"), (128, 128, 128)
    yield "CMYK TIFF", encoded(Image.new("CMYK", (30, 20), (255, 0, 255, 0)), "TIFF"), (0, 255, 0)
    yield "WebP", encoded(Image.new("RGB", (30, 20), (0, 0, 255)), "WEBP", lossless=True), (0, 0, 255)
    yield "CMYK JPEG, turned", encoded(Image.new("CMYK", (20, 30), (0, 255, 255, 0)), exif=turned(8)), (255, 0, 0)


@pytest.mark.parametrize(("name", "data", "colour"), [pytest.param(*one, id=one[0]) for one in other_images()])
def test_any_image_becomes_an_rgb_jpeg(run: ShardRun, name: str, data: bytes, colour: tuple[int, int, int]) -> None:
    run.add("train", "ds/1.jpg", data)
    run.write()
    assert run.create().reencoded == 1
    image = decode_image(run.only_sample())
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (30, 20))
    assert np.abs(np.asarray(image, int) - np.array(colour)).max() <= 3


def test_an_image_too_large_for_its_format_is_named(run: ShardRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "WEBP_MAX_SIDE", 50)
    run.add("train", "ds/1.jpg", encoded(photo(60, 40, 1)))
    run.write()
    with pytest.raises(
        SelectionError, match=r"ds/1\.jpg: cannot become a WebP: .*; set --CreateWebDataset-resize-min-size"
    ):
        run.create(replace(RECIPE, image_format="webp"))


# Images that changed after they were verified

TO_FETCH_AGAIN = r"; run the same command again to download it$"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_missing_image_is_named(moths: ShardRun, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(shard_chunk, "SAMPLES_PER_PROCESS", 1)
    (moths.root / "images/ds0/10.jpg").unlink()
    with pytest.raises(MissingPieceError, match=r"ds0/10\.jpg: was verified but is now missing" + TO_FETCH_AGAIN):
        moths.create(workers=workers)
    assert not moths.shards()


def test_an_image_whose_size_changed_is_named(moths: ShardRun) -> None:
    with (moths.root / "images/ds0/10.jpg").open("ab") as file:
        file.write(b"more")
    with pytest.raises(MissingPieceError, match=r"ds0/10\.jpg: had .* bytes when .* now has .*" + TO_FETCH_AGAIN):
        moths.create()


def test_an_image_whose_bytes_changed_is_named(moths: ShardRun) -> None:
    row = moths.rows["train"][9]
    path = moths.root / "images" / row["image_path"]
    row["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    moths.columns = [*moths.columns, "sha256"]
    moths.write()
    moths.create(name="before")
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChangedImageError, match=r"its bytes have changed since it was verified" + TO_FETCH_AGAIN):
        moths.create()
    assert not moths.shards()


def test_an_image_that_cannot_be_decoded_is_named(moths: ShardRun) -> None:
    path = moths.root / "images/ds0/12.jpg"
    path.write_bytes(path.read_bytes()[:900].ljust(path.stat().st_size, b"\0"))
    with pytest.raises(MissingPieceError, match=r"ds0/12\.jpg: was verified but cannot be decoded .*image-list"):
        moths.create(replace(RECIPE, resize_min_size=20))


def test_an_image_that_has_another_place_since_the_plan_is_found(tmp_path: Path) -> None:
    images = {f"d/{name}.jpg": name.encode() * 600 for name in "abc"}
    pack_images(tmp_path, 0, images)
    places = {path: "/".join(map(str, found[0])) for path, found in find_places(tmp_path, None).items()}
    with PackStore(tmp_path, 0).writing() as store:
        store.writer.delete_pack(0)
    shutil.rmtree(tmp_path / "chunk-00000")
    (tmp_path / "chunk-00000.idx").unlink()
    pack_images(tmp_path, 0, dict(reversed(images.items())))
    for reader in (ImageReader(tmp_path), ImageReader(tmp_path)):
        for path, data in images.items():
            sha256 = hashlib.sha256(data).hexdigest()
            sample = Sample("key", path, 0, "JPEG", len(data), 1, sha256, None, None, place=places[path])
            assert read_image(sample, reader) == data


def test_images_that_moved_to_packs_of_other_chunks_are_found(tmp_path: Path) -> None:
    images = {f"d/{name}.jpg": name.encode() * 600 for name in "abc"}
    pack_images(tmp_path, 5, images)
    reader = ImageReader(tmp_path)
    for path, data in images.items():
        sha256 = hashlib.sha256(data).hexdigest()
        sample = Sample("key", path, 0, "JPEG", len(data), 1, sha256, None, None, place="3/0/512/600")
        assert read_image(sample, reader) == data
    missing = Sample("key", "d/x.jpg", 0, "JPEG", 600, 1, None, None, None, place="3/0/512/600")
    with pytest.raises(ChangedImageError, match=r"d/x\.jpg: was verified but is now missing"):
        read_image(missing, reader)
