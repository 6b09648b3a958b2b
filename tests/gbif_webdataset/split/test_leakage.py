import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.split.traits import Grouping
from tests.support.archives import find_case
from tests.support.manifests import make_manifest
from tests.support.split_run import USUAL, SplitRun, observed_images


def test_images_that_share_a_value_with_train_are_counted(splitting: SplitRun) -> None:
    images = observed_images(300)
    for number, row in enumerate(images):
        row["sha256"] = str(number // 2)
    splitting.run(images, USUAL)
    splits = splitting.split_of_images()
    for split in ("val", "test"):
        for name, column in (("content", "sha256"), ("observer", "recordedBy")):
            in_train = {(row[column] or "").strip() for row in images if splits[row["image_path"]] == "train"} - {""}
            expected = sum(
                splits[row["image_path"]] == split and (row[column] or "").strip() in in_train for row in images
            )
            assert int(splitting.leakage(split)[name]) == expected > 0
    assert splitting.leakage()["occurrence"] == "0"
    rows = [row for row in splitting.rows("leakage") if row["shared"]]
    assert all(row["share"] == f"{int(row['shared']) / int(row['known']):.4f}" for row in rows)


def test_near_duplicates_in_train_and_test_are_counted(splitting: SplitRun) -> None:
    images = observed_images(300)
    groups = [images[index : index + 2] for index in range(0, 300, 2)]
    splitting.write_near_duplicates(groups)
    splitting.run(images, USUAL, exact_fractions=False)
    splits = splitting.split_of_images()
    by_hand = sum(
        splits[one["image_path"]] == "test" and splits[other["image_path"]] == "train"
        for group in groups
        for one, other in (group, group[::-1])
    )
    assert int(splitting.leakage()["near-duplicate"]) == by_hand > 0


def test_a_grouped_trait_is_not_shared(splitting: SplitRun) -> None:
    splitting.run(observed_images(), USUAL, grouping=Grouping(("observer",)))
    assert splitting.leakage()["observer"] == "0"
    assert int(splitting.leakage()["place+date"]) > 0


def test_what_an_archive_without_the_columns_shares_is_unknown(splitting: SplitRun) -> None:
    splitting.run(observed_images(100), USUAL)
    table = pq.read_table(splitting.clean).drop_columns(["recordedBy", "sha256", "eventID"])
    pq.write_table(table, splitting.clean)
    splitting.run(None, USUAL)
    leakage = splitting.leakage()
    assert [leakage[name] for name in ("observer", "content", "event")] == ["", "", ""]
    assert leakage["place+date"] != ""


def test_values_that_no_image_of_train_or_of_the_split_has_are_unknown(splitting: SplitRun) -> None:
    images = observed_images(300)
    for row in images:
        row["eventDate"] = "summer of 2023"
    splitting.run(images, USUAL)
    [row] = [row for row in splitting.rows("leakage") if (row["split"], row["shares"]) == ("test", "place+date")]
    assert int(row["images"]) > 0
    assert (row["known"], row["shared"], row["share"]) == ("0", "", "")


def test_the_share_refers_to_the_images_with_a_value(splitting: SplitRun) -> None:
    images = observed_images(300)
    splitting.run(images, USUAL)
    splits = splitting.split_of_images()
    with_value = [row for row in images if splits[row["image_path"]] == "test" and (row["recordedBy"] or "").strip()]
    [row] = [row for row in splitting.rows("leakage") if (row["split"], row["shares"]) == ("test", "observer")]
    assert int(row["known"]) == len(with_value) < int(row["images"])
    assert row["share"] == f"{int(row['shared']) / len(with_value):.4f}"


@pytest.mark.parametrize("dates", ["plain", "night-interval", "same-day-interval", "day-interval"])
def test_a_night_is_in_one_split_however_its_date_is_written(splitting: SplitRun, dates: str) -> None:
    manifest = make_manifest(find_case(f"archives/dates-{dates}.zip"), splitting.folder)
    pq.write_table(pa.concat_tables(manifest.chunks), splitting.clean)
    splitting.run(None, USUAL, grouping=Grouping(("observer+date",)), exact_fractions=False)
    splits = splitting.split_of_images()
    nights: dict[str, set[str]] = {}
    for row in manifest.rows:
        nights.setdefault(row["eventDate"][:10], set()).add(splits[row["image_path"]])
    assert len(splits) == 90
    assert [len(found) for found in nights.values()] == [1, 1, 1]
    splitting.run(None, USUAL, exact_fractions=False)
    [row] = [row for row in splitting.rows("leakage") if (row["split"], row["shares"]) == ("test", "place+date")]
    assert row["known"] == row["images"]
    assert int(row["shared"]) > 0


def test_high_leakage_names_the_group_by_that_removes_it_and_the_images_that_splits_then_have(
    splitting: SplitRun,
) -> None:
    images = observed_images(600)
    splitting.run(images, USUAL, grouping=Grouping(("event",)), exact_fractions=False)
    rows = {(row["split"], row["shares"]): row for row in splitting.rows("leakage")}
    assert float(rows["test", "observer"]["share"]) > 0.9
    assert rows["test", "observer"]["group_by"] == "event,observer"
    assert rows["test", "event"]["group_by"] == rows["test", "event"]["images_with_group_by"] == ""
    assert rows["val", "occurrence"]["group_by"] == ""

    counts = splitting.run(images, USUAL, grouping=Grouping(("event", "observer")), exact_fractions=False)
    assert {split: int(rows[split, "observer"]["images_with_group_by"]) for split in ("val", "test")} == {
        split: counts[split] for split in ("val", "test")
    }
    assert splitting.leakage()["observer"] == "0"


def test_leakage_of_few_images_has_no_remedy(splitting: SplitRun) -> None:
    images = observed_images(600)
    for number, row in enumerate(images):
        row["recordedBy"] = "the same" if number % 40 == 0 else f"Observer {number}"
    splitting.run(images, USUAL, exact_fractions=False)
    [row] = [row for row in splitting.rows("leakage") if (row["split"], row["shares"]) == ("test", "observer")]
    assert 0 < float(row["share"]) < 0.05
    assert (row["group_by"], row["images_with_group_by"]) == ("", "")


def test_sessions_at_a_place_are_counted_whatever_notation_their_dates_have(splitting: SplitRun) -> None:
    """Nights of two days at 12 places, some of them known only to the month, or without coordinates."""
    chance = random.Random(11)
    images = observed_images(500, seed=3)
    for row in images:
        place, day = chance.randrange(12), chance.randrange(10, 20)
        row["decimalLatitude"] = f"{place}.5" if chance.random() < 0.9 else ""
        row["decimalLongitude"] = "10.5"
        notations = f"2024-05-{day}/{day + 1}", f"2024-05-{day}T21:00/2024-05-{day + 1}T04:30", "2024-05"
        row["eventDate"] = chance.choices(notations, [5, 5, 1])[0]
        is_known = row["decimalLatitude"] and row["eventDate"] != "2024-05"
        row["note"] = f"{place} {day}" if is_known else ""
    splitting.run(images, USUAL, exact_fractions=False)
    splits = splitting.split_of_images()
    in_train = {row["note"] for row in images if splits[row["image_path"]] == "train"} - {""}
    for split in ("val", "test"):
        known = [row["note"] for row in images if splits[row["image_path"]] == split and row["note"]]
        [found] = [row for row in splitting.rows("leakage") if (row["split"], row["shares"]) == (split, "place+date")]
        assert (int(found["known"]), int(found["shared"])) == (len(known), sum(note in in_train for note in known))
        assert 0 < len(known) < int(found["images"])
    splitting.run(images, USUAL, exact_fractions=False, grouping=Grouping(("place+date",)))
    assert splitting.leakage()["place+date"] == "0"
