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
ALLOWED_DEVIATION = Fraction(1, 5)
"""The part of a share by which it may be off if groups are assigned by their hashes."""
MAX_STANDARD_DEVIATIONS = 2.5
SMALL_DEVIATION_IMAGES = 6
"""Groups of several classes may be off by so many standard deviations, and always by so few images of a class."""


class Share(NamedTuple):
    """What a split should get of each class: a fraction of the images, and the groups whose hash is in its range.

    The range has `hashes` values, from the lowest hash upwards or, if it is not `from_low_end`, from the highest
    downwards.
    """

    split: int
    fraction: float
    hashes: int
    from_low_end: bool

    def has_in_range(self, own_hash: int) -> bool:
        """Whether a hash is in the range."""
        return (own_hash if self.from_low_end else HASHES - 1 - own_hash) < self.hashes


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
        """The shares of test and val, in the order in which they choose groups.

        They are at both ends of the hashes, so that one of them can grow without taking groups of the other.
        """
        test, val = (int(to_exact_fraction(fraction) * HASHES) for fraction in (self.test, self.val))
        return Share(TEST_CODE, self.test, test, True), Share(VAL_CODE, self.val, val, False)


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
    its own hash and new images move few older ones: a fifth of the share, or one group if that is more. A group is as
    large as the one that an image is in on average. A split whose share is an image or more gets at least one.
    """
    requested = count_requested(images, fraction)
    if exact or not images:
        return Bounds(requested, requested, requested)
    share = images * to_exact_fraction(fraction)
    deviation = max(Fraction(squares, images), ALLOWED_DEVIATION * share)
    minimum = max(int(share >= 1), math.ceil(share - deviation))
    return Bounds(requested, minimum, math.floor(share + deviation) if fraction else 0)


def compute_wide_bounds(images: int, squares: int, fraction: float) -> Bounds:
    """The bounds within which groups of several classes are assigned by their own hashes.

    Every group that one class moves changes the shares of other classes, so narrow bounds would move many groups.
    """
    share = images * fraction
    deviation = MAX_STANDARD_DEVIATIONS * math.sqrt(squares * fraction * (1 - fraction))
    above = min(max(1, deviation), max(SMALL_DEVIATION_IMAGES, share))
    below = min(above, max(SMALL_DEVIATION_IMAGES, share / 2))
    minimum = max(int(images * share >= 2 * squares), math.ceil(share - below))
    return Bounds(count_requested(images, fraction), minimum, math.floor(share + above) if fraction else 0)
