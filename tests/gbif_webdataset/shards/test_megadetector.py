"""Boxes of MegaDetector: read from its results, and cropped."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.shards.megadetector import add_margin
from gbif_webdataset.shards.recipe import Recipe
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
    ],
)
def test_a_file_in_another_format_is_rejected(run: ShardRun, content: str) -> None:
    add_image(run, encoded(draw_square()))
    path = run.root / "detections.json"
    path.write_text(content)
    with pytest.raises(ParameterError, match=r"-results-json .*detections\.json: .* not in MegaDetector's format: "):
        run.create(replace(RECIPE, megadetector_results_json=path))
