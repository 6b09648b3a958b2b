"""The split of each group: pure functions on sizes, hashes and earlier splits.

Test, then val, take groups of a class until they have their share; the other groups stay in train.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gbif_webdataset.split.fractions import (
    NO_SPLIT,
    TRAIN_CODE,
    Bounds,
    Fractions,
    Share,
    compute_bounds,
    compute_wide_bounds,
)
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES

MIN_FITTING_SHARE = 0.9  # of a mixed group's images that must fit what a split should get
SMALL_GROUP_IMAGES = 6  # a group with so few images of a class always fits
Counts = np.ndarray[Any, np.dtype[np.int64]]


@dataclass
class MixedGroupsOfClass:
    """Of one class, its images in groups that have other classes, too, and the splits of these groups."""

    images: int = 0
    squares: int = 0
    """The sum of the squared sizes of the groups, counting images of this class."""
    groups_in_train: int = 0
    images_by_split: list[int] = field(default_factory=lambda: [0] * len(SPLITS_OF_CLASSES))

    def add(self, size: int, split: int) -> None:
        """Count a group that has `size` images of the class and was assigned to `split`."""
        self.images += size
        self.squares += size * size
        self.groups_in_train += split == TRAIN_CODE
        self.images_by_split[split] += size


def assign_class(
    sizes: Sequence[int],
    fractions: Fractions,
    hashes: Sequence[int] | None = None,
    previous: Sequence[int] | None = None,
    mixed: MixedGroupsOfClass | None = None,
) -> bytearray:
    """The split code of each group of one class. The groups are given by their sizes, in the order of their hashes.

    Test, then val, take the groups that fit their share, in this order. If none fits, they take the smallest group,
    provided that this is closer to the share than nothing. At least one group stays in train. With `hashes` (64 bits) a
    group is assigned by its own hash. If a split would then have too few images for the bounds of the class, it takes
    the next groups in the order of the hashes; if it would have too many, the last ones stay in train. A group keeps
    its `previous` split unless that is NO_SPLIT. `mixed` counts the class's images that are assigned already.
    """
    mixed = mixed or MixedGroupsOfClass()
    previous = previous or [NO_SPLIT] * len(sizes)
    assigned = bytearray(TRAIN_CODE if split == NO_SPLIT else split for split in previous)
    images, in_train = sum(sizes) + mixed.images, assigned.count(TRAIN_CODE) + mixed.groups_in_train
    squares = sum(size * size for size in sizes) + mixed.squares
    for share in fractions.shares:
        code = share.split
        bounds = compute_bounds(images, squares, share.fraction, exact=hashes is None)
        taken = sum(size for size, split in zip(sizes, assigned, strict=True) if split == code)
        taken += mixed.images_by_split[code]
        for index, enough in _list_candidates(hashes, len(sizes), share, bounds):
            if taken >= enough or in_train <= 1:
                continue
            is_free = assigned[index] == TRAIN_CODE and previous[index] == NO_SPLIT
            if is_free and taken + sizes[index] <= bounds.maximum:
                assigned[index] = code
                taken += sizes[index]
                in_train -= 1
        if not taken and bounds.minimum and in_train > 1:
            in_train -= _take_smallest(sizes, previous, assigned, code, 2 * bounds.requested)
    return assigned


def _take_smallest(sizes: Sequence[int], previous: Sequence[int], assigned: bytearray, split: int, below: int) -> int:
    """Assign the smallest free group to `split` if it is smaller than `below`. The number of groups assigned."""
    free = [index for index, code in enumerate(assigned) if code == TRAIN_CODE and previous[index] == NO_SPLIT]
    if free and sizes[smallest := min(free, key=sizes.__getitem__)] < below:
        assigned[smallest] = split
        return 1
    return 0


def _list_candidates(
    hashes: Sequence[int] | None, groups: int, share: Share, bounds: Bounds
) -> Iterator[tuple[int, int]]:
    """The groups in the order in which a split may take them, each with the images at which the split has enough."""
    for index in range(groups) if hashes is None or share.from_low_end else reversed(range(groups)):
        is_own = hashes is None or share.has_in_range(hashes[index])
        yield index, bounds.maximum if is_own else bounds.minimum


class MixedGroup(NamedTuple):
    """A group of several classes."""

    hash: int
    previous_split: int
    parts: list[tuple[int, int]]
    """The number of each class, and the group's images of it."""


@dataclass(frozen=True)
class ClassTotals:
    """Of each class, all its groups counted: arrays that are indexed by the number of the class.

    `images_by_split` has a row for each split, with the images of groups that keep their earlier split;
    `groups_outside_train` counts groups that keep val or test.
    """

    images: Counts
    squares: Counts
    groups: Counts
    groups_outside_train: Counts
    images_by_split: Counts


@dataclass(frozen=True)
class _Round:
    """One pass of a split over the mixed groups; if `own_only`, over those whose hash is in its range.

    `max_images` is the number of images, by class, that the split should not exceed; `max_group_images` the number that
    a group should have at most, or None without limit.
    """

    share: Share
    own_only: bool
    max_images: list[int]
    max_group_images: list[int] | None


class MixedAssignment:
    """Assigns groups of several classes. The groups of single classes are assigned afterwards."""

    def __init__(self, totals: ClassTotals) -> None:
        self._totals = totals
        self._in_train = totals.groups - totals.groups_outside_train
        self._taken = totals.images_by_split.copy()

    def assign(
        self, groups: Callable[[bool], Iterator[MixedGroup]], count: int, fractions: Fractions, exact: bool
    ) -> bytearray:
        """The split code of each of the `count` groups, in the order of their hashes.

        `groups` returns them, repeatedly, in this order or, if its argument is true, in the opposite one.

        A split takes a group if at least half its images bring their classes closer to what the split should get, and
        each of its classes has another group in train. Unless `exact`, the first pass is over groups whose hash is in
        the split's range, and a group that is larger than what the split should get in all stays in train.
        """
        assigned = bytearray([NO_SPLIT]) * count
        for share in fractions.shares:
            sums = zip(self._totals.images.tolist(), self._totals.squares.tolist(), strict=True)
            if exact:
                bounds = [compute_bounds(*own, share.fraction, exact=True) for own in sums]
            else:
                bounds = [compute_wide_bounds(*own, share.fraction) for own in sums]
            maximum, minimum = [bound.maximum for bound in bounds], [bound.minimum for bound in bounds]
            if exact:
                self._take_groups(enumerate(groups(False)), assigned, _Round(share, False, maximum, None))
                continue
            sizes = [max(SMALL_GROUP_IMAGES, bound.requested) for bound in bounds]
            for turn in (_Round(share, True, maximum, sizes), _Round(share, False, minimum, sizes)):
                indexes = range(count) if share.from_low_end else reversed(range(count))
                ordered = zip(indexes, groups(not share.from_low_end), strict=True)
                self._take_groups(ordered, assigned, turn)
        for index, group in enumerate(groups(False)):
            if assigned[index] == NO_SPLIT:
                assigned[index] = TRAIN_CODE if group.previous_split == NO_SPLIT else group.previous_split
        return assigned

    def _take_groups(self, groups: Iterable[tuple[int, MixedGroup]], assigned: bytearray, turn: _Round) -> None:
        taken, in_train = self._taken[turn.share.split], self._in_train
        for index, (own_hash, previous_split, parts) in groups:
            if turn.own_only and not turn.share.has_in_range(own_hash):
                break
            is_free = assigned[index] == NO_SPLIT and previous_split == NO_SPLIT
            if not is_free or any(in_train[part] < 2 for part, _ in parts):
                continue
            if self._is_worth_taking(parts, taken, turn):
                assigned[index] = turn.share.split
                for part, images in parts:
                    taken[part] += images
                    in_train[part] -= 1

    @staticmethod
    def _is_worth_taking(parts: list[tuple[int, int]], taken: Counts, turn: _Round) -> bool:
        size = sum(images for _, images in parts)
        limits = turn.max_group_images
        if limits is not None:
            fitting = sum(min(images, limits[part]) for part, images in parts)
            if fitting < MIN_FITTING_SHARE * size:
                return False
        gain = sum(min(images, max(0, turn.max_images[part] - int(taken[part]))) for part, images in parts)
        return gain > 0 and 2 * gain >= size
