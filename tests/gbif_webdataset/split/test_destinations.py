from gbif_webdataset.split.fractions import Fractions
from gbif_webdataset.split.options import Limits
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tests.support.split_run import HALF, SplitRun, hash_text, image, single_images


def test_a_maximum_keeps_the_images_with_the_smallest_hashes_in_each_split(splitting: SplitRun) -> None:
    images = [*single_images("a", 40), *single_images("b", 8)]
    splitting.run(images, HALF, random_seed=7)
    before = {split: splitting.rows(split) for split in SPLITS_OF_CLASSES}
    counts = splitting.run(images, HALF, random_seed=7, limits=Limits(max_instances=10))
    assert counts == {"train": 14, "val": 4, "test": 4, "no-label": 0, "over-max-instances": 26}
    for split, maximum in (("train", 10), ("val", 2), ("test", 2)):
        expected = []
        for label in "ab":
            rows = [row for row in before[split] if row["speciesKey"] == label]
            rows.sort(key=lambda row: hash_text(7, row["image_path"]))
            expected += rows[:maximum]
        assert splitting.rows(split) == sorted(expected, key=lambda row: row["image_path"])
    assert {row["reason"] for row in splitting.rows("dropped")} == {"over-max-instances"}


def test_a_maximum_keeps_at_least_one_image_in_val_and_test(splitting: SplitRun) -> None:
    counts = splitting.run(single_images("a", 40), Fractions(test=0.29, val=0.1), limits=Limits(max_instances=2))
    assert counts == {"train": 2, "val": 1, "test": 1, "no-label": 0, "over-max-instances": 36}


def test_a_maximum_is_multiplied_with_the_fraction_as_typed(splitting: SplitRun) -> None:
    assert int(100 * 0.29) == 28
    fractions = Fractions(test=0.29, val=0)
    assert splitting.run(single_images("a", 200), fractions, limits=Limits(max_instances=100))["test"] == 29


def test_a_class_below_the_minimum_in_train_is_dropped_from_all_splits(splitting: SplitRun) -> None:
    images = [*single_images("a", 20), *single_images("b", 8), *single_images("c", 10)]
    counts = splitting.run(images, HALF, limits=Limits(max_instances=9, min_instances=5))
    assert splitting.labels("train") == {"a": 9}
    assert splitting.labels("test") == {"a": 2}
    assert counts == {
        "train": 9,
        "val": 2,
        "test": 2,
        "no-label": 0,
        "over-max-instances": (1 + 3 + 3) + 0 + (0 + 1 + 1),
        "under-min-instances": (4 + 2 + 2) + (4 + 2 + 2),
    }


def test_the_labels_of_an_occurrence_count_towards_one_class(splitting: SplitRun) -> None:
    odd = [image("odd", "b", 0), image("odd", "a", 1), image("odd", "b", 2)]
    images = [*odd, *single_images("b", 3), image("plain", "a")]
    counts = splitting.run(images, Fractions(0, 0), limits=Limits(min_instances=4))
    assert counts == {"train": 4, "val": 0, "test": 0, "no-label": 0, "under-min-instances": 3}
    assert {row["coreid"] for row in splitting.rows("train")} == {"odd", "plain"}
