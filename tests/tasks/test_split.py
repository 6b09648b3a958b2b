import shutil
import subprocess
from pathlib import Path
from typing import Any

from gbif_webdataset.storage.split_method import SplitMethod
from gbif_webdataset.storage.target_record import FileRecord, Fingerprint, TargetRecord
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tasks import SplitDataset
from tests.support.datasets import ROOT, Dataset


def splits_of_images(dataset: Dataset) -> dict[str, str]:
    return {row["image_path"]: split for split in SPLITS_OF_CLASSES for row in dataset.rows(f"splits/{split}.csv")}


def test_images_keep_their_previous_splits_and_held_out_images_are_accounted_for(dataset: Dataset) -> None:
    earlier = dataset.output.parent / "earlier"
    shutil.copytree(dataset.output / "splits", earlier)
    old = splits_of_images(dataset)
    options = ["--SplitDataset-previous-splits", str(earlier), "--SplitDataset-random-seed", "7"]
    grouped = ["--SplitDataset-group-by", "observer+date,near-duplicates,place"]
    dataset.make(*options, task="SplitDataset")
    assert splits_of_images(dataset) == old
    dataset.make(*options, *grouped, "--SplitDataset-holdout-key", "speciesKey")
    shared = {(row["split"], row["shares"]): row["shared"] for row in dataset.rows("splits/leakage.csv")}
    assert int(shared["test", "near-duplicate"]) == 0
    now = splits_of_images(dataset)
    assert all(now.get(path, "test") == "test" for path, split in old.items() if split == "test")
    held_out = dataset.rows("splits/holdout.csv")
    counts = {(row["stage"], row["reason"]): int(row["images"]) for row in dataset.rows("accounting.csv")}
    assert counts["sample", "holdout"] == len(held_out) > 0
    assert "Nothing new" in dataset.make(*options, *grouped, "--SplitDataset-holdout-key", "speciesKey")
    own = dataset.command("--SplitDataset-previous-splits", str(dataset.output / "splits"))
    ended = subprocess.run(own, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode
    assert "copy it elsewhere" in ended.stderr


def test_splits_are_kept_if_an_older_version_made_them_with_the_same_parameters(tmp_path: Path) -> None:
    task = SplitDataset(dwca="a.zip", output=str(tmp_path))
    assert not task.keeps_older_splits
    task.paths.splits.mkdir()
    for split in ("train", "val", "test"):
        (task.paths.splits / f"{split}.csv").write_text(f"{split}\n")
    assert task.keeps_older_splits

    def is_kept(version: int, files: dict[str, FileRecord] | None = None, **parameters: Any) -> bool:
        path = task.paths.record("SplitDataset")
        TargetRecord("SplitDataset", Fingerprint(version, parameters), files or {}).save(path)
        return task.keeps_older_splits

    assert is_kept(2)
    assert is_kept(2, max_instances=5)
    assert not is_kept(2, test_frac=0.3)
    assert not is_kept(2, {"splits/val.csv": FileRecord(7, "")})
    assert not is_kept(task.FORMAT)
    assert not SplitDataset(dwca="a.zip", output=str(tmp_path), exact_fractions=True).keeps_older_splits

    SplitMethod({"test_frac": 0.2}, keeps_older_splits=True).save(task.paths.splits)
    assert task.keeps_older_splits
    assert task.find_retry_reason() is None
    again = SplitDataset(dwca="a.zip", output=str(tmp_path), resplit=True)
    assert not again.keeps_older_splits
    assert again.find_retry_reason() == "resplit is set"
    SplitMethod({"test_frac": 0.3}, keeps_older_splits=True).save(task.paths.splits)
    assert not task.keeps_older_splits
