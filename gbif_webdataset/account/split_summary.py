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
        leaks = [_describe_shared(row) for row in shared if row["split"] == "test" and int(row["images"])]
    lines.append(f"  leakage  share of test images with the same as in train: {', '.join(leaks) or 'test is empty'}")
    return "\n".join(lines)


def _describe_shared(row: dict[str, str]) -> str:
    """Return such as `observer 0.031 (80 of 90 known)`. Tables made before version 0.5 have no column `known`."""
    share = f"{float(row['share']):.3f}" if row["share"] else "unknown"
    with_value = row.get("known", row["images"])
    return f"{row['shares']} {share}" + (
        f" ({with_value} of {row['images']} known)" if with_value != row["images"] else ""
    )
