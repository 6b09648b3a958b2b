"""How far the classes are from the asked fractions."""

import csv
from pathlib import Path

import duckdb

from gbif_webdataset.split.assignment import TEST, VAL, Fractions
from gbif_webdataset.storage import tables
from gbif_webdataset.storage.atomic import atomic_file

COLUMNS = ("label", "images", "train", "val", "test", "val_off", "test_off")
SHOWN = 5


def write(connection: duckdb.DuckDBPyConnection, fractions: Fractions, path: Path) -> None:
    """Write balance.csv: of each class its images in all and by split, before max_instances, those furthest off first.

    `val_off` and `test_off` are images above (or, negative, below) the class's fraction.
    """
    counted = f"""SELECT category AS label, count(*) AS images,
            count(*) FILTER (split = {VAL}) AS val, count(*) FILTER (split = {TEST}) AS test
        FROM limited JOIN classes USING (class) GROUP BY category"""
    query = f"""SELECT label, images, images - val - test AS train, val, test,
        val - images * {fractions.val!r} AS val_off, test - images * {fractions.test!r} AS test_off FROM ({counted})
        ORDER BY greatest(abs(val_off), abs(test_off)) DESC, label"""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for batch in tables.select_batches(connection, query):
            for *row, val, test in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                rows.writerow([*row, f"{val:.1f}", f"{test:.1f}"])


def told(folder: Path, fractions: Fractions) -> str:
    """What people read of balance.csv and leakage.csv in `folder`, in a few lines."""
    lines = []
    with tables.open_csv(folder / "balance.csv") as classes:
        for number, row in enumerate(classes):
            if number == SHOWN:
                break
            images = int(row["images"])
            shares = (f"{name} {int(row[name]) / images:.2f}" for name in ("val", "test"))
            lines.append(f"           {row['label']}: {images:,} images, {', '.join(shares)}")
    head = f"  splits   val {fractions.val}, test {fractions.test} of each class; furthest off are"
    with tables.open_csv(folder / "leakage.csv") as shared:
        leaks = [
            f"{row['shares']} {float(row['share']):.3f}" for row in shared if row["split"] == "test" and row["share"]
        ]
    lines.append(f"  leakage  of test's images share with train: {', '.join(leaks) or 'nothing, for there is no test'}")
    return "\n".join([head, *lines])
