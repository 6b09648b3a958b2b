"""The summary of the splits for the terminal."""

from pathlib import Path

from gbif_webdataset.storage.tables import open_csv

SHOWN_CLASSES = 5


def describe_splits(splits: Path, val_frac: float, test_frac: float) -> str:
    """Return a few lines about balance.csv and leakage.csv in the folder `splits`."""
    lines = [
        f"  splits   requested fractions of each class: val {val_frac}, test {test_frac}; classes that differ most:"
    ]
    with open_csv(splits / "balance.csv") as classes:
        for number, row in enumerate(classes):
            if number == SHOWN_CLASSES:
                break
            images = int(row["images"])
            shares = (f"{name} {int(row[name]) / images:.2f}" for name in ("val", "test"))
            lines.append(f"           {row['label']}: {images:,} images, {', '.join(shares)}")
    with open_csv(splits / "leakage.csv") as shared:
        leaks = [
            f"{row['shares']} {float(row['share']):.3f}" for row in shared if row["split"] == "test" and row["share"]
        ]
    lines.append(f"  leakage  share of test images with the same as in train: {', '.join(leaks) or 'test is empty'}")
    return "\n".join(lines)
