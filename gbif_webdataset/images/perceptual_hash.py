"""What a small grey picture tells of an image: a hash that near duplicates share, and whether it shows anything.

The hash is that of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), 3.2.1: the
signs of the 8 x 8 lowest frequencies against their median. There pictures are first brought to 32 x 32; here the
cosines are taken at the picture's own size, which spares that and keeps copies of different sizes as near. They are
whole numbers, so that doubles add them up without rounding and every machine finds the same bits.
"""

from functools import lru_cache

import numpy as np

from gbif_webdataset.images.convert import Pixels

KEPT = 8  # frequencies each way
AMPLITUDE = 1024  # 255 levels x 1024 x 1024 x 33 million pixels are what a double holds to the last digit
FLAT = 6  # levels of grey from the darkest to the brightest pixel of a small picture that shows nothing
Waves = np.ndarray[tuple[int, int], np.dtype[np.float64]]
_MIDDLE = (KEPT * KEPT - 1) // 2


@lru_cache(maxsize=256)
def _cosines(length: int) -> Waves:
    """The waves of the lowest frequencies (KEPT x length), the mean as the first, in whole numbers."""
    waves = np.outer(np.arange(KEPT), 2 * np.arange(length) + 1)
    cosines: Waves = np.rint(AMPLITUDE * np.cos(np.pi / (2 * length) * waves))
    return cosines


def hash_of(grey: Pixels) -> str:
    """The perceptual hash of a picture (height x width levels of grey): 64 bits as 16 hexadecimal digits."""
    height, width = grey.shape
    low = _cosines(height) @ grey.astype(np.float64) @ _cosines(width).T
    median = np.partition(low.ravel()[1:], _MIDDLE)[_MIDDLE]  # without the mean; np.median is slower than all the rest
    return np.packbits(low > median).tobytes().hex()


def is_flat(grey: Pixels) -> bool:
    """Whether a picture is of one shade, as the plates are that hosts send for photos they no longer have."""
    return int(grey.max()) - int(grey.min()) <= FLAT
