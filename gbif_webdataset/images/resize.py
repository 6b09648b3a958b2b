"""Shrinking pictures, the same on every processor: by OpenCV up to half the size, by Pillow for what is rare.

OpenCV's bicubic looks at four pixels however many fall on one, so a low-pass (Lanczos of three lobes) goes before it.
Its weights are whole sixty-fourths: float32 holds every sum of them exactly, in whatever order a processor adds.
"""

import math
from functools import cache
from types import ModuleType
from typing import Any, cast

import numpy as np
from PIL import Image

from gbif_webdataset.images.convert import Pixels

LARGEST_RATIO = 2.0  # of pixels to those that they become; a JPEG is decoded at no more
_REACH = 3  # pixels on either side that the low-pass looks at
_PARTS = 64
_DELTA = 2.0**-13  # less than any sum's distance from a tie, which processors round either way
_OFF = 1e-6  # pixels by which a side may be off the grid

Weights = np.ndarray[Any, np.dtype[np.float32]]


def resized(pixels: Pixels, box: tuple[float, float, float, float], size: tuple[int, int]) -> Pixels:
    """The part `box` (left, top, right, bottom in pixels) of a picture (height x width x 3), at `size` (width, height).

    What is enlarged, shrunk to less than half a side, or not on whole pixels is Pillow's work.
    """
    left, top, right, bottom = (round(side) for side in box)
    ratios = (right - left) / size[0], (bottom - top) / size[1]
    is_whole = max(abs(side - round(side)) for side in box) < _OFF
    if is_whole and min(ratios) >= 1 and max(ratios) <= LARGEST_RATIO:
        return _shrunk(pixels[top:bottom, left:right], ratios, size)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box))


def _shrunk(pixels: Pixels, ratios: tuple[float, float], size: tuple[int, int]) -> Pixels:
    cv2 = _opencv()
    return cast(Pixels, cv2.resize(smoothed(pixels, ratios), size, interpolation=cv2.INTER_CUBIC))


def smoothed(pixels: Pixels, ratios: tuple[float, float]) -> Pixels:
    """A picture without the detail that is lost once its sides are so many times shorter (1 to 2)."""
    cv2 = _opencv()
    across, down = (low_pass(ratio) for ratio in ratios)
    plain = np.ascontiguousarray(pixels)
    return cast(Pixels, cv2.sepFilter2D(plain, -1, across, down, delta=_DELTA, borderType=cv2.BORDER_REPLICATE))


def _opencv() -> ModuleType:
    """OpenCV without Intel's IPP, whose results differ between processors, and without threads of its own."""
    cv2 = _import_opencv()
    cv2.ipp.setUseIPP(False)  # a setting of the calling thread alone
    return cv2


@cache
def _import_opencv() -> ModuleType:
    import cv2  # at the top of the module it would take a fifth of the start of every task

    cv2.setNumThreads(0)
    return cv2


def low_pass(ratio: float) -> Weights:
    """The weights of the pixels from -3 to 3 about one, for a side that becomes `ratio` times shorter (1 to 2)."""
    near = [at for at in range(-_REACH, _REACH + 1) if abs(at) < _REACH * ratio]
    heights = {at: _sinc(at / ratio) * _sinc(at / ratio / _REACH) for at in near}
    weights = [round(_PARTS * heights.get(at, 0.0) / sum(heights.values())) for at in range(-_REACH, _REACH + 1)]
    weights[_REACH] += _PARTS - sum(weights)
    return np.array(weights, np.float32) / np.float32(_PARTS)


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0
