"""The summary of the splits for the terminal."""

from pathlib import Path

from gbif_webdataset.account.before_training import describe_leakage
from gbif_webdataset.account.shared_images import SharedImages, read_shared_images
from gbif_webdataset.formatting import format_count
from gbif_webdataset.storage.tables import open_csv
from gbif_webdataset.terms.splits import TEST

SHOWN_CLASSES = 5


def describe_splits(splits: Path, val_frac: float, test_frac: float) -> str:
    """A few lines about balance.csv and leakage.csv in the folder `splits`."""
    lines = [f"  splits     requested of each class: val {val_frac}, test {test_frac}; classes that differ most:"]
    with open_csv(splits / "balance.csv") as classes:
        for number, row in enumerate(classes):
            if number == SHOWN_CLASSES:
                break
            images = int(row["images"])
            shares = (f"{name} {int(row[name]) / images:.2f}" for name in ("val", "test"))
            label = f"{row['name']} ({row['label']})" if row.get("name") else row["label"]
            lines.append(f"             {label}: {format_count(images, 'image')}, {', '.join(shares)}")
    rows = read_shared_images(splits / "leakage.csv")
    shared = ", ".join(_describe_shared(row) for row in rows if row.split == TEST and row.images)
    lines.append(f"  leakage    share of test images with the same as in train: {shared or 'test is empty'}")
    lines += [f"             {finding}" for finding in describe_leakage(rows)]
    return "\n".join(lines)


def _describe_shared(row: SharedImages) -> str:
    """Such as `observer 3.1 % (80 of 90 known)`. Tables made before version 0.5 lack the number of known values."""
    share = "unknown" if row.share is None else f"{100 * row.share:.1f} %"
    is_complete = row.with_value in (None, row.images)
    return f"{row.name} {share}" + ("" if is_complete else f" ({row.with_value:,} of {row.images:,} known)")
