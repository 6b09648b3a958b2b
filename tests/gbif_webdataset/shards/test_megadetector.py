"""Boxes of MegaDetector: read from its results, and cropped."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.shards.megadetector import add_margin
from gbif_webdataset.shards.recipe import Recipe
from tests.support.archives import find_case
from tests.support.shard_run import RECIPE, ShardRun, decode_image, encoded, turned

SQUARE = [0.2, 0.2, 0.2, 0.4]
"""MegaDetector's box of the square in `draw_square`."""


def draw_square(width: int = 200, height: int = 100) -> Image.Image:
    """White, with a blue square from (40, 20) to (80, 60)."""
    image = Image.new("RGB", (width, height), "white")
    image.paste((0, 0, 255), (40, 20, 80, 60))
    return image


@pytest.fixture
def run(tmp_path: Path) -> ShardRun:
    return ShardRun(tmp_path)


def add_image(run: ShardRun, data: bytes) -> None:
    run.add("train", "ds/1.jpg", data)
    run.write()


def with_boxes(run: ShardRun, *boxes: list[float], file: str = "ds/1.jpg") -> Recipe:
    """A recipe with results that have these boxes, each more confident than the one before."""
    found = [{"category": "1", "conf": 0.5 + 0.1 * number, "bbox": box} for number, box in enumerate(boxes)]
    path = run.root / "detections.json"
    path.write_text(json.dumps({"info": {"detector": "v5"}, "images": [{"file": file, "detections": found}]}))
    return replace(RECIPE, megadetector_results_json=path)


def assert_blue_square(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]", tolerance: int) -> None:
    assert pixels.shape == (48, 48, 3)
    assert np.abs(pixels[8:40, 8:40] - (0, 0, 255)).max() < tolerance
    assert np.abs(pixels[0:2] - 255).max() < tolerance
    assert np.abs(pixels[:, 46:] - 255).max() < tolerance


@pytest.mark.parametrize("file", ["ds/1.jpg", "images/ds/1.jpg"])
def test_an_image_is_cropped_to_its_most_confident_box_with_a_margin(run: ShardRun, file: str) -> None:
    add_image(run, encoded(draw_square(), "PNG"))
    counts = run.create(with_boxes(run, [0.5, 0.5, 0.5, 0.5], SQUARE, file=file))
    pixels = np.asarray(decode_image(run.only_sample()), int)
    assert_blue_square(pixels, 12)
    assert np.abs(pixels[6:42, 6:42] - (0, 0, 255)).max() < 12
    assert (counts.cropped, counts.boxes_ignored, counts.without_detection) == (1, 0, 0)


def test_a_crop_is_resized_by_its_own_shorter_side(run: ShardRun) -> None:
    add_image(run, encoded(draw_square().resize((1600, 800), Image.Resampling.NEAREST), quality=95))
    run.create(replace(with_boxes(run, SQUARE), resize_min_size=48))
    assert_blue_square(np.asarray(decode_image(run.only_sample()), int), 12)


def test_a_box_refers_to_the_upright_image(run: ShardRun) -> None:
    stored = draw_square().transpose(Image.Transpose.ROTATE_90)
    add_image(run, encoded(stored, quality=95, subsampling=0, exif=turned(6)))
    run.create(with_boxes(run, SQUARE))
    assert_blue_square(np.asarray(decode_image(run.only_sample()), int), 16)


@pytest.mark.parametrize("box", [[0.2, 0.2, 0, 0.4], [1.2, 0.2, 0.3, 0.4], [0.2, float("nan"), 0.2, 0.4]])
def test_a_box_without_area_is_ignored_and_counted(run: ShardRun, box: list[float]) -> None:
    data = encoded(draw_square())
    add_image(run, data)
    counts = run.create(with_boxes(run, box))
    assert run.only_sample()["jpg"] == data
    assert (counts.cropped, counts.boxes_ignored, counts.without_detection) == (0, 1, 1)
    counts = run.create(with_boxes(run, SQUARE, box))
    assert decode_image(run.only_sample()).size == (48, 48)
    assert (counts.cropped, counts.boxes_ignored, counts.without_detection) == (1, 1, 0)


def test_a_box_is_clipped_to_the_image() -> None:
    assert add_margin([-0.5, 0.5, 1.0, 1.0]) == [0.0, pytest.approx(0.4), pytest.approx(0.6), 1.0]


def test_results_larger_than_the_window_in_memory_are_read_whole(run: ShardRun) -> None:
    add_image(run, encoded(draw_square(), "PNG"))
    found = [{"category": "1", "conf": 0.9, "bbox": SQUARE}]
    entries = [{"file": f"é/{number}.jpg", "detections": found} for number in range(30_000)]
    entries.insert(20_000, {"file": "ds/1.jpg", "detections": found})
    entries.append({"file": "failed.jpg", "detections": None, "failure": "unreadable"})  # type: ignore[dict-item]
    path = run.root / "detections.json"
    path.write_text(json.dumps({"images": entries, "info": {"n": 12}}, ensure_ascii=False, indent=1))
    assert path.stat().st_size > 3 << 20
    assert run.create(replace(RECIPE, megadetector_results_json=path)).cropped == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"images": {}}',
        '{"images": [{"file": "ds/1.jpg"',
        '{"images": [{"detections": []}]}',
        '{"images": [{"file": "a", "detections": [{"conf": "high", "bbox": [0, 0, 1, 1]}]}]}',
        '{"images": [{"file": "a", "detections": [{"conf": 0.5, "bbox": [0, 0, 1]}]}]}',
        '{"images": [nonsense]}',
        '{"images": ' + "[" * 100_000,
        '{"info": ' + '{"a":' * 100_000,
        '{"images": [{"file": "a", "detections": [{"conf": ' + "9" * 5_000 + ', "bbox": [0, 0, 1, 1]}]}]}',
        '{"images": [{"file": "\\ud800", "detections": []}]}',
        '{"images": [{"file": "a", "detections": [{"category": "\\ud800", "conf": 0.5, "bbox": [0, 0, 1, 1]}]}]}',
        '{"images": [{"file": "ds/1.jpg"}], "detection_categories": {"\\ud800": "animal"}}',
        '{"images": [{"file": "ds/1.jpg"}], "detection_categories": [1]}',
        '{"images": [{"file": "ds/1.jpg"}], "detection_categories": {"1": 1}}',
        '{"images": [{"file": "ds/1.jpg", "detections": {"0": 1}}]}',
    ],
)
def test_a_file_in_another_format_is_rejected(run: ShardRun, content: str) -> None:
    add_image(run, encoded(draw_square()))
    path = run.root / "detections.json"
    path.write_text(content)
    with pytest.raises(ParameterError, match=r"-results-json .*detections\.json: .* not in MegaDetector's format: "):
        run.create(replace(RECIPE, megadetector_results_json=path))


@pytest.mark.parametrize(
    "file",
    [
        "/home/me/moths/images/ds/1.jpg", "/ds/1.jpg", "./ds/1.jpg", "./images/ds/1.jpg", "ds\\1.jpg", "1.jpg", "./1.jpg",
        "C:\\data\\images\\ds\\1.jpg", "data/run 2//ds/./1.jpg",
    ],
)  # fmt: skip
def test_absolute_paths_backslashes_and_bare_names_are_matched(run: ShardRun, file: str) -> None:
    add_image(run, encoded(draw_square(), "PNG"))
    assert run.create(with_boxes(run, SQUARE, file=file)).cropped == 1


def test_a_bare_name_of_two_images_is_matched_to_neither(run: ShardRun) -> None:
    run.add("train", "d1/1.jpg", encoded(draw_square()))
    run.add("train", "d2/1.jpg", encoded(draw_square()))
    run.add("train", "d2/2.jpg", encoded(draw_square()))
    run.write()
    entries = [{"file": name, "detections": [make_detection("1", 0.9)]} for name in ("1.jpg", "2.jpg")]
    assert run.create(with_results(run, {"images": entries})).cropped == 1


@pytest.mark.parametrize("file", ["other/2.jpg", "ds/1.png", "x\x1b[31m/2.jpg"])
def test_results_for_other_images_are_rejected_with_a_name_of_each(run: ShardRun, file: str) -> None:
    add_image(run, encoded(draw_square()))
    with pytest.raises(ParameterError) as error:
        run.create(with_boxes(run, SQUARE, file=file))
    assert str(error.value).endswith(
        f"none of its files is an image of the dataset. It has {file!a}, the dataset has 'ds/1.jpg'; give the results "
        "for the images of this dataset"
    )
    with pytest.raises(ParameterError, match="its list 'images' is empty"):
        run.create(with_results(run, {"images": []}))


def make_detection(category: str, confidence: float, box: list[float] = SQUARE) -> dict[str, object]:
    return {"category": category, "conf": confidence, "bbox": box}


def with_results(run: ShardRun, results: dict[str, object], **options: Any) -> Recipe:
    path = run.root / "detections.json"
    path.write_text(json.dumps(results))
    return replace(RECIPE, megadetector_results_json=path, **options)


@pytest.mark.parametrize("other", ["2", "3", "9"])
def test_only_boxes_of_the_chosen_categories_are_used(run: ShardRun, other: str) -> None:
    add_image(run, encoded(draw_square(), "PNG"))
    found = [make_detection(other, 0.95, [0.6, 0.1, 0.3, 0.8]), make_detection("1", 0.9)]
    results = {"images": [{"file": "ds/1.jpg", "detections": found}]}
    run.create(with_results(run, results))
    assert decode_image(run.only_sample()).size == (48, 48)
    run.create(with_results(run, results, detection_categories=("Person", "vehicle")))
    assert decode_image(run.only_sample()).size == ((200, 100) if other == "9" else (72, 96))
    run.create(with_results(run, results, detection_categories=()))
    assert decode_image(run.only_sample()).size == ((48, 48) if other == "9" else (72, 96))


def test_a_category_that_the_file_lacks_is_reported(run: ShardRun) -> None:
    add_image(run, encoded(draw_square()))
    results = {"detection_categories": {"1": "moth", "2": "bird"}, "images": [{"file": "ds/1.jpg"}]}
    with pytest.raises(ParameterError, match=r"-detection-categories animal: .* no such category; choose from moth, b"):
        run.create(with_results(run, results))
    assert run.create(with_results(run, results, detection_categories=("moth",))).without_detection == 1


@pytest.mark.parametrize(
    ("info", "threshold", "cropped"),
    [
        ({}, None, (0, 1)), ({"typical_detection_threshold": 0.1}, None, (1, 1)),
        ({"typical_detection_threshold": 0.35}, None, (0, 0)), ({"typical_detection_threshold": "high"}, None, (0, 1)),
        ({}, 0.0, (1, 1)), ({}, 0.3, (0, 1)), ({}, 0.31, (0, 0)),
    ],
)  # fmt: skip
def test_boxes_below_the_threshold_are_not_used(
    run: ShardRun, info: dict[str, object], threshold: float | None, cropped: tuple[int, int]
) -> None:
    add_image(run, encoded(draw_square(), "PNG"))
    for confidence, expected in zip((0.15, 0.3), cropped, strict=True):
        results = {"info": {"detector_metadata": info}, "images": [{"file": "ds/1.jpg"}]}
        results["images"][0]["detections"] = [make_detection("1", confidence)]  # type: ignore[index]
        counts = run.create(with_results(run, results, detection_threshold=threshold))
        assert (counts.cropped, counts.without_detection) == (expected, 1 - expected)


@pytest.mark.parametrize("name", ["absolute", "backslash", "categories", "unlisted-category"])
def test_results_that_cropped_nothing_or_the_wrong_box_crop_the_animal(run: ShardRun, name: str) -> None:
    path = find_case(f"megadetector/{name}.json")
    for number in range(1, 7):
        run.add("train", f"50c9509d-22c7-4a22-a47d-8c48425ef4a7/{number}.jpg", encoded(draw_square()))
    run.write()
    counts = run.create(replace(RECIPE, megadetector_results_json=path))
    assert (counts.cropped, counts.without_detection) == (6, 0)
    assert {decode_image(sample).size for sample in run.samples()} == {(48, 48)}
