"""Splits by the command: grouped, after an earlier dataset's, with taxa held out, and accounted for."""

import shutil
import subprocess

from tests.support.datasets import ROOT, Dataset

SPLITS = ("train", "val", "test")


def homes(dataset: Dataset) -> dict[str, str]:
    return {row["image_path"]: split for split in SPLITS for row in dataset.rows(f"splits/{split}.csv")}


def test_images_stay_in_their_previous_splits_and_what_is_held_out_is_accounted_for(dataset: Dataset) -> None:
    earlier = dataset.output.parent / "earlier"
    shutil.copytree(dataset.output / "splits", earlier)
    old = homes(dataset)
    options = ["--SplitDataset-previous-splits", str(earlier), "--SplitDataset-random-seed", "7"]
    grouped = ["--SplitDataset-group-by", "observer+date,near-duplicates,place"]
    dataset.make(*options, task="SplitDataset")
    assert homes(dataset) == old
    told = dataset.make(*options, *grouped, "--SplitDataset-holdout-key", "speciesKey")
    assert "near-duplicate 0.000" in told
    now = homes(dataset)
    assert all(now.get(path, "test") == "test" for path, home in old.items() if home == "test")
    held = dataset.rows("splits/holdout.csv")
    counts = {(row["stage"], row["reason"]): int(row["images"]) for row in dataset.rows("accounting.csv")}
    assert counts["sample", "holdout"] == len(held) > 0
    assert "Nothing new" in dataset.make(*options, *grouped, "--SplitDataset-holdout-key", "speciesKey")
    own = dataset.command("--SplitDataset-previous-splits", str(dataset.output / "splits"))
    ended = subprocess.run(own, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode
    assert "copy it elsewhere" in ended.stderr
