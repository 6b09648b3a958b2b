import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gbif_webdataset.images.convert import Pixels
from gbif_webdataset.images.resize import _load_opencv, compute_low_pass_weights, resize_pixels, smooth_pixels
from tests.support.shard_run import photo, psnr

ROOT = Path(__file__).parents[3]
SIZES = [(600, 450), (512, 384), (640, 401), (450, 450), (768, 512)]  # of a picture of 768 x 576 pixels or 1 x 1 less


def pixels_of(width: int, height: int, seed: int = 1) -> Pixels:
    return np.asarray(photo(width, height, seed))


def noise(width: int, height: int) -> Pixels:
    return np.random.default_rng(3).choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), (height, width, 3))


def bicubic(pixels: Pixels, size: tuple[int, int], box: tuple[float, float, float, float] | None = None) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box=box))


def digest() -> str:
    """The SHA-256 of pictures shrunk to many sizes."""
    found = hashlib.sha256()
    for pixels in (pixels_of(768, 576), noise(769, 577)[:-1, :-1]):
        for size in SIZES:
            found.update(resize_pixels(pixels, (0, 0, 768, 576), size).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("ratio", [1.0, 1.01, 1.066, 1.28, 1.5, 1.75, 2.0])
@pytest.mark.parametrize("picture", [pixels_of, noise])
def test_the_low_pass_filter_equals_a_direct_computation_to_the_last_bit(
    ratio: float, picture: Callable[[int, int], Pixels]
) -> None:
    pixels = picture(131, 97)
    x_weights, y_weights = compute_low_pass_weights(ratio).astype(float), compute_low_pass_weights(1.3).astype(float)
    wide = np.pad(pixels.astype(float), ((3, 3), (3, 3), (0, 0)), mode="edge")
    rows = sum(weight * wide[:, at : at + 131] for at, weight in enumerate(x_weights))
    sums = sum(weight * rows[at : at + 97] for at, weight in enumerate(y_weights))
    assert np.array_equal(smooth_pixels(pixels, (ratio, 1.3)), np.clip(np.floor(sums + 2.0**-13 + 0.5), 0, 255))


@pytest.mark.parametrize("ratio", np.linspace(1, 2, 101))
def test_low_pass_weights_are_multiples_of_1_64_and_add_up_to_1(ratio: float) -> None:
    weights = compute_low_pass_weights(ratio)
    assert weights.dtype == np.float32
    assert weights.sum() == 1
    assert np.array_equal(weights * 64, np.rint(weights * 64))
    assert np.array_equal(weights, weights[::-1])


def test_a_side_that_keeps_its_length_is_not_smoothed() -> None:
    assert compute_low_pass_weights(1.0).tolist() == [0, 0, 0, 1, 0, 0, 0]
    pixels = pixels_of(90, 60)
    assert np.array_equal(resize_pixels(pixels, (0, 0, 90, 60), (90, 60)), pixels)


@pytest.mark.parametrize("disabled", ["AVX2,FMA3", "AVX2,FMA3,AVX,SSE4.2,SSE4.1"])
def test_a_cpu_with_fewer_instruction_sets_makes_the_same_bytes(disabled: str) -> None:
    code = "from tests.gbif_webdataset.images.test_resize import digest; print(digest())"
    names = {"OPENCV_CPU_DISABLE": disabled}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **names}, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == digest()


@pytest.mark.parametrize("size", [(1000, 750), (900, 675), (800, 600), (600, 450), (512, 384), (700, 384)])
def test_a_shrunk_picture_is_as_close_to_lanczos_as_pillows_bicubic_is_within_one_decibel(
    size: tuple[int, int],
) -> None:
    source = photo(1024, 768, 5)
    best = source.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(source)
    ours, theirs = resize_pixels(pixels, (0, 0, 1024, 768), size), bicubic(pixels, size)
    assert ours.shape == (size[1], size[0], 3)
    assert psnr(Image.fromarray(ours), best) > max(48, psnr(Image.fromarray(theirs), best) - 1)


def test_a_box_on_whole_pixels_gives_the_same_bytes_as_the_cropped_picture() -> None:
    pixels = pixels_of(200, 150)
    part = resize_pixels(pixels, (20, 10, 170, 130 + 1e-9), (100, 90))
    assert np.array_equal(part, resize_pixels(pixels[10:130, 20:170], (0, 0, 150, 120), (100, 90)))


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((20.5, 10, 170, 130), (100, 90)),
        ((0, 0, 200, 149.99), (150, 100)),
        ((0, 0, 200, 150), (201, 100)),
        ((0, 0, 200, 150), (99, 100)),
        ((0, 0, 200, 150), (20, 15)),
        ((0, 0, 20, 15), (40, 30)),
    ],
)
def test_pillow_resizes_boxes_off_the_pixel_grid_enlargements_and_shrinks_below_half_the_side(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    pixels = pixels_of(200, 150)
    assert np.array_equal(resize_pixels(pixels, box, size), bicubic(pixels, size, box))


def test_the_memory_order_of_pixels_does_not_change_the_result() -> None:
    pixels = pixels_of(200, 150)
    turned = pixels.swapaxes(0, 1)[::-1]
    box, size = (0, 0, 150, 200), (100, 140)
    assert np.array_equal(resize_pixels(turned, box, size), resize_pixels(turned.copy(), box, size))


def test_opencv_runs_without_code_that_depends_on_the_make_of_the_cpu() -> None:
    assert not _load_opencv().ipp.useIPP()


def test_every_thread_gives_the_same_pixels() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert {digest(), *pool.map(lambda number: digest(), range(4))} == {digest()}


@pytest.mark.parametrize("module", ["cv2", "pandas"])
def test_starting_a_task_does_not_import_slow_modules(module: str) -> None:
    code = f"import sys, tasks; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
