import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.split.fractions import (
    HASHES,
    TEST_CODE,
    TRAIN_CODE,
    VAL_CODE,
    Bounds,
    Fractions,
    compute_bounds,
    compute_wide_bounds,
    count_requested,
)
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES


def test_a_code_is_the_index_of_a_split_and_test_goes_before_val_before_train() -> None:
    assert [SPLITS_OF_CLASSES[code] for code in (TRAIN_CODE, VAL_CODE, TEST_CODE)] == ["train", "val", "test"]
    assert TRAIN_CODE < VAL_CODE < TEST_CODE


@pytest.mark.parametrize(("test", "val"), [(-0.1, 0), (1, 0), (0, 1.0), (0.5, 0.5), (float("nan"), 0), (0.9, 0.1)])
def test_fractions_that_leave_nothing_for_train_are_refused(test: float, val: float) -> None:
    with pytest.raises(ParameterError, match=r"^--SplitDataset-(test|val)-frac "):
        Fractions(test=test, val=val)


def test_test_has_the_lowest_hashes_and_val_the_highest() -> None:
    test, val = Fractions(test=0.25, val=0.5).shares
    assert (test.split, val.split) == (TEST_CODE, VAL_CODE)
    ends = [0, HASHES // 4 - 1, HASHES // 4, HASHES // 2 - 1, HASHES // 2, HASHES - 1]
    assert [test.has_in_range(own) for own in ends] == [True, True, False, False, False, False]
    assert [val.has_in_range(own) for own in ends] == [False, False, False, False, True, True]


@pytest.mark.parametrize(
    ("images", "fraction", "requested"),
    [(9, 0.1, 0), (10, 0.1, 1), (15, 0.1, 2), (14, 0.1, 1), (3, 0.3, 0), (4, 0.3, 1), (5, 0, 0), (100, 0.145, 15)],
)
def test_requested_images_are_rounded_half_up_and_none_below_one(images: int, fraction: float, requested: int) -> None:
    assert count_requested(images, fraction) == requested


def test_exact_bounds_are_the_requested_images() -> None:
    assert compute_bounds(100, 100, 0.2, exact=True) == Bounds(20, 20, 20)


@pytest.mark.parametrize(
    ("images", "squares", "fraction", "bounds"),
    [
        (1000, 1000, 0.2, Bounds(200, 160, 240)),  # a fifth of the share
        (29, 29, 0.1, Bounds(3, 2, 3)),  # one group of one image
        (40, 160, 0.2, Bounds(8, 4, 12)),  # one group of four images
        (10, 50, 0.1, Bounds(1, 1, 6)),  # a share of an image: at least one
        (9, 9, 0.1, Bounds(0, 0, 1)),
        (0, 0, 0.1, Bounds(0, 0, 0)),
    ],
)
def test_bounds_are_a_fifth_of_the_share_or_one_group(
    images: int, squares: int, fraction: float, bounds: Bounds
) -> None:
    assert compute_bounds(images, squares, fraction, exact=False) == bounds


def test_wide_bounds_leave_room_for_chance() -> None:
    assert compute_wide_bounds(10_000, 10_000, 0.2) == Bounds(2000, 1900, 2100)
    assert compute_wide_bounds(1000, 1000, 0.0) == Bounds(0, 0, 0)


def test_a_split_without_two_mixed_groups_on_average_may_have_no_image() -> None:
    assert [compute_wide_bounds(*own, 0.2).minimum for own in ((9, 9), (20, 20), (20, 20 * 20))] == [0, 1, 0]


def test_a_fraction_of_zero_allows_no_image() -> None:
    assert compute_bounds(1000, 1000, 0.0, exact=False) == Bounds(0, 0, 0)
