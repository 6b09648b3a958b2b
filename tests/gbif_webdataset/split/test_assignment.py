from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbif_webdataset.split.assignment import (
    ClassTotals,
    MixedAssignment,
    MixedGroup,
    MixedGroupsOfClass,
    assign_class,
)
from gbif_webdataset.split.fractions import HASHES, NO_SPLIT, TEST_CODE, TRAIN_CODE, VAL_CODE, Fractions
from tests.support.split_run import HALF, USUAL


@pytest.mark.parametrize(
    ("sizes", "test", "val", "assigned"),
    [
        ([1, 1, 1, 1], 0.25, 0.25, [TEST_CODE, VAL_CODE, TRAIN_CODE, TRAIN_CODE]),
        ([5, 1, 4, 2, 8], 0.25, 0.1, [TEST_CODE, VAL_CODE, TRAIN_CODE, TRAIN_CODE, TRAIN_CODE]),
        ([9, 3, 2, 6], 0.2, 0.1, [TRAIN_CODE, TEST_CODE, VAL_CODE, TRAIN_CODE]),
        ([12, 4, 4], 0.1, 0, [TRAIN_CODE, TRAIN_CODE, TRAIN_CODE]),
        ([12, 3, 5], 0.1, 0, [TRAIN_CODE, TEST_CODE, TRAIN_CODE]),
        ([8, 2, 2], 0.1, 0, [TRAIN_CODE, TRAIN_CODE, TRAIN_CODE]),
        ([10], 0.6, 0.3, [TRAIN_CODE]),
        ([1, 1], 0.9, 0, [TEST_CODE, TRAIN_CODE]),
    ],
)
def test_groups_are_taken_in_order_while_they_fit(
    sizes: list[int], test: float, val: float, assigned: list[int]
) -> None:
    assert list(assign_class(sizes, Fractions(test=test, val=val))) == assigned


hundredths = st.integers(0, 99)
shares = st.tuples(hundredths, hundredths).filter(lambda pair: sum(pair) < 100)


def count_share(images: int, hundredth: int) -> int:
    """Counted in whole numbers: half up of images * hundredth / 100, none below one."""
    return (2 * images * hundredth + 100) // 200 if images * hundredth >= 100 else 0


@given(count=st.integers(1, 400), share=shares)
def test_groups_of_one_image_are_assigned_exactly(count: int, share: tuple[int, int]) -> None:
    assigned = assign_class([1] * count, Fractions(test=share[0] / 100, val=share[1] / 100))
    test = min(count_share(count, share[0]), count - 1)
    val = min(count_share(count, share[1]), count - 1 - test)
    assert Counter(assigned) == Counter({TEST_CODE: test, VAL_CODE: val, TRAIN_CODE: count - test - val})
    assert list(assigned) == sorted(assigned, key=[TEST_CODE, VAL_CODE, TRAIN_CODE].index)


@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=60), share=shares)
def test_a_split_exceeds_its_share_only_by_one_smallest_group(sizes: list[int], share: tuple[int, int]) -> None:
    assigned = assign_class(sizes, Fractions(test=share[0] / 100, val=share[1] / 100))
    assert TRAIN_CODE in assigned
    available = sizes
    for split, hundredth in ((TEST_CODE, share[0]), (VAL_CODE, share[1])):
        requested = count_share(sum(sizes), hundredth)
        taken = [size for size, code in zip(sizes, assigned, strict=True) if code == split]
        assert sum(taken) <= requested or (len(taken) == 1 and taken[0] == min(available) < 2 * requested)
        left = available.copy()
        for size in taken:
            left.remove(size)
        if len(left) > 1:
            assert all(sum(taken) + size > requested for size in left)
            assert taken or min(left) >= 2 * requested
        available = left


def test_a_group_is_assigned_by_its_own_hash_and_one_group_stays_in_train() -> None:
    hashes = [int(share * HASHES) for share in (0.05, 0.19, 0.25, 0.35, 0.6, 0.7, 0.8, 0.95)]
    expected = [TEST_CODE, TEST_CODE, *[TRAIN_CODE] * 5, VAL_CODE]
    assert list(assign_class([1] * 8, USUAL, hashes)) == expected
    assert list(assign_class([1, 1], USUAL, [1, 2])) == [TEST_CODE, TRAIN_CODE]


def test_a_split_with_too_few_images_takes_the_next_groups_and_one_with_too_many_leaves_the_last_ones() -> None:
    in_the_middle = [HASHES // 2 + number for number in range(15)]
    assert list(assign_class([1] * 15, USUAL, in_the_middle)) == [TEST_CODE] * 2 + [TRAIN_CODE] * 12 + [VAL_CODE]
    all_of_test = list(range(15))
    assert list(assign_class([1] * 15, USUAL, all_of_test)) == [TEST_CODE] * 4 + [TRAIN_CODE] * 10 + [VAL_CODE]
    all_of_val = [HASHES - 15 + number for number in range(15)]
    assert list(assign_class([1] * 15, USUAL, all_of_val)) == [TEST_CODE] * 2 + [TRAIN_CODE] * 11 + [VAL_CODE] * 2


hashed_groups = st.lists(st.tuples(st.integers(0, HASHES - 1), st.integers(1, 6)), min_size=15, max_size=120)


@given(groups=hashed_groups)
def test_the_shares_of_a_class_are_off_by_a_fifth_or_one_group(groups: list[tuple[int, int]]) -> None:
    groups.sort()
    sizes = [size for _, size in groups]
    assigned = assign_class(sizes, USUAL, [own_hash for own_hash, _ in groups])
    for split, fraction in ((TEST_CODE, 0.2), (VAL_CODE, 0.1)):
        taken = sum(size for size, code in zip(sizes, assigned, strict=True) if code == split)
        assert abs(taken - fraction * sum(sizes)) <= max(0.2 * fraction * sum(sizes), *sizes) + 1e-9
        assert taken


def test_a_group_keeps_its_previous_split_and_new_groups_fill_the_shares() -> None:
    previous = [TRAIN_CODE, NO_SPLIT, NO_SPLIT, VAL_CODE]
    assert list(assign_class([1] * 4, HALF, None, previous)) == [TRAIN_CODE, TEST_CODE, TRAIN_CODE, VAL_CODE]


def test_images_of_mixed_groups_count_towards_the_share() -> None:
    mixed = MixedGroupsOfClass()
    mixed.add(2, TEST_CODE)
    mixed.add(2, TRAIN_CODE)
    assert list(assign_class([1] * 4, HALF, mixed=mixed)) == [VAL_CODE, VAL_CODE, TRAIN_CODE, TRAIN_CODE]


def assign_mixed(groups: list[MixedGroup], totals: ClassTotals, exact: bool) -> list[int]:
    return list(
        MixedAssignment(totals).assign(
            lambda reverse: iter(groups[::-1] if reverse else groups), len(groups), USUAL, exact
        )
    )


def class_totals(groups: list[MixedGroup], classes: int) -> ClassTotals:
    """The totals of classes that have no other groups than these."""
    images, squares, counts, outside = (np.zeros(classes, np.int64) for _ in range(4))
    by_split = np.zeros((3, classes), np.int64)
    for group in groups:
        for part, size in group.parts:
            images[part] += size
            squares[part] += size * size
            counts[part] += 1
            if group.previous_split in (VAL_CODE, TEST_CODE):
                outside[part] += 1
                by_split[group.previous_split, part] += size
    return ClassTotals(images, squares, counts, outside, by_split)


@pytest.mark.parametrize(
    ("exact", "expected"),
    [
        (True, [TEST_CODE] * 20 + [VAL_CODE] * 10 + [TRAIN_CODE] * 70),
        (False, [TEST_CODE] * 20 + [TRAIN_CODE] * 70 + [VAL_CODE] * 10),
    ],
)
def test_mixed_groups_are_split_by_their_hashes_in_about_the_requested_fractions(
    exact: bool, expected: list[int]
) -> None:
    groups = [MixedGroup((2 * number + 1) * HASHES // 200, NO_SPLIT, [(0, 1), (1, 1)]) for number in range(100)]
    assert assign_mixed(groups, class_totals(groups, 2), exact) == expected


@pytest.mark.parametrize("exact", [True, False])
def test_a_mixed_group_keeps_its_previous_split(exact: bool) -> None:
    groups = [MixedGroup(number, VAL_CODE if number % 2 else NO_SPLIT, [(0, 1), (1, 1)]) for number in range(20)]
    assigned = assign_mixed(groups, class_totals(groups, 2), exact)
    assert all(code == VAL_CODE for code in assigned[1::2])


def test_every_class_of_a_mixed_group_keeps_a_group_in_train() -> None:
    groups = [MixedGroup(0, NO_SPLIT, [(0, 1), (1, 1)]), MixedGroup(1, NO_SPLIT, [(0, 1), (2, 1)])]
    assert assign_mixed(groups, class_totals(groups, 3), exact=False) == [TRAIN_CODE, TRAIN_CODE]


def test_a_mixed_group_that_is_larger_than_the_share_stays_in_train() -> None:
    large = MixedGroup(0, NO_SPLIT, [(0, 90), (1, 90)])
    groups = [large, *(MixedGroup(number * HASHES // 100, NO_SPLIT, [(0, 1), (1, 1)]) for number in range(1, 100))]
    assert assign_mixed(groups, class_totals(groups, 2), exact=False)[0] == TRAIN_CODE
