"""What images become in the shards: their formats, their sizes, and what of them an RGB picture can't hold."""

import io
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from gbif_webdataset.errors import DatasetError, ParameterError
from gbif_webdataset.images import jpeg_decode
from gbif_webdataset.shards import shard_chunk
from gbif_webdataset.shards.create_webdataset import prepare, unwritten, write_group
from gbif_webdataset.shards.sample import TREATMENTS
from tests.support import cmyk
from tests.support.shard_run import RECIPE, Dataset, decoded, encoded, hashes, photo, psnr, sixty_moths, turned


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


def picture(sample: dict[str, Any], extension: str) -> Image.Image:
    image = Image.open(io.BytesIO(sample[extension]))
    image.load()
    return image


def counts(outcome: Any) -> dict[str, int]:
    return {name: count for name in TREATMENTS if (count := getattr(outcome, name))}


def deep_png() -> bytes:
    """16 bits a channel in colour, which Pillow reads but doesn't write."""

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
def test_what_an_rgb_picture_cannot_hold_is_counted(
    dataset: Dataset, data: bytes, expected: set[str], colour: tuple[int, int, int]
) -> None:
    dataset.add("train", "ds/1.jpg", data)
    dataset.write()
    outcome = dataset.create()
    assert counts(outcome) == {"reencoded": 1} | dict.fromkeys(expected, 1)
    image = decoded(dataset.one())
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (30, 20))
    assert np.abs(np.asarray(image, int) - np.array(colour)).max() <= 6


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_go_through_their_profile(dataset: Dataset, kind: str) -> None:
    dataset.add("train", "ds/1.jpg", encoded(CYAN, kind, icc_profile=cmyk.profile()))
    dataset.write()
    assert dataset.create().cmyk == 1
    image = decoded(dataset.one())
    red, green, blue = np.asarray(image, int).reshape(-1, 3).mean(0)
    assert red > 1.5 * green
    assert red > 1.5 * blue
    assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    "profile", [b"no profile at all", cmyk.profile()[:200], cmyk.profile().replace(b"CMYK", b"GRAY", 1)]
)
def test_inks_with_a_broken_profile_are_converted_without_it(dataset: Dataset, profile: bytes) -> None:
    dataset.add("train", "ds/1.jpg", encoded(CYAN, icc_profile=profile))
    dataset.write()
    assert counts(dataset.create()) == {"reencoded": 1, "cmyk": 1}
    assert np.abs(np.asarray(decoded(dataset.one()), int) - (0, 255, 255)).max() <= 3


def test_a_second_frame_that_is_broken_does_no_harm(dataset: Dataset) -> None:
    first, second = photo(60, 40, 1), photo(60, 40, 2)
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    dataset.add("train", "ds/1.jpg", data[:-900])
    dataset.write()
    dataset.create()
    assert psnr(decoded(dataset.one()), first) > 25


# Sizes


@pytest.mark.parametrize("decoder", ["simplejpeg", "Pillow"])
@pytest.mark.parametrize(("side", "shorter"), [((1024, 768), 450), ((1600, 1200), 450), ((640, 480), 450)])
def test_a_shrunk_photo_is_as_good_as_the_best_within_a_decibel_of_a_full_decode(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, decoder: str, side: tuple[int, int], shorter: int
) -> None:
    if decoder == "Pillow":
        monkeypatch.setattr(jpeg_decode, "simplejpeg", None)
    data = encoded(photo(*side, 5), quality=90)
    dataset.add("train", "ds/1.jpg", data)
    dataset.write()
    dataset.create(replace(RECIPE, resize_min_size=shorter, max_shard_size=1_000_000))
    ours = decoded(dataset.one())
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
def test_resize_mode_says_which_side_is_measured(
    dataset: Dataset, mode: str, size: tuple[int, int], expected: tuple[int, int], enlarged: int
) -> None:
    data = encoded(photo(*size, 1))
    dataset.add("train", "ds/1.jpg", data)
    dataset.write()
    outcome = dataset.create(replace(RECIPE, resize_min_size=100, resize_mode=mode))
    assert decoded(dataset.one()).size == expected
    assert outcome.enlarged == enlarged
    assert outcome.passed_through == (dataset.one()["jpg"] == data) == (size == expected)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_square_is_the_middle_of_what_is_seen(dataset: Dataset, orientation: int) -> None:
    seen = Image.new("RGB", (400, 200), "white")
    seen.paste((0, 0, 255), (150, 50, 250, 150))
    stored = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    way = stored[orientation]
    data = encoded(seen.transpose(way) if way is not None else seen, quality=95, exif=turned(orientation))
    dataset.add("train", "ds/1.jpg", data)
    dataset.write()
    dataset.create(replace(RECIPE, resize_min_size=100, resize_mode="square"))
    pixels = np.asarray(decoded(dataset.one()), int)
    assert pixels.shape == (100, 100, 3)
    assert np.abs(pixels[30:70, 30:70] - (0, 0, 255)).max() < 16
    assert np.abs(pixels[:20] - 255).max() < 16


# Formats


def test_webp_is_what_every_image_becomes(tmp_path: Path) -> None:
    moths = sixty_moths(tmp_path)
    outcome = moths.create(replace(RECIPE, image_format="webp", resize_min_size=100))
    assert outcome.reencoded == 60
    for sample in webdataset.WebDataset([str(path) for path in moths.shards()], shardshuffle=False).decode("pil"):
        assert sample["webp"].mode == "RGB"
        assert min(sample["webp"].size) <= 100
        assert "jpg" not in sample


@pytest.mark.parametrize(
    ("options", "passed"),
    [({}, 1), ({"lossless": True}, 1), ({"exif": turned(6)}, 0), ({"save_all": True, "append_images": [RED]}, 0)],
)
def test_a_plain_webp_passes_through_among_webps(dataset: Dataset, options: dict[str, Any], passed: int) -> None:
    data = encoded(photo(30, 20, 1), "WEBP", **options)
    dataset.add("train", "ds/1.jpg", data)
    dataset.write()
    outcome = dataset.create(replace(RECIPE, image_format="webp"))
    assert (outcome.passed_through, dataset.one()["webp"] == data) == (passed, bool(passed))


def test_original_keeps_the_bytes_and_the_kind_of_each(dataset: Dataset) -> None:
    kinds = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "TIFF": "tif", "WEBP": "webp", "BMP": "bmp"}
    files = {kind: encoded(photo(30, 20, 1), kind) for kind in kinds} | {"JPEG": encoded(CYAN, exif=turned(6))}
    for kind, data in files.items():
        dataset.add("train", f"ds/{kind}.jpg", data)
    dataset.write()
    outcome = dataset.create(replace(RECIPE, image_format="original"))
    assert counts(outcome) == {"passed_through": len(kinds)}
    read = {sample["__key__"]: sample for sample in dataset.samples()}
    for kind, extension in kinds.items():
        assert read[f"ds/{kind}"][extension] == files[kind]
    [shard] = dataset.shards()
    lines = shard.with_suffix(".idx").read_text().splitlines()[1:]
    assert {extension for line in lines for extension in line.split(" ")[0::4]} == {"cls", *kinds.values()}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"image_format": "original", "resize_min_size": 100}, "resize_min_size would change"),
        ({"image_format": "original", "megadetector_results_json": Path("a")}, "megadetector_results_json would"),
        ({"image_format": "gif"}, "image_format: 'gif' is not one of jpg, webp, original"),
        ({"resize_mode": "square"}, "resize_mode: square needs resize_min_size"),
        ({"resize_mode": "wide"}, "resize_mode: 'wide' is not one of"),
        ({"min_shards": -1}, "min_shards"),
    ],
)
def test_parameters_that_rule_each_other_out_are_named(
    dataset: Dataset, change: dict[str, Any], complaint: str
) -> None:
    dataset.write()
    with pytest.raises(ParameterError, match=complaint):
        dataset.create(replace(RECIPE, **change))


# Columns


def test_json_is_valid_whatever_a_field_holds(dataset: Dataset) -> None:
    odd = ["", "NaN", "null", '"', "\\", "\u0001\u001f\t", "é 蛾 🦋", "0012", "1e5", "{}", "a\nb", "'", "\u2028"]
    for number, value in enumerate(odd):
        dataset.add("train", f"ds/{number}.jpg", encoded(photo(40, 30, number)), remarks=value)
    dataset.add("train", "ds/width.jpg", encoded(photo(40, 30, 99)), country="wide")
    dataset.write()
    dataset.create(replace(RECIPE, columns_to_json=("remarks", "country", "width", "valid", "coreid")))
    read = {sample["__key__"].removeprefix("ds/"): json.loads(sample["json"]) for sample in dataset.samples()}
    for number, value in enumerate(odd):
        assert read[str(number)]["remarks"] == (value or None)
        assert read[str(number)]["country"] is None
        assert (read[str(number)]["width"], read[str(number)]["valid"]) == (40, True)
        assert read[str(number)]["coreid"] == str(number)


# Machines


def test_shards_of_two_decoders_never_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moths = sixty_moths(tmp_path)
    recipe = replace(RECIPE, resize_min_size=60)
    folder = moths.root / "shards"
    places = moths.root / "splits", moths.root / "images", folder, recipe, moths.root / "scratch"
    plan = prepare(*places)
    write_group(folder, moths.root / "images", 0, lambda samples: None)
    monkeypatch.setattr(shard_chunk.jpeg_decode, "CODECS", "another decoder")
    with pytest.raises(DatasetError, match=r"begun with simplejpeg.*but this machine has another decoder"):
        write_group(folder, moths.root / "images", 1, lambda samples: None)
    monkeypatch.setattr("gbif_webdataset.shards.recipe.CODECS", "another decoder")
    again = prepare(*places)
    assert again.digest != plan.digest
    assert len(unwritten(folder, again)) == len(again.groups)


def test_without_simplejpeg_shards_are_made_by_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moths = sixty_moths(tmp_path)
    recipe = replace(RECIPE, resize_min_size=60)
    moths.create(recipe)
    ours = {sample["__key__"]: decoded(sample) for sample in moths.samples()}
    monkeypatch.setattr(jpeg_decode, "simplejpeg", None)
    moths.create(recipe, name="pillow")
    theirs = {sample["__key__"]: decoded(sample) for sample in moths.samples(name="pillow")}
    assert ours.keys() == theirs.keys()
    assert hashes(moths.root / "shards") != hashes(moths.root / "pillow")
    assert min(psnr(ours[key], theirs[key]) for key in ours) > 30
