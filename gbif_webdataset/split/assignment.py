"""Which split each group of images goes to: close to the asked fractions of every class, and where it was before."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from gbif_webdataset.errors import ParameterError

SPLITS = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
FREE = 255  # no earlier split
HASHES = 1 << 64
SPREAD = 2.5  # standard deviations that a share may be off where groups are dealt by their own hashes
FEW = 6  # images by which any share may be off so
WHOLE = 0.9  # of a group's images, to be as good as all
Counts = np.ndarray[Any, np.dtype[np.int64]]
Part = tuple[int, int]  # a class, and the images that a group has of it
Mixed = tuple[int, int, list[Part]]  # of a group of several classes: its hash, its earlier split, its parts


@dataclass(frozen=True)
class Fractions:
    """Shares of each class's images for test and val, from 0 to below 1; ParameterError for anything else."""

    test: float
    val: float

    def __post_init__(self) -> None:
        for name, value in (("test_frac", self.test), ("val_frac", self.val)):
            if not 0 <= value < 1:
                raise ParameterError(f"{name} is {value}: give a fraction from 0 to below 1")
        if exact(self.test) + exact(self.val) >= 1:
            raise ParameterError(
                f"test_frac {self.test} and val_frac {self.val} leave nothing to train: give less than 1 together"
            )

    @property
    def turns(self) -> tuple[tuple[int, float, int], tuple[int, float, int]]:
        """Test, then val: the split, its fraction, and the hash below which a group is its own by right."""
        both = exact(self.test) + exact(self.val)
        return (TEST, self.test, int(exact(self.test) * HASHES)), (VAL, self.val, int(both * HASHES))


def exact(fraction: float) -> Fraction:
    """The fraction that was typed: 0.1 is a tenth, not the binary number next to it."""
    return Fraction(str(fraction))


def goal(images: int, fraction: float) -> int:
    """How many of a class's images a split should get: rounded half up, and none where that is less than one image."""
    share = images * exact(fraction)
    return math.floor(share + Fraction(1, 2)) if share >= 1 else 0


@dataclass
class Elsewhere:
    """Of one class: the images in groups that have other classes, too; those groups in train; what splits have got."""

    images: int = 0
    squares: int = 0  # the sum of the squares of the groups' sizes
    left: int = 0
    got: list[int] = field(default_factory=lambda: [0] * len(SPLITS))

    def add(self, size: int, split: int) -> None:
        """Count a group that has `size` images of the class and went to `split`."""
        self.images += size
        self.squares += size * size
        self.left += split == TRAIN
        self.got[split] += size


@dataclass(frozen=True)
class Goal:
    """The images of a class that a split should get, at least and at most."""

    wanted: int
    least: int
    most: int


def goal_within(images: int, squares: int, fraction: float, to_the_image: bool) -> Goal:
    """What a split should get of a class whose groups' sizes, squared, add up to `squares`.

    A group goes where its own hash lies as long as the class keeps within these bounds, so what is added moves few
    others. Where a split is owed less than two groups, none is moved for its having none. `to_the_image` there is no
    such room.
    """
    wanted = goal(images, fraction)
    if to_the_image:
        return Goal(wanted, wanted, wanted)
    share = images * fraction
    spread = min(max(1, SPREAD * math.sqrt(squares * fraction * (1 - fraction))), max(FEW, share))
    owed = images * share >= 2 * squares  # two groups, of the size that images are in on average
    lacking = min(spread, max(FEW, share / 2))
    return Goal(wanted, max(int(owed), math.ceil(share - lacking)), math.floor(share + spread) if fraction else 0)


def deal_class(
    sizes: Sequence[int],
    fractions: Fractions,
    hashes: Sequence[int] | None = None,
    earlier: Sequence[int] | None = None,
    elsewhere: Elsewhere | None = None,
) -> bytearray:
    """Deal the groups of one class, given by their sizes in order of their hashes; each one's index in `SPLITS`.

    Test, then val, take the groups that fit their goal, in order; where none fits, the smallest if that is nearer to
    the goal than nothing. One group at least stays in train. With `hashes` (64 bits) a group goes where its hash lies,
    as far as `goal_within` lets it. A group stays in its `earlier` split, unless that is `FREE`.
    """
    elsewhere = elsewhere or Elsewhere()
    dealt = bytearray(len(sizes)) if earlier is None else bytearray(TRAIN if x == FREE else x for x in earlier)
    bound = earlier or [FREE] * len(sizes)
    images, left = sum(sizes) + elsewhere.images, dealt.count(TRAIN) + elsewhere.left
    squares = sum(size * size for size in sizes) + elsewhere.squares
    for split, fraction, limit in fractions.turns:
        aim = goal_within(images, squares, fraction, to_the_image=hashes is None)
        got = sum(size for size, home in zip(sizes, dealt, strict=True) if home == split) + elsewhere.got[split]
        for place, enough in _candidates(hashes, len(sizes), limit, fractions.turns[-1][-1], aim):
            if got >= enough or left <= 1:
                continue
            if dealt[place] == TRAIN and bound[place] == FREE and got + sizes[place] <= aim.most:
                dealt[place] = split
                got += sizes[place]
                left -= 1
        unbound = [place for place, home in enumerate(dealt) if home == TRAIN and bound[place] == FREE]
        if not got and aim.least and left > 1 and unbound:
            smallest = min(unbound, key=sizes.__getitem__)
            if sizes[smallest] < 2 * aim.wanted:
                dealt[smallest] = split
                left -= 1
    return dealt


def _candidates(
    hashes: Sequence[int] | None, groups: int, limit: int, train: int, aim: Goal
) -> Iterator[tuple[int, int]]:
    """The groups in the order in which a split may take them, each with the images beyond which it takes no more."""
    if hashes is None:
        yield from ((place, aim.most) for place in range(groups))
        return
    mine, trains = bisect_left(hashes, limit), bisect_left(hashes, train)
    yield from ((place, aim.most) for place in range(mine))
    yield from ((place, aim.least) for place in range(trains, groups))  # so that no third split loses one


class MixedDeal:
    """The deal of groups of several classes, which comes before that of each class's own groups.

    `images`, `squares` and `groups` are of each class, all its groups counted; `got` has each split's images, by class,
    of groups that stay in their earlier split, `out` those groups that are not in train. All are arrays by class.
    """

    def __init__(self, images: Counts, squares: Counts, groups: Counts, got: Counts, out: Counts) -> None:
        self._images, self._squares = images, squares
        self._left, self.got = groups - out, got

    def deal(self, mixed: Callable[[], Iterator[Mixed]], count: int, fractions: Fractions, stable: bool) -> bytearray:
        """Deal the `count` groups that `mixed` gives, always in the order of their hashes; each one's split.

        A group is taken where half its images at least bring their classes nearer to what the split is to get, and
        where each of its classes has another group in train. Where `stable`, one that is more than a split should have
        in all is not: it stays in train, whatever else there is.
        """
        dealt = bytearray([FREE]) * count
        for split, fraction, limit in fractions.turns:
            aims = [
                goal_within(int(images), int(squares), fraction, not stable)
                for images, squares in zip(self._images, self._squares, strict=True)
            ]
            room = [max(FEW, aim.wanted) for aim in aims] if stable else None
            self._take(mixed, dealt, split, [aim.most for aim in aims], limit if stable else HASHES, room)
            if stable:
                self._take(mixed, dealt, split, [aim.least for aim in aims], HASHES, room)
        for place, (_, earlier, _) in enumerate(mixed()):
            if dealt[place] == FREE:
                dealt[place] = TRAIN if earlier == FREE else earlier
        return dealt

    def _take(
        self,
        mixed: Callable[[], Iterator[Mixed]],
        dealt: bytearray,
        split: int,
        goals: list[int],
        limit: int,
        room: list[int] | None,
    ) -> None:
        got, left = self.got[split], self._left
        for place, (own, earlier, parts) in enumerate(mixed()):
            if own >= limit:
                break
            if dealt[place] != FREE or earlier != FREE or any(left[part] < 2 for part, _ in parts):
                continue
            size = sum(images for _, images in parts)
            if room is not None and sum(min(images, room[part]) for part, images in parts) < WHOLE * size:
                continue
            gain = sum(min(images, max(0, goals[part] - int(got[part]))) for part, images in parts)
            if gain and 2 * gain >= size:
                dealt[place] = split
                for part, images in parts:
                    got[part] += images
                    left[part] -= 1
