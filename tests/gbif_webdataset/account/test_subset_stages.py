import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.account.subset_stages import write_subset_stages
from gbif_webdataset.errors import MissingPieceError
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.columns import DROPPED, SUBSET

IMAGES = [("1", "a"), ("1", "b"), ("2", "c"), ("3", "d"), ("4", "e")]
"""The occurrence and path of each image."""


def write_dataset(root: Path) -> DatasetPaths:
    """Entry 1 has the images a to c, two of a taxon; entry 2 has d and e; entry 3 has none."""
    paths = DatasetPaths.under(root)
    coreids, names = ([image[part] for image in IMAGES] for part in (0, 1))
    paths.manifest.mkdir(parents=True)
    paths.fetched.mkdir()
    paths.splits.mkdir()
    paths.shards.mkdir()
    table = pa.table({"coreid": coreids, "image_path": names})
    pq.write_table(table, paths.chunk("manifest", 0))
    status = pa.array(["fetched", "cached", "fetched", "fetched", "failed"])
    pq.write_table(table.append_column("status", status), paths.chunk("fetched", 0))
    pq.write_table(table.slice(0, 4).append_column("valid", pa.array([True, True, True, False])), paths.verified)
    pq.write_table(table.slice(0, 3), paths.clean)
    for split, lines in (("train", ["1,a", "1,b"]), ("val", []), ("test", [])):
        (paths.splits / f"{split}.csv").write_text("\n".join(["coreid,image_path", *lines]) + "\n")
    header = ",".join(column.name for column in DROPPED)
    paths.shards_dropped.write_text(f"{header}\nshards,no-label,b,u,1\n")
    occurrences = {
        "coreid": ["1", "2", "3", "4"],
        "entry": [1, 1, 2, 2],
        "key": ["k1", "k2", None, None],
        "kingdom": [None, None, "A", "P"],
    }
    pq.write_table(pa.table(occurrences), paths.subset_occurrences)
    rows = [
        (1, "Aus", "genus", "k1", "Aus", "A", 1, 2, "two"), (1, "Aus", "genus", "k2", "Aus", "P", 1, 1, "two"),
        (2, "Bus", "genus", "", "Bus", "A", 1, 1, ""), (2, "Bus", "genus", "", "Bus", "P", 1, 1, ""),
        (3, "Cus", "", "", "", "", 0, 0, ""),
    ]  # fmt: skip
    with paths.subset.open("w", newline="") as file:
        csv.writer(file).writerows([[column.name for column in SUBSET], *rows])
    return paths


def test_the_images_of_each_taxon_of_the_list_are_counted_at_each_stage(tmp_path: Path) -> None:
    paths = write_dataset(tmp_path)
    table = write_subset_stages(paths)
    assert table is not None
    assert (table.lines, table.without_samples) == (5, 4)
    assert [line.requested for line in table.first_without] == ["Aus", "Bus", "Bus", "Cus"]
    with paths.subset_stages.open(newline="") as file:
        rows = list(csv.DictReader(file))
    stages = ("images", "fetched", "verified", "clean", "split", "samples")
    assert [(row["requested"], row["key"], *(int(row[stage]) for stage in stages)) for row in rows] == [
        ("Aus", "k1", 2, 2, 2, 2, 2, 1),
        ("Aus", "k2", 1, 1, 1, 1, 0, 0),
        ("Bus", "", 1, 1, 0, 0, 0, 0),
        ("Bus", "", 1, 0, 0, 0, 0, 0),
        ("Cus", "", 0, 0, 0, 0, 0, 0),
    ]


def test_images_of_several_archives_are_counted_by_path_because_their_ids_may_be_equal(tmp_path: Path) -> None:
    paths = write_dataset(tmp_path)
    names = ["d/1.jpg", "d/1_1.jpg", "d/1_12.jpg", "d/1~2.jpg", "e/1_1.jpg"]
    table = pa.table({"coreid": ["1"] * 5, "image_path": names, "status": ["fetched"] * 5, "valid": [True] * 5})
    for path in (paths.chunk("manifest", 0), paths.chunk("fetched", 0), paths.verified, paths.clean):
        pq.write_table(table, path)
    occurrences = {
        "coreid": ["1"] * 3,
        "entry": [1, 1, 2],
        "key": ["k1", "k2", None],
        "kingdom": [None, None, "A"],
        "image_stem": ["d/1", "d/1~2", "e/1"],
    }
    pq.write_table(pa.table(occurrences), paths.subset_occurrences)
    write_subset_stages(paths)
    with paths.subset_stages.open(newline="") as file:
        images = [(row["requested"], row["key"], row["images"], row["clean"]) for row in csv.DictReader(file)]
    assert images == [
        ("Aus", "k1", "3", "3"), ("Aus", "k2", "1", "1"), ("Bus", "", "1", "1"), ("Bus", "", "0", "0"), ("Cus", "", "0", "0"),
    ]  # fmt: skip


def test_images_that_belong_to_no_entry_are_an_error(tmp_path: Path) -> None:
    paths = write_dataset(tmp_path)
    pq.write_table(pq.read_table(paths.subset_occurrences).slice(1), paths.subset_occurrences)
    with pytest.raises(MissingPieceError, match="the manifest has 5 images, but 3 belong to an entry of subset_list"):
        write_subset_stages(paths)


def test_a_dataset_without_a_list_or_of_an_older_version_has_no_table(tmp_path: Path) -> None:
    paths = write_dataset(tmp_path)
    paths.subset_occurrences.unlink()
    assert write_subset_stages(paths) is None
    assert not paths.subset_stages.exists()
