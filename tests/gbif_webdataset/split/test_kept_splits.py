from dataclasses import replace
from pathlib import Path

from gbif_webdataset.split.kept_splits import describe_kept_method, has_splits
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.split.split_dataset import count_images_to_move, describe_kept_splits
from tests.support.split_run import USUAL, SplitRun, observed_images

OPTIONS = SplitOptions("speciesKey", USUAL, random_seed=1)


def test_images_keep_the_splits_of_the_own_folder_and_those_that_would_move_are_counted(splitting: SplitRun) -> None:
    images = observed_images(400)
    splitting.run(images[:300], USUAL, "older", random_seed=2)
    old, older = splitting.split_of_images(), splitting.splits
    splitting.run(images, USUAL, "new", exact_fractions=False)
    new = splitting.split_of_images()
    splitting.run(images, USUAL, "kept", exact_fractions=False, kept_splits=older)
    kept = splitting.split_of_images()
    assert {path: kept[path] for path in old} == old
    assert len(kept) == 400

    paths = splitting.clean, splitting.duplicates, splitting.splits
    count = count_images_to_move(*paths, replace(OPTIONS, kept_splits=older), splitting.folder / "scratch")
    assert count == sum(new[path] != kept[path] for path in kept) > 0


def test_leakage_of_kept_splits_is_measured_again_and_images_stay(splitting: SplitRun) -> None:
    splitting.run(observed_images(300), USUAL)
    files = splitting.file_bytes()
    (splitting.splits / "leakage.csv").write_text("split,shares,images,shared,share\n")
    describe_kept_splits(splitting.clean, splitting.duplicates, splitting.splits, OPTIONS, splitting.folder / "scratch")
    measured, before = splitting.file_bytes(), splitting.rows("leakage")
    assert {name: data for name, data in measured.items() if name != "leakage.csv"} == {
        name: data for name, data in files.items() if name != "leakage.csv"
    }
    assert {(row["split"], row["shares"], row["shared"]) for row in before} == {
        (line.split(",")[0], line.split(",")[1], line.split(",")[4])
        for line in files["leakage.csv"].decode().splitlines()[1:]
    }


def test_splits_are_present_if_all_three_csvs_are(tmp_path: Path) -> None:
    assert not has_splits(tmp_path)
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").touch()
    assert has_splits(tmp_path)


def test_the_sentence_about_kept_splits_names_the_option() -> None:
    assert describe_kept_method(1, 40).endswith("would move 1 of 40 images; to let it, add --SplitDataset-resplit true")
