import random

import pytest

from gbif_webdataset.split.traits import Grouping
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tests.support.split_run import HALF, USUAL, SplitRun, are_together, image, observed_images

BY_HASH = {"exact_fractions": False}


def test_all_images_of_an_occurrence_are_in_one_split(splitting: SplitRun) -> None:
    images = [image(f"o{number:02}", "a", turn) for number in range(30) for turn in range(1 + number % 4)]
    splitting.run(images, HALF)
    assert are_together(splitting.split_of_images(), images, "coreid")
    assert {len(splitting.rows("test")), len(splitting.rows("val"))} == {round(len(images) / 4)}


def test_without_split_by_occurrence_images_are_assigned_one_by_one(splitting: SplitRun) -> None:
    images = [image("o1", "a", number) for number in range(20)]
    counts = splitting.run(images, HALF, split_by_occurrence=False)
    assert counts == {"train": 10, "val": 5, "test": 5, "no-label": 0}


@pytest.mark.parametrize("exact", [True, False])
def test_all_images_of_an_observer_are_in_one_split_whatever_their_classes(splitting: SplitRun, exact: bool) -> None:
    images = observed_images()
    counts = splitting.run(images, USUAL, grouping=Grouping(("observer",)), exact_fractions=exact)
    assert are_together(splitting.split_of_images(), images, "recordedBy")
    assert sum(counts[split] for split in SPLITS_OF_CLASSES) == len(images)
    assert 0.1 < counts["test"] / len(images) < 0.3
    assert 0.04 < counts["val"] / len(images) < 0.17
    assert splitting.labels("train").keys() == set("abcdefgh")


def test_images_without_a_value_are_not_grouped(splitting: SplitRun) -> None:
    images = [image(number, recordedBy=" " if number % 2 else None) for number in range(100)]
    counts = splitting.run(images, USUAL, grouping=Grouping(("observer",)))
    assert counts == {"train": 70, "val": 10, "test": 20, "no-label": 0}


def test_joined_traits_must_all_agree(splitting: SplitRun) -> None:
    images = observed_images()
    splitting.run(images, USUAL, grouping=Grouping(("observer+date",)), **BY_HASH)
    with_day = [row | {"day": row["eventDate"][:10], "who": (row["recordedBy"] or "").strip()} for row in images]
    splits = splitting.split_of_images()
    assert are_together(splits, with_day, "who", "day")
    assert not are_together(splits, with_day, "who")


def test_images_connected_through_others_are_in_one_split(splitting: SplitRun) -> None:
    images = observed_images(400)
    for number, row in enumerate(images):
        row["recordedBy"] = f"Observer {number // 4}"
        row["eventID"] = f"e{(number + 2) // 4}" if number % 40 > 1 else None
    pairs = [[images[index], images[index + 41]] for index in range(0, 300, 80)]
    splitting.write_near_duplicates(pairs)
    splitting.run(images, USUAL, grouping=Grouping(("observer", "event", "near-duplicates")), **BY_HASH)
    splits = splitting.split_of_images()
    assert are_together(splits, images, "recordedBy")
    assert are_together(splits, images, "eventID")
    assert all(splits[one["image_path"]] == splits[other["image_path"]] for one, other in pairs)
    leakage = splitting.leakage()
    assert [leakage[name] for name in ("observer", "event", "near-duplicate")] == ["0", "0", "0"]


def test_images_at_one_place_are_in_one_split_and_unknown_places_group_nothing(splitting: SplitRun) -> None:
    places = [
        [
            image(
                4 * place + turn, decimalLatitude=f"{50.0021 + place / 50 + turn / 10_000}", decimalLongitude="10.0051"
            )
            for turn in range(4)
        ]
        for place in range(60)
    ]
    unknown = [image(1000 + number, decimalLatitude=text, decimalLongitude="0") for number, text in enumerate("0x")]
    images = [*unknown, *(row for place in places for row in place)]
    splitting.run(images, USUAL, grouping=Grouping(("place",)), **BY_HASH)
    splits = splitting.split_of_images()
    divided = [place for place in places if len({splits[row["image_path"]] for row in place}) > 1]
    assert len(divided) <= 3  # places at the border of a cell
    assert len(splits) == len(images)


def test_near_duplicates_are_in_one_split_on_request(splitting: SplitRun) -> None:
    images = observed_images(300)
    splitting.write_near_duplicates([images[index : index + 2] for index in range(0, 300, 2)])
    splitting.run(images, USUAL, **BY_HASH)
    assert int(splitting.leakage()["near-duplicate"]) > 0
    splitting.run(images, USUAL, grouping=Grouping(("near-duplicates",)), **BY_HASH)
    assert splitting.leakage()["near-duplicate"] == "0"


@pytest.mark.parametrize("by", [(), ("observer",)])
def test_a_tenth_more_occurrences_moves_at_most_a_hundredth_of_the_old_images(
    splitting: SplitRun, by: tuple[str, ...]
) -> None:
    chance = random.Random(5)
    labels = [f"s{number}" for number in range(60)]
    weights = [1 / (1 + number) for number in range(60)]  # a long tail
    images = [
        image(number, chance.choices(labels, weights)[0], recordedBy=f"o{int(chance.lognormvariate(4, 1.5))}" if by else None)
        for number in range(6600)
    ]  # fmt: skip
    chance.shuffle(images)
    before = images[:6000]
    splitting.run(before, USUAL, grouping=Grouping(by), **BY_HASH)
    old = splitting.split_of_images()
    splitting.run(images, USUAL, grouping=Grouping(by), **BY_HASH)
    new = splitting.split_of_images()
    assert sum(old[path] != new[path] for path in old) <= 0.01 * len(old)
    chance.shuffle(before)
    splitting.run(before, USUAL, grouping=Grouping(by), **BY_HASH)
    assert splitting.split_of_images() == old
