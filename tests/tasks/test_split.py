import shutil
import subprocess

from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
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
    output = dataset.make(*options, *grouped, "--SplitDataset-holdout-key", "speciesKey")
    assert "near-duplicate 0.000" in output
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
