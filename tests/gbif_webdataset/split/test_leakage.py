import pyarrow.parquet as pq

from gbif_webdataset.split.traits import Grouping
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
    assert all(row["share"] == f"{int(row['shared']) / int(row['images']):.4f}" for row in rows)


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
