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


def test_test_has_the_lowest_hashes_and_val_the_next() -> None:
    test, val = Fractions(test=0.25, val=0.5).shares
    assert (test.split, test.hash_end, val.split, val.hash_end) == (TEST_CODE, HASHES // 4, VAL_CODE, HASHES * 3 // 4)


@pytest.mark.parametrize(
    ("images", "fraction", "requested"),
    [(9, 0.1, 0), (10, 0.1, 1), (15, 0.1, 2), (14, 0.1, 1), (3, 0.3, 0), (4, 0.3, 1), (5, 0, 0), (100, 0.145, 15)],
)
def test_requested_images_are_rounded_half_up_and_none_below_one(images: int, fraction: float, requested: int) -> None:
    assert count_requested(images, fraction) == requested


def test_exact_bounds_are_the_requested_images() -> None:
    assert compute_bounds(100, 100, 0.2, exact=True) == Bounds(20, 20, 20)


def test_bounds_leave_room_for_chance() -> None:
    assert compute_bounds(10_000, 10_000, 0.2, exact=False) == Bounds(2000, 1900, 2100)


def test_a_split_without_two_groups_on_average_may_have_no_image() -> None:
    assert compute_bounds(9, 9, 0.2, exact=False).minimum == 0
    assert compute_bounds(20, 20, 0.2, exact=False).minimum == 1
    assert compute_bounds(20, 20 * 20, 0.2, exact=False).minimum == 0


def test_a_fraction_of_zero_allows_no_image() -> None:
    assert compute_bounds(1000, 1000, 0.0, exact=False) == Bounds(0, 0, 0)
