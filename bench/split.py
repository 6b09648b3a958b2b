"""Splits of an archive with a long tail of classes: how exact and how stable they are, and the time that they take."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from bench import runs
from gbif_webdataset.split.fractions import Fractions
from gbif_webdataset.split.options import SplitOptions
from gbif_webdataset.split.split_dataset import split_dataset
from gbif_webdataset.split.traits import Grouping
from gbif_webdataset.storage import arrow
from gbif_webdataset.terms import columns
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES, TEST, TRAIN, VAL

FRACTIONS = Fractions(test=0.2, val=0.1)
GROWTH = 0.1  # share of the occurrences that the newer archive adds
ENOUGH = 15  # occurrences of a class from which its shares are measured
SEED = 7


@dataclass(frozen=True)
class SplitQuality:
    """Counts of classes with at least ENOUGH occurrences, and the share of the old images that moved.

    `outside` counts shares of val and test that are off by more than a fifth and more than the class's largest group;
    `empty` counts classes without an image in val or test.
    """

    images: int
    classes: int
    outside: int
    empty: int
    moved: float


def bench_all(classes: int, occurrences: int) -> None:
    """Measure groups of one and of several images, and groups of several classes."""
    for images_per_occurrence, by_observer in ((1.0, False), (1.5, False), (3.0, False), (1.0, True)):
        bench(classes, occurrences, images_per_occurrence, by_observer)


def bench(classes: int, occurrences: int, images_per_occurrence: float, by_observer: bool) -> SplitQuality:
    """Split an archive, and a newer one with a tenth more occurrences; print and return the result."""
    archive = _make_archive(classes, occurrences, images_per_occurrence)
    is_old = np.random.default_rng(SEED + 1).random(len(archive["coreid"])) < 1 / (1 + GROWTH)
    is_old = is_old[np.unique(archive["coreid"], return_inverse=True)[1]]  # an occurrence is added as a whole
    grouping = Grouping(("observer",) if by_observer else ())
    with tempfile.TemporaryDirectory() as name:
        begun = time.process_time()
        old = _split({column: values[is_old] for column, values in archive.items()}, Path(name) / "old", grouping)
        seconds = time.process_time() - begun
        new = _split(archive, Path(name) / "new", grouping)
    moved = sum(new[path] != split for path, split in old.items()) / len(old)
    quality = _measure({column: values[is_old] for column, values in archive.items()}, old, grouping, moved)
    print(
        f"split: {quality.images:,} images of {classes:,} classes, {images_per_occurrence} for each occurrence, "
        f"groups by {'observer' if by_observer else 'occurrence'}, {runs.describe_load()}\n"
        f"  {quality.classes:,} classes with at least {ENOUGH} occurrences: {quality.outside:,} of "
        f"{2 * quality.classes:,} shares outside the bounds, {quality.empty:,} classes without val or test\n"
        f"  a tenth more occurrences moves {quality.moved:.2%} of the images; {seconds:.1f} s of processor time",
        flush=True,
    )
    return quality


def _make_archive(classes: int, occurrences: int, images_per_occurrence: float) -> dict[str, Any]:
    """The columns of clean.parquet: the size of a class is inverse to its rank; observers have very unequal sizes."""
    random = np.random.default_rng(SEED)
    weights = 1 / np.arange(1, classes + 1)
    label = random.choice(classes, occurrences, p=weights / weights.sum())
    activity = random.lognormal(0, 1.5, max(2, occurrences // 10))
    observer = random.choice(len(activity), occurrences, p=activity / activity.sum())
    sizes = random.geometric(1 / images_per_occurrence, occurrences)
    of = np.repeat(np.arange(occurrences), sizes)
    number = np.arange(len(of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return {
        "coreid": np.array([f"o{one}" for one in of]),
        "identifier": np.array([f"u{one}" for one in range(len(of))]),
        "image_path": np.array([f"d/o{one}_{turn}.jpg" for one, turn in zip(of, number, strict=True)]),
        "speciesKey": np.array([f"s{one}" for one in label[of]]),
        "recordedBy": np.array([f"r{one}" for one in observer[of]]),
    }


def _split(images: dict[str, Any], folder: Path, grouping: Grouping) -> dict[str, str]:
    """The split of each image, by image_path."""
    folder.mkdir()
    pq.write_table(pa.table(images), folder / "clean.parquet")
    duplicates = folder / "duplicates.parquet"
    pq.write_table(arrow.to_schema(columns.DUPLICATES).empty_table(), duplicates)
    options = SplitOptions("speciesKey", FRACTIONS, 42, grouping=grouping)
    split_dataset(folder / "clean.parquet", duplicates, folder / "splits", options, folder / "scratch")
    paths = {split: folder / "splits" / f"{split}.csv" for split in SPLITS_OF_CLASSES}
    return {path: split for split, csv in paths.items() for path in pc.read_csv(csv)["image_path"].to_pylist()}


def _measure(images: dict[str, Any], splits: dict[str, str], grouping: Grouping, moved: float) -> SplitQuality:
    """The quality of the splits of these images."""
    names, label = np.unique(images["speciesKey"], return_inverse=True)
    group = np.unique(images["recordedBy" if grouping.links else "coreid"], return_inverse=True)[1]
    split = np.array([SPLITS_OF_CLASSES.index(splits[path]) for path in images["image_path"]])
    counts = np.zeros((len(SPLITS_OF_CLASSES), len(names)))
    np.add.at(counts, (split, label), 1)
    of_group, sizes = np.unique(np.stack([label, group]), axis=1, return_counts=True)
    largest = np.zeros(len(names))
    np.maximum.at(largest, of_group[0], sizes)
    occurrences = np.bincount(
        np.unique(np.stack([label, np.unique(images["coreid"], return_inverse=True)[1]]), axis=1)[0]
    )
    is_large = occurrences >= ENOUGH
    outside, is_empty = 0, np.zeros(len(names), bool)
    for name, fraction in ((TEST, FRACTIONS.test), (VAL, FRACTIONS.val)):
        share, own = fraction * counts.sum(axis=0), counts[SPLITS_OF_CLASSES.index(name)]
        outside += int((is_large & (abs(own - share) > np.maximum(largest, 0.2 * share) + 1e-9)).sum())
        is_empty |= is_large & (own == 0)
    if not counts[SPLITS_OF_CLASSES.index(TRAIN)].all():
        raise runs.BenchError("a class has no image in train")
    return SplitQuality(len(split), int(is_large.sum()), outside, int(is_empty.sum()), moved)
