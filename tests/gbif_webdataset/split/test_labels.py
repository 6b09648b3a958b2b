from typing import Any

import pytest

from gbif_webdataset.errors import SelectionError
from gbif_webdataset.split.labels import check_columns
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tests.support.split_run import HALF, USUAL, Fractions, SplitRun, image, single_images


def options(category_key: str = "speciesKey", **values: Any) -> SplitOptions:
    return SplitOptions(category_key, HALF, 1, **values)


def test_an_unknown_category_key_is_refused_with_a_list_of_choices() -> None:
    with pytest.raises(SelectionError) as caught:
        check_columns(options("specieskey"), ["coreid", "datasetKey", "speciesKey", "class", "note"])
    assert str(caught.value) == (
        "--SplitDataset-category-key specieskey: the archive has no such column; "
        "did you mean speciesKey? choose one of datasetKey, speciesKey, class"
    )


def test_an_unknown_holdout_key_is_refused() -> None:
    with pytest.raises(SelectionError, match=r"^--SplitDataset-holdout-key genuskey: the archive has no such column; "):
        check_columns(options(holdout_key="genuskey"), ["speciesKey", "genusKey"])


def test_a_roll_up_from_a_column_that_is_no_rank_is_refused() -> None:
    with pytest.raises(SelectionError, match="'note' is not a taxon rank; choose one of speciesKey, genus as cat"):
        check_columns(options("note", roll_up=True), ["note", "speciesKey", "genus"])


def test_images_without_label_are_dropped_and_listed(splitting: SplitRun) -> None:
    images = [image("o1", "a", 0), image("o1", None, 1), image("o2", ""), image("o3", " ")]
    assert splitting.run(images)["no-label"] == 3
    assert splitting.rows("dropped") == [
        {"stage": "split", "reason": "no-label", **{name: row[name] for name in ("image_path", "identifier", "coreid")}}
        for row in images[1:]
    ]


def test_a_column_named_like_an_sql_keyword_can_be_the_label(splitting: SplitRun) -> None:
    images = single_images("a", 4) + single_images("b", 4)
    assert splitting.run(images, category_key="class") == {"train": 4, "val": 2, "test": 2, "no-label": 0}


def test_a_roll_up_uses_the_next_higher_rank_that_is_filled(splitting: SplitRun) -> None:
    keys = [("s1", "g1"), (" ", "g1"), (None, "g2"), (None, None), ("", " ")]
    images = [image(number, species, genusKey=genus) for number, (species, genus) in enumerate(keys)]
    counts = splitting.run(images, Fractions(0, 0), roll_up=True)
    assert [row["label"] for row in splitting.rows("train")] == ["s1", "g1", "g2"]
    assert counts["no-label"] == 2


def test_an_occurrence_with_two_labels_is_assigned_with_the_smaller_text(splitting: SplitRun) -> None:
    odd = [image("odd", "b", 0), image("odd", "a", 1), image("odd", "b", 2)]
    splitting.run([*odd, *single_images("b", 3), image("plain", "a")], Fractions(0, 0))
    assert {row["label"]: row["images"] for row in splitting.rows("balance")} == {"a": "4", "b": "3"}


def test_all_images_of_a_held_out_genus_are_in_the_holdout(splitting: SplitRun) -> None:
    images = [image(number, f"{'abcdefghij'[number % 10]}{number % 30}") for number in range(600)]
    counts = splitting.run(images, USUAL, holdout_key="genusKey", holdout_frac=0.2, exact_fractions=False)
    held_out = {row["genusKey"] for row in splitting.rows("holdout")}
    assert held_out
    assert not held_out & {row["genusKey"] for split in SPLITS_OF_CLASSES for row in splitting.rows(split)}
    assert len(splitting.rows("holdout")) == counts["holdout"] == 60 * len(held_out)
    assert splitting.rows("dropped") == []
    assert sum(counts.values()) == len(images)


def test_a_tiny_holdout_has_at_least_one_value(splitting: SplitRun) -> None:
    images = [image(number, "abc"[number % 3]) for number in range(30)]
    splitting.run(images, holdout_key="genusKey", holdout_frac=1e-9)
    assert len({row["genusKey"] for row in splitting.rows("holdout")}) == 1
