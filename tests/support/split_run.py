"""Splits of a table of clean images, for tests."""

import csv
import hashlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gbif_webdataset.split.fractions import Fractions
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.split.split_dataset import split_dataset
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms import columns
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES

TEXTS = (
    *("coreid", "identifier", "image_path", "datasetKey", "speciesKey", "genusKey", "class", "note", "recordedBy"),
    *("eventDate", "eventID", "decimalLatitude", "decimalLongitude", "sha256"),
)
SCHEMA = pa.schema([*((name, pa.string()) for name in TEXTS), ("width", pa.int32())])
USUAL = Fractions(test=0.2, val=0.1)
HALF = Fractions(test=0.25, val=0.25)
Row = dict[str, Any]


def hash_text(seed: int, text: str) -> int:
    """The seeded hash that decides the split of a group with this name."""
    return int.from_bytes(hashlib.md5(f"{seed}|{text}".encode()).digest()[8:], "little")


def image(occurrence: str | int, label: str | None = "a", number: int = 0, **values: Any) -> Row:
    """A clean image: `number` distinguishes the images of an occurrence."""
    coreid = f"o{occurrence:06}" if isinstance(occurrence, int) else occurrence
    row = dict.fromkeys(SCHEMA.names) | {
        "coreid": coreid, "identifier": f"http://a.org/{coreid}/{number}", "image_path": f"d1/{coreid}_{number}.jpg",
        "datasetKey": "d1", "speciesKey": label, "genusKey": label and label[:1], "class": "Insecta",
        "sha256": f"{coreid} {number}", "width": 640,
    }  # fmt: skip
    return row | values


def single_images(label: str, count: int) -> list[Row]:
    """Images of one class, each of its own occurrence."""
    return [image(f"{label}-{number:04}", label) for number in range(count)]


def observed_images(count: int = 1500, seed: int = 0) -> list[Row]:
    """Images of 8 species by 60 observers, some unknown, on 10 days at 100 places, some of 200 events."""
    chance = random.Random(seed)
    return [
        image(
            number, chance.choice("abcdefgh"),
            recordedBy=chance.choice(["", None, " ", *(f"Observer {who}" for who in range(60))]),
            eventDate=f"2024-05-{chance.randrange(1, 11):02}" + chance.choice(["", "T10:00:00"]),
            decimalLatitude=str(chance.randrange(10) + 0.5), decimalLongitude=str(chance.randrange(10) + 0.5),
            eventID=chance.choice([None, f"e{chance.randrange(200)}"]),
        )
        for number in range(count)
    ]  # fmt: skip


class SplitRun:
    """A folder with a table of clean images and the splits made from it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.splits = folder, folder / "splits"
        self.clean, self.duplicates = folder / "clean.parquet", folder / "duplicates.parquet"
        self.write_near_duplicates([])

    def write_near_duplicates(self, groups: list[list[Row]]) -> None:
        """The table of CleanDataset with these groups of near duplicates."""
        rows = [
            {"kind": "near", "group": group[0]["image_path"], "image_path": row["image_path"]}
            for group in groups
            for row in group
        ]
        pq.write_table(pa.Table.from_pylist(rows, arrow.to_schema(columns.DUPLICATES)), self.duplicates)

    def run(
        self, images: list[Row] | None = None, fractions: Fractions = HALF, name: str = "splits", **options: Any
    ) -> dict[str, int]:
        """Split the images, or those of the last run, with exact fractions unless `options` say otherwise."""
        if images is not None:
            pq.write_table(pa.Table.from_pylist(images, SCHEMA), self.clean)
        values = {"category_key": "speciesKey", "random_seed": 1, "exact_fractions": True} | options
        self.splits = self.folder / name
        chosen = SplitOptions(fractions=fractions, **values)
        return split_dataset(self.clean, self.duplicates, self.splits, chosen, self.folder / "scratch")

    def rows(self, name: str) -> list[dict[str, str]]:
        """The rows of a CSV, sorted by image_path if it has images."""
        with (self.splits / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return sorted(rows, key=lambda row: row["image_path"]) if rows and "image_path" in rows[0] else rows

    def labels(self, name: str) -> Counter[str]:
        """The images of each class in a split."""
        return Counter(row["speciesKey"] for row in self.rows(name))

    def split_of_images(self) -> dict[str, str]:
        """The split of each image, by image_path."""
        return {row["image_path"]: split for split in SPLITS_OF_CLASSES for row in self.rows(split)}

    def leakage(self, split: str = "test") -> dict[str, str]:
        """The column `shared` of leakage.csv, by what is shared."""
        return {row["shares"]: row["shared"] for row in self.rows("leakage") if row["split"] == split}

    def file_bytes(self) -> dict[str, bytes]:
        """The content of every file in the folder of splits."""
        return {path.name: path.read_bytes() for path in self.splits.iterdir()}


def are_together(splits: dict[str, str], images: list[Row], *names: str) -> bool:
    """Whether images that agree in all these columns are in one split, and not all images are in the same one."""
    found: dict[tuple[str, ...], set[str]] = {}
    for row in images:
        if all((row[name] or "").strip() for name in names):
            found.setdefault(tuple(row[name] for name in names), set()).add(splits[row["image_path"]])
    return all(len(each) == 1 for each in found.values()) and len(set().union(*found.values())) > 1
