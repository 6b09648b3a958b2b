from typing import Any

import pytest

from gbif_webdataset.account.before_training import Finding, Topic, list_findings
from gbif_webdataset.account.dataset_numbers import ClassSamples, DatasetNumbers
from gbif_webdataset.account.shared_images import SharedImages

FRACTIONS = {"val": 0.1, "test": 0.2}
TOO_GOOD = ", so results on them look better than they are"


def find(**numbers: Any) -> list[str]:
    """The findings of a dataset with these numbers, as text."""
    values = {"media_lines": 0, "lines": [], "fractions": FRACTIONS} | numbers
    values["classes"] = [
        ClassSamples(f"moth {number}", samples) for number, samples in enumerate(numbers.get("classes", ()))
    ]
    return [str(finding) for finding in list_findings(DatasetNumbers(**values))]


def test_a_dataset_without_problems_has_no_finding() -> None:
    assert find(classes=[{"train": 7, "val": 1, "test": 2}] * 3) == []


def test_classes_without_val_and_test_images_are_counted() -> None:
    full, no_test, train_only = {"train": 7, "val": 1, "test": 2}, {"train": 7, "val": 1}, {"train": 7}
    assert find(classes=[full, no_test, train_only]) == [
        "1 class has no validation image: moth 2",
        "2 classes have no test image: moth 1, moth 2",
    ]
    assert find(classes=[no_test]) == ["the test split has no image"]
    assert find(classes=[train_only], fractions={"val": 0, "test": 0}) == []


def test_of_many_classes_without_test_images_the_largest_are_named() -> None:
    few = [{"train": number, "val": 1} for number in (3, 9, 4, 8, 5)]
    assert find(classes=[*few, {"train": 7, "val": 1, "test": 2}]) == [
        "5 classes have no test image: moth 1, moth 3, moth 4 and 2 more"
    ]


def test_a_long_name_of_a_class_is_one_short_line() -> None:
    classes = [ClassSamples("a\nb " + "x" * 100, {"train": 2, "val": 1}), ClassSamples("b", {"test": 1, "val": 1})]
    [finding] = list_findings(DatasetNumbers(0, [], classes=classes, fractions=FRACTIONS))
    assert finding.text == f"1 class has no test image: a b {'x' * 55}…"


def test_classes_with_one_image_are_counted() -> None:
    advice = "--SplitDataset-min-instances 2 drops such classes"
    assert find(classes=[{"train": 1}], fractions={}) == [f"1 class has only one image: {advice}"]
    assert find(classes=[{"train": 1}] * 2, fractions={}) == [f"2 classes have only one image: {advice}"]


def test_labels_above_species_rank_are_counted_with_the_column_that_avoids_them() -> None:
    classes = [{"train": 50, "val": 20, "test": 30}]
    text = "12 % of the samples (12 of 100) are labelled above species rank"
    assert find(classes=classes, above_species=12, has_species_key=True) == [
        f"{text}: --SplitDataset-category-key speciesKey"
    ]
    assert find(classes=classes, above_species=12) == [text]
    assert find(classes=classes, above_species=1) == ["1.0 % of the samples (1 of 100) is labelled above species rank"]
    assert find(classes=classes, above_species=0) == []


def test_imbalance_compares_the_largest_and_the_smallest_class_in_train() -> None:
    classes = [{"train": 1_200, "val": 1, "test": 2}, {"train": 4, "val": 1, "test": 1}]
    assert find(classes=classes) == ["the largest class has 1,200 images in train, the smallest has 4"]
    assert find(classes=[{"train": 9, "val": 1, "test": 1}, {"train": 1, "val": 1, "test": 1}]) == []


@pytest.mark.parametrize(
    ("rows", "finding"),
    [
        (
            [SharedImages("val", "observer", 30, 30, 30), SharedImages("test", "observer", 70, 70, 70)],
            f"all 100 validation and test images share an observer with train{TOO_GOOD}",
        ),
        (
            [SharedImages("test", "observer", 70, 69, 60, "observer", 95)],
            f"60 of 69 test images with known observer share an observer with train{TOO_GOOD}: "
            "--SplitDataset-group-by observer (test would then have 95 images instead of 70)",
        ),
        (
            [
                SharedImages("val", "observer", 37, 37, 30, "observer", 1),
                SharedImages("test", "observer", 75, 75, 70, "observer", 1_440),
            ],
            f"100 of 112 validation and test images share an observer with train{TOO_GOOD}: "
            "--SplitDataset-group-by observer (validation would then have 1 image instead of 37, test 1,440 instead of 75)",
        ),
        (
            [SharedImages("test", "place+date", 20, 20, 1)],
            f"1 of 20 test images shares a place and date with train{TOO_GOOD}",
        ),
        ([SharedImages("test", "observer", 100, 100, 4)], None),
        ([SharedImages("test", "observer", 0, 0, None)], None),
    ],
)
def test_high_leakage_is_stated_with_the_images_that_have_a_value(
    rows: list[SharedImages], finding: str | None
) -> None:
    assert find(shared=rows) == ([finding] if finding else [])


def test_unknown_leakage_is_not_zero() -> None:
    rows = [
        SharedImages(split, trait, images, with_value, shared)
        for trait, with_value, shared in (("observer", 30, 0), ("place+date", 0, None), ("event", 0, None))
        for split, images in (("val", 35), ("test", 70))
    ]
    assert find(shared=rows) == [
        "whether validation and test images come from the same observer as training images is unknown for 45 of 105 "
        "images; if they do, results on them look better than they are",
        "whether validation and test images come from the same place and date or come from the same sampling event as "
        "training images is unknown for 105 of 105 images",
    ]


def test_leakage_is_unknown_if_only_train_lacks_values() -> None:
    rows = [SharedImages("val", "observer", 37, 37, None), SharedImages("test", "observer", 75, 70, None)]
    assert find(shared=rows) == [
        "whether validation and test images come from the same observer as training images is unknown for 112 of 112 "
        "images, because no image of train has a value; if they do, results on them look better than they are"
    ]


def test_what_leakage_means_is_stated_once() -> None:
    rows = [
        SharedImages("test", "observer", 70, 70, 70),
        SharedImages("test", "event", 70, 0, None),
        SharedImages("test", "content", 70, 70, 35),
        SharedImages("test", "near-duplicate", 70, 0, None),
    ]
    first, *others = find(shared=rows)
    assert first.endswith(TOO_GOOD)
    assert others == [
        "35 of 70 test images share a picture (the same bytes) with train",
        "whether test images come from the same sampling event or look nearly the same as training images is unknown "
        "for 70 of 70 images",
    ]


def test_leakage_of_tables_without_the_number_of_values_is_unknown_only_without_a_share() -> None:
    assert find(shared=[SharedImages("test", "observer", 70, None, 0)]) == []
    [finding] = find(shared=[SharedImages("test", "observer", 70, None, None)])
    assert "is unknown for 70 of 70 images;" in finding


def test_splits_of_an_older_version_are_stated_with_the_images_that_would_move() -> None:
    text = "the images keep the splits of an older version; the method of this version would move"
    assert find(moved_by_new_method=1) == [f"{text} 1 image: --SplitDataset-resplit true"]
    assert find(moved_by_new_method=0) == [f"{text} 0 images"]


def test_the_most_restrictive_licence_and_temporary_failures_come_last() -> None:
    findings = list_findings(DatasetNumbers(9, [], licence="cc-by-nc", temporary_failures=1))
    assert findings == [
        Finding(Topic.LICENCE, "the most restrictive licence of an image is: CC BY-NC"),
        Finding(
            Topic.FAILURES,
            "1 image was not downloaded for a reason that may be temporary",
            "run the same command again later",
        ),
    ]
