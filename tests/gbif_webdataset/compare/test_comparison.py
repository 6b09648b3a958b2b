import csv
from pathlib import Path

import pytest

from gbif_webdataset.compare.comparison import Comparison, compare
from gbif_webdataset.errors import DamagedFileError, MissingPieceError
from gbif_webdataset.storage.target_record import FileRecord, Fingerprint, TargetRecord
from tests.support.output_folder import OutputFolder
from tests.support.published import HOSTILE

Folders = tuple[OutputFolder, OutputFolder]


def compare_folders(folders: Folders) -> tuple[Comparison, list[dict[str, str]]]:
    old, new = (folder.write() for folder in folders)
    comparison = compare(old, new)
    with new.comparison_table.open(newline="", encoding="utf-8") as file:
        return comparison, list(csv.DictReader(file))


def test_each_image_that_differs_has_a_line_with_its_change_and_reason(old_and_new: Folders) -> None:
    comparison, rows = compare_folders(old_and_new)
    assert {row["coreid"]: (row["change"], row["stage"], row["reason"]) for row in rows} == {
        "label": ("label", "", ""), "split": ("split", "", ""), "both": ("label-and-split", "", ""),
        "small": ("dropped", "clean", "thumbnail"), "failed": ("dropped", "fetch", "not-found"),
        "gone": ("dropped", "read", "not-in-archive"), "new": ("added", "read", "not-in-archive"),
        "once-small": ("added", "clean", "thumbnail"), "once-rare": ("added", "split", "under-min-instances"),
    }  # fmt: skip
    by_id = {row["coreid"]: row for row in rows}
    assert [by_id["both"][name] for name in ("old_split", "new_split", "old_label", "new_label")] == (
        ["train", "val", "a", "b"]
    )
    assert comparison.changes == {
        "unchanged": 1, "label": 1, "split": 1, "label-and-split": 1, "added": 3, "dropped": 3
    }  # fmt: skip
    assert (comparison.count_images(0), comparison.count_images(1)) == (7, 7)
    assert comparison.labels == [("a", "b", 2)]


def test_images_of_one_occurrence_with_different_urls_are_different_images(tmp_path: Path) -> None:
    old, new = OutputFolder(tmp_path / "old"), OutputFolder(tmp_path / "new")
    old.add("train", "1", url="http://x.example/a")
    new.add("train", "1", url="http://x.example/b")
    comparison, _ = compare_folders((old, new))
    assert comparison.changes == {"added": 1, "dropped": 1}


def test_hostile_labels_are_written_to_the_csv_unchanged(tmp_path: Path) -> None:
    old, new = OutputFolder(tmp_path / "old", HOSTILE[2]), OutputFolder(tmp_path / "new", HOSTILE[0])
    for number, name in enumerate(HOSTILE):
        old.add("train", f"{number}", name)
        new.add("train", f"{number}", f"{name}!")
    _, rows = compare_folders((old, new))
    assert {row["old_label"] for row in rows} == set(HOSTILE)


def test_two_empty_datasets_have_no_differences(tmp_path: Path) -> None:
    comparison, rows = compare_folders((OutputFolder(tmp_path / "old"), OutputFolder(tmp_path / "new")))
    assert (comparison.changes, rows) == ({}, [])


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (".made/CreateWebDataset.json", "there is no dataset with splits in this folder; give the --output of a"),
        ("splits/val.csv", r"val.csv: the split is missing; run SplitDataset again"),
    ],
)
def test_a_folder_without_a_dataset_gives_one_sentence_and_no_csv(
    old_and_new: Folders, removed: str, message: str
) -> None:
    old, new = (folder.write() for folder in old_and_new)
    (new.output / removed).unlink()
    with pytest.raises(MissingPieceError, match=message):
        compare(old, new)
    assert not new.comparison_table.exists()


def test_a_split_without_the_column_of_labels_gives_one_sentence(old_and_new: Folders) -> None:
    old, new = (folder.write() for folder in old_and_new)
    (new.splits / "val.csv").write_text("coreid,identifier,image_path\n")
    with pytest.raises(MissingPieceError, match=r"val.csv: the column species of the labels is missing; run"):
        compare(old, new)


def test_a_damaged_table_gives_one_sentence_and_changes_nothing(old_and_new: Folders) -> None:
    old, new = (folder.write() for folder in old_and_new)
    splits = old.splits / "train.csv"
    files = {"splits/train.csv": FileRecord.of(splits)}
    TargetRecord("SplitDataset", Fingerprint(1, {"category_key": "species"}), files).save(old.record("SplitDataset"))
    compare(old, new)
    splits.write_bytes(bytes(splits.stat().st_size))
    with pytest.raises(DamagedFileError, match=r"train\.csv: the table is damaged"):
        compare(old, new)
    assert old.record("SplitDataset").exists()
