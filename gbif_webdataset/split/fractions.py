"""How many images of a class val and test should get."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES, TEST, TRAIN, VAL

TRAIN_CODE, VAL_CODE, TEST_CODE = (SPLITS_OF_CLASSES.index(split) for split in (TRAIN, VAL, TEST))
"""Codes of the splits in tables and arrays. If units of several splits meet in a group, the highest code wins."""
NO_SPLIT = 255
"""The code that stands for no split."""
HASHES = 1 << 64
"""The number of values of a seeded hash."""
MAX_DEVIATIONS = 2.5  # standard deviations by which a share may be off if groups are assigned by their hashes
SMALL_DEVIATION_IMAGES = 6  # a deviation of so few images is always allowed


class Share(NamedTuple):
    """What a split should get of each class: a fraction of the images, and the groups whose hash is in its range.

    The range ends before `hash_end`. It starts where the range of the share before it ends.
    """

    split: int
    fraction: float
    hash_end: int


@dataclass(frozen=True)
class Fractions:
    """The fractions of each class's images for test and val.

    Raises:
        ParameterError: a fraction is not in [0, 1), or both leave nothing for train.
    """

    test: float
    val: float

    def __post_init__(self) -> None:
        for option, value in (("test-frac", self.test), ("val-frac", self.val)):
            if not 0 <= value < 1:
                raise ParameterError(
                    f"--SplitDataset-{option} {value}: out of range; give a fraction from 0 to below 1"
                )
        if to_exact_fraction(self.test) + to_exact_fraction(self.val) >= 1:
            raise ParameterError(
                f"--SplitDataset-test-frac {self.test} --SplitDataset-val-frac {self.val}: no images are left for "
                "train; give fractions whose sum is below 1"
            )

    @property
    def shares(self) -> tuple[Share, Share]:
        """The shares of test and val, in the order in which they choose groups."""
        test = to_exact_fraction(self.test)
        both = test + to_exact_fraction(self.val)
        return Share(TEST_CODE, self.test, int(test * HASHES)), Share(VAL_CODE, self.val, int(both * HASHES))


def to_exact_fraction(fraction: float) -> Fraction:
    """The fraction as it was typed: 0.1 is a tenth, not the binary number closest to it."""
    return Fraction(str(fraction))


def count_requested(images: int, fraction: float) -> int:
    """The images of a class that a split should get, rounded half up; 0 if the exact number is below 1."""
    share = images * to_exact_fraction(fraction)
    return math.floor(share + Fraction(1, 2)) if share >= 1 else 0


class Bounds(NamedTuple):
    """The images of a class that a split should get, and the minimum and maximum that it may get."""

    requested: int
    minimum: int
    maximum: int


def compute_bounds(images: int, squares: int, fraction: float, exact: bool) -> Bounds:
    """The bounds for a class with so many images in groups whose squared sizes add up to `squares`.

    With `exact` all three numbers are equal. Otherwise the bounds leave room for chance, so that a group is assigned by
    its own hash and new images move few older ones. A class for which the split would get less than two groups on
    average may have none there.
    """
    requested = count_requested(images, fraction)
    if exact:
        return Bounds(requested, requested, requested)
    share = images * fraction
    deviation = MAX_DEVIATIONS * math.sqrt(squares * fraction * (1 - fraction))
    above = min(max(1, deviation), max(SMALL_DEVIATION_IMAGES, share))
    below = min(above, max(SMALL_DEVIATION_IMAGES, share / 2))
    has_two_groups = images * share >= 2 * squares  # an image is in a group of squares / images images on average
    minimum = max(int(has_two_groups), math.ceil(share - below))
    return Bounds(requested, minimum, math.floor(share + above) if fraction else 0)
