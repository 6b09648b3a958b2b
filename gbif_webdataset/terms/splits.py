"""The splits of a dataset, and where SplitDataset writes each."""

from pathlib import Path

from gbif_webdataset.errors import MissingPieceError

TRAIN, VAL, TEST, HOLDOUT = "train", "val", "test", "holdout"
SPLITS_OF_CLASSES = (TRAIN, VAL, TEST)
"""The splits that share the images of each class; every dataset has them."""
SPLITS = (*SPLITS_OF_CLASSES, HOLDOUT)
"""All splits. Only datasets made with holdout_key have `holdout`; its images have class -1 unless train has theirs."""
HUB_SPLITS = {TRAIN: "train", VAL: "validation", TEST: "test", HOLDOUT: "holdout"}
"""What Hugging Face calls each split."""
HIGH_LEAKAGE = 0.05
"""The share of val's or test's images from which what they share with train is reported with a remedy."""
LABEL = "label"
"""The column of the splits that roll_up adds."""


def split_path(splits: Path, split: str) -> Path:
    """The CSV of a split."""
    return splits / f"{split}.csv"


def split_paths(splits: Path) -> dict[str, Path]:
    """The CSV of each split that exists.

    Raises:
        MissingPieceError: train, val or test is missing.
    """
    paths = {split: split_path(splits, split) for split in SPLITS}
    for split in SPLITS_OF_CLASSES:
        if not paths[split].is_file():
            raise MissingPieceError(f"{paths[split]}: the split is missing; run SplitDataset again")
    return {split: path for split, path in paths.items() if path.is_file()}
