"""A perceptual hash, which near duplicates share, and the test for images that show nothing.

The hash is the one of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), 3.2.1: the
signs of the 8 x 8 lowest frequencies compared with their median. Zauner first shrinks pictures to 32 x 32. Here the
cosines are computed for the picture's own size instead, which is faster, and copies of different sizes still get
similar hashes. The cosines are whole numbers, so doubles add them without rounding and every machine gets the same
bits.
"""

from functools import lru_cache

import numpy as np

from gbif_webdataset.images.convert import Pixels

FREQUENCIES = 8
"""Number of frequencies in each direction."""
AMPLITUDE = 1024  # 255 levels x 1024 x 1024 x 33 million pixels is below 2^53, so doubles are exact
MAX_FLAT_RANGE = 6
"""Largest difference between the brightest and the darkest pixel (levels of grey) of a picture that shows nothing."""
_MEDIAN_INDEX = (FREQUENCIES * FREQUENCIES - 1) // 2

_Waves = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@lru_cache(maxsize=256)
def _cosines(length: int) -> _Waves:
    """The waves of the lowest frequencies (FREQUENCIES x length) in whole numbers. The first one is constant."""
    waves = np.outer(np.arange(FREQUENCIES), 2 * np.arange(length) + 1)
    cosines: _Waves = np.rint(AMPLITUDE * np.cos(np.pi / (2 * length) * waves))
    return cosines


def compute_hash(grey: Pixels) -> str:
    """The perceptual hash of a picture (height x width, levels of grey): 64 bits as 16 hexadecimal digits."""
    height, width = grey.shape
    low = _cosines(height) @ grey.astype(np.float64) @ _cosines(width).T
    # The median leaves out the mean brightness. np.median would take longer than all other steps together.
    median = np.partition(low.ravel()[1:], _MEDIAN_INDEX)[_MEDIAN_INDEX]
    return np.packbits(low > median).tobytes().hex()


def is_flat(grey: Pixels) -> bool:
    """Whether a picture has one shade all over, like the placeholders that hosts send for photos they deleted."""
    return int(grey.max()) - int(grey.min()) <= MAX_FLAT_RANGE
