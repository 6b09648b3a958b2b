"""Noise fields and colours, from which cloth, bark and wings are painted."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]
"""Numbers, height x width, or colours from 0 to 1, height x width x 3."""
Colour = tuple[float, float, float]
"""Red, green and blue, from 0 to 255."""


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float], octaves: int = 1) -> Field:
    """Smooth noise with mean 0 and deviation about 1. `cells` are the blobs down and across in the first octave."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        down, across = (max(2, round(count * 2**octave)) for count in cells)
        grid = rng.standard_normal((min(down, height) + 2, min(across, width) + 2), np.float32)
        fine = down > height / 6
        layer = Image.fromarray(grid).resize(
            (width, height), Image.Resampling.BILINEAR if fine else Image.Resampling.BICUBIC
        )
        total += np.asarray(layer, np.float32) / 1.7**octave
    return np.asarray(total / max(float(total.std()), 1e-6), np.float32)


def smooth(values: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high` (the reverse if `low` is higher), and an S-shaped curve between them."""
    x = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(x * x * (3 - 2 * x), np.float32)


def rgb(colour: Colour) -> Field:
    return np.asarray(colour, np.float32) / np.float32(255)


def to_image(colours: Field) -> Image.Image:
    return Image.fromarray((np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8))
