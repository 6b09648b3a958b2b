"""What a small grey picture tells of an image: a hash that near duplicates share, and whether it shows anything.

The hash is the one of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), 3.2.1: the
signs of the 8 x 8 lowest frequencies of the picture at 32 x 32, against their median without the mean.
"""

import numpy as np
from PIL import Image

from tasks.core.images import Pixels

SIDE, KEPT = 32, 8
FLAT = 6  # levels of grey from the darkest to the brightest pixel of a small picture that shows nothing
_MIDDLE = (KEPT * KEPT - 1) // 2
_AT = np.arange(SIDE)
_COSINES = np.cos(np.pi * np.outer(np.arange(KEPT), 2 * _AT + 1) / (2 * SIDE)).astype(np.float32)


def hash_of(grey: Pixels) -> str:
    """The perceptual hash of a picture (height x width levels of grey): 64 bits as 16 hexadecimal digits."""
    picture = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    low = _COSINES @ np.asarray(picture, np.float32) @ _COSINES.T
    median = np.partition(low.ravel()[1:], _MIDDLE)[_MIDDLE]  # np.median takes as long as all the rest
    return np.packbits(low > median).tobytes().hex()


def is_flat(grey: Pixels) -> bool:
    """Whether a picture is of one shade, as the plates are that hosts send for photos they no longer have."""
    return int(grey.max()) - int(grey.min()) <= FLAT
