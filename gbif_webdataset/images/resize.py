"""Resizing of pictures to the same bytes on every CPU: OpenCV shrinks to at least half the size, Pillow does the rest.

OpenCV's bicubic filter reads four pixels, however many of them become one, so a low-pass filter (Lanczos with three
lobes) runs before it. The weights of the low-pass filter are multiples of 1/64. float32 represents every sum of them
exactly, in whatever order a CPU adds them.
"""

import math
from functools import cache
from types import ModuleType
from typing import Any, cast

import numpy as np
from PIL import Image

from gbif_webdataset.images.convert import Pixels

MAX_OPENCV_RATIO = 2.0  # of a side before and after; a JPEG is decoded at no larger ratio
_REACH = 3  # pixels that the low-pass filter reads on either side
_DENOMINATOR = 64
_DELTA = 2.0**-13  # smaller than the distance of any sum from a tie, which CPUs round in different directions
_TOLERANCE = 1e-6  # pixels

Weights = np.ndarray[Any, np.dtype[np.float32]]


def resize_pixels(pixels: Pixels, box: tuple[float, float, float, float], size: tuple[int, int]) -> Pixels:
    """The part `box` (left, top, right, bottom in pixels) of a picture (height x width x 3), at `size` (width, height).

    Pillow resizes if the box is not on whole pixels, or if the picture is enlarged or shrunk to less than half a side.
    """
    left, top, right, bottom = (round(side) for side in box)
    ratios = (right - left) / size[0], (bottom - top) / size[1]
    is_on_whole_pixels = max(abs(side - round(side)) for side in box) < _TOLERANCE
    if is_on_whole_pixels and min(ratios) >= 1 and max(ratios) <= MAX_OPENCV_RATIO:
        return _shrink(pixels[top:bottom, left:right], ratios, size)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box))


def _shrink(pixels: Pixels, ratios: tuple[float, float], size: tuple[int, int]) -> Pixels:
    cv2 = _load_opencv()
    return cast(Pixels, cv2.resize(smooth_pixels(pixels, ratios), size, interpolation=cv2.INTER_CUBIC))


def smooth_pixels(pixels: Pixels, ratios: tuple[float, float]) -> Pixels:
    """A picture without the detail that is lost when its width and height are divided by `ratios` (1 to 2)."""
    cv2 = _load_opencv()
    x_weights, y_weights = (compute_low_pass_weights(ratio) for ratio in ratios)
    contiguous = np.ascontiguousarray(pixels)
    smooth = cv2.sepFilter2D(contiguous, -1, x_weights, y_weights, delta=_DELTA, borderType=cv2.BORDER_REPLICATE)
    return cast(Pixels, smooth)


def _load_opencv() -> ModuleType:
    """OpenCV without Intel's IPP, whose results differ between processors, and without threads of its own."""
    cv2 = _import_opencv()
    cv2.ipp.setUseIPP(False)  # a setting of the calling thread alone
    return cv2


@cache
def _import_opencv() -> ModuleType:
    import cv2  # at the top of the module it would take a fifth of the start of every task

    cv2.setNumThreads(0)
    return cv2


def compute_low_pass_weights(ratio: float) -> Weights:
    """The weights of the pixels at -3 to 3 around a pixel, for a side that is divided by `ratio` (1 to 2)."""
    offsets = range(-_REACH, _REACH + 1)
    heights = {at: _sinc(at / ratio) * _sinc(at / ratio / _REACH) for at in offsets if abs(at) < _REACH * ratio}
    weights = [round(_DENOMINATOR * heights.get(at, 0.0) / sum(heights.values())) for at in offsets]
    weights[_REACH] += _DENOMINATOR - sum(weights)
    return np.array(weights, np.float32) / np.float32(_DENOMINATOR)


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0
