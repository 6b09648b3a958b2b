import csv
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gbif_webdataset.account.shared_images import SharedImages
from gbif_webdataset.publish.description import ClassCounts, read_classes
from gbif_webdataset.report.facets import FACETS, MAX_VALUES
from gbif_webdataset.report.statistics import (
    CANDIDATES,
    MAX_BALANCE_LINES,
    MAX_FAILURE_LINES,
    PICTURED_CLASSES,
    ClassBalance,
    DatasetStatistics,
    DroppedImages,
    DuplicateGroups,
    HostFailures,
    collect_statistics,
)
from gbif_webdataset.storage import arrow
from gbif_webdataset.storage.paths import DatasetPaths
from gbif_webdataset.terms.columns import BALANCE, DROPPED, DUPLICATES, INT32, INT64, LEAKAGE, TRUTH, Column
from tests.support.published import HOSTILE

Row = dict[str, Any]
LABEL = "acceptedTaxonKey"
NUMBERS = ("bytes", "width", "height", "file_size")
SPLITS = ("train", "val", "test")
LATER = [column.name for column in DROPPED]
TYPES = {INT32: pa.int32(), INT64: pa.int64(), TRUTH: pa.bool_()}


@dataclass
class Tables:
    """The tables of a dataset, which `collect` writes and reads."""

    root: Path
    fetched: list[Row]
    clean: list[Row]
    clean_dropped: list[Row] = field(default_factory=list)
    split_dropped: list[Row] = field(default_factory=list)
    shards_dropped: list[Row] = field(default_factory=list)
    classes: list[Row] = field(default_factory=list)
    class_columns: Sequence[str] = ("split", "label", "class", "samples")
    leaks: list[Row] = field(default_factory=list)
    balance: list[Row] = field(default_factory=list)
    duplicates: list[Row] | None = None
    clean_columns: Sequence[str] = ()  # of a table without rows

    def collect(self, label: str = LABEL) -> DatasetStatistics:
        root = self.root
        root.mkdir(exist_ok=True)
        paths = DatasetPaths.under(root)
        half = len(self.fetched) // 2
        for path, rows in zip(paths.chunks("fetched", 2), (self.fetched[:half], self.fetched[half:]), strict=True):
            parquet(path, rows, self.fetched)
        parquet(paths.clean, self.clean, [*self.clean, dict.fromkeys(self.clean_columns)])
        write_as(paths.clean_dropped, self.clean_dropped, schema_of(DROPPED))
        if self.duplicates is not None:
            write_as(paths.duplicates, self.duplicates, schema_of(DUPLICATES))
        for path, columns, rows in (
            (paths.split_dropped, LATER, self.split_dropped),
            (paths.leakage, [column.name for column in LEAKAGE], self.leaks),
            (paths.balance, [column.name for column in BALANCE], self.balance),
            (paths.shards_dropped, LATER, self.shards_dropped),
            (paths.classes, self.class_columns, self.classes),
        ):
            write_csv(path, columns, rows)
        return collect_statistics(paths, read_classes(paths.classes), label)


def parquet(path: Path, rows: Sequence[Row], of: Sequence[Row]) -> Path:
    kinds = {
        name: pa.int64() if name in NUMBERS else pa.string() for name in dict.fromkeys(n for row in of for n in row)
    }
    return write_as(path, rows, pa.schema(kinds.items()))


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    return pa.schema([(column.name, TYPES.get(column.type, pa.string())) for column in columns])


def write_as(path: Path, rows: Sequence[Row], schema: pa.Schema) -> Path:
    arrow.write_parquet(pa.Table.from_pylist(list(rows), schema).to_batches(), path, schema)
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, columns, lineterminator="\n", restval="", extrasaction="ignore")
        lines.writeheader()
        lines.writerows(rows)


def lost(rows: Sequence[Row], stage: str, reason: str) -> list[Row]:
    return [{"stage": stage, "reason": reason, **{name: row[name] for name in LATER[2:]}} for row in rows]


def counted(samples: Sequence[Row]) -> list[Row]:
    """The lines of classes.csv."""
    found = Counter((SPLITS[hash_of(row) % 3], row[LABEL]) for row in samples)
    return [{"split": s, "label": label, "class": 0, "samples": n} for (s, label), n in sorted(found.items())]


def hash_of(row: Row) -> int:
    return int(row["coreid"])


def five_hundred(root: Path) -> Tables:
    """500 images, of which 60 failed, 40 and 30 were dropped before and after they were clean, and 370 are samples."""
    dice = random.Random(7)
    rows = []
    for number in range(500):
        rows.append({
            "coreid": str(number), "image_path": f"ds{number % 3}/{number}.jpg",
            "identifier": f"https://Host{number % 17}.example/{number}.jpg", "status": "fetched", "error": None,
            "bytes": number, LABEL: f"{dice.randrange(40) ** 2}", "datasetKey": f"key {number % 3}",
            "licenseCode": dice.choice(("cc0", "cc-by", None)), "countryCode": dice.choice(("DE", "NA", "zz", "", None)),
            "lifeStage": dice.choice(("Adult", "adult", HOSTILE[2], None)), "year": dice.choice(("2019", "0", None)),
            "month": None, "eventDate": dice.choice(("1999-02-03", "no", None)),
            "decimalLatitude": dice.choice(("0", "51.5", "91", None)), "decimalLongitude": dice.choice(("-180", "0.1", "x")),
        })  # fmt: skip
    dice.shuffle(rows)
    failed, early, later, kept = rows[:60], rows[60:100], rows[100:130], rows[130:]
    for row in failed:
        row |= {"status": "failed", "error": dice.choice(("http-404", "timed-out")), "bytes": 7}
    whole = [{**row, "width": 800, "height": 600 + n % 2, "file_size": 99 + n} for n, row in enumerate(later + kept)]
    dropped = lost(early[:30], "verify", "truncated") + lost(early[30:], "clean", "thumbnail")
    splits = lost(later[:20], "split", "too-few-images")
    made = Tables(root, rows, whole, dropped, splits, lost(later[20:], "shards", "no-label"))
    made.classes = counted(whole[30:])
    return made


def test_every_breakdown_adds_up_to_the_images_of_the_ledgers_and_the_samples(tmp_path: Path) -> None:
    found = five_hundred(tmp_path).collect()
    assert set(found.breakdowns) == set(FACETS)
    for name, breakdown in found.breakdowns.items():
        assert (breakdown.images, breakdown.samples) == (500, 370), name
        assert len(breakdown.values) <= FACETS[name].max_values
    assert found.breakdowns["host"].other_values == 17 - MAX_VALUES
    assert sum(one.total for one in found.classes) == 370
    assert sum(found.dimensions.values()) == sum(found.file_sizes.values()) == 370
    assert sum(one.images for one in found.failures) == 60
    assert sum(one.images for one in found.dropped) == 70


def test_numbers_of_samples_count_samples_only(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    found, samples = made.collect(), made.clean[30:]
    countries = Counter((row["countryCode"] or "").upper() for row in samples)
    assert {count.value: count.samples for count in found.breakdowns["country"].all if count.value} == {
        code: number for code, number in countries.items() if code
    }
    assert sum(found.cells.values()) == sum(
        row["decimalLatitude"] in ("0", "51.5") and row["decimalLongitude"] != "x" for row in samples
    )
    assert set(found.dimensions) == {(19, 18)}
    assert found.fetched_bytes == sum(row["bytes"] for row in made.fetched if row["status"] == "fetched")


def test_failures_are_counted_by_host_and_error_and_beyond_the_maximum_by_error(tmp_path: Path) -> None:
    rows = [
        {"identifier": f"https://H{host:03}.example/{n}", "error": error, "status": "failed", "bytes": None}
        for host in range(60)
        for error, times in (("http-404", host + 1), ("timed-out", 1))
        for n in range(times)
    ]
    rows.append({"identifier": "https://h001.example", "error": None, "status": "fetched", "bytes": 5})
    rows = [{"coreid": str(n), "image_path": f"{n}.jpg", **row} for n, row in enumerate(rows)]
    found = Tables(tmp_path, rows, [{**rows[-1], LABEL: "1"}]).collect().failures
    expected = [
        HostFailures(f"h{host:03}.example", "http-404", host + 1) for host in range(59, 59 - MAX_FAILURE_LINES, -1)
    ]
    rest = [HostFailures("", "timed-out", 60), HostFailures("", "http-404", sum(range(1, 61 - MAX_FAILURE_LINES)))]
    assert list(found) == expected + rest
    assert sum(one.images for one in found) == len(rows) - 1


def test_leakage_is_by_split_and_none_if_it_is_not_recorded(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    made.leaks = [
        {"split": "val", "shares": "occurrence", "images": 50, "known": 50, "shared": 0, "share": "0.0000"},
        {"split": "test", "shares": "occurrence", "images": 0, "known": 0, "shared": "", "share": ""},
        {"split": "val", "shares": "observer", "images": 50, "known": 40, "shared": 20, "share": "0.5000"},
        {"split": "test", "shares": "observer", "images": 9, "shared": "", "share": ""},
    ]
    assert made.collect().leakage == (
        SharedImages("val", "occurrence", 50, 50, 0),
        SharedImages("test", "occurrence", 0, 0, None),
        SharedImages("val", "observer", 50, 40, 20),
        SharedImages("test", "observer", 9, None, None),
    )


def test_the_map_counts_samples_in_cells_as_small_as_its_part_of_the_world_allows(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    for number, row in enumerate(made.clean):
        row.update(decimalLatitude=str(50 + number % 3), decimalLongitude="10")
    found = made.collect()
    samples = len(made.clean) - 30
    assert not found.view.is_world
    assert sum(found.cells.values()) == samples
    assert len(found.cells) == 3
    assert all(0 <= cell.column < found.view.width / found.view.cell + 1 for cell in found.cells)


def test_balance_has_the_first_lines_of_its_table(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    made.balance = [
        {
            "label": label,
            "images": 40,
            "train": 30,
            "val": number,
            "test": 10 - number,
            "val_off": -3.4,
            "test_off": 2.0,
        }
        for number, label in enumerate(("NA", "0012", *"abcdefgh"))
    ]
    found = made.collect().balance
    assert len(found) == MAX_BALANCE_LINES
    assert found[0] == ClassBalance("NA", 40, 0, 10, -3.4, 2.0)
    assert found[1] == ClassBalance("0012", 40, 1, 9, -3.4, 2.0)


def test_duplicates_are_counted_by_kind(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    assert made.collect().duplicates == ()
    groups = [("near", "a", True), ("near", "a", False), ("exact", "a", True), ("exact", "a", False),
              ("exact", "b", False), ("exact", "b", False)]  # fmt: skip
    made.duplicates = [
        {"kind": kind, "group": group, "image_path": f"{n}.jpg", "kept": kept}
        for n, (kind, group, kept) in enumerate(groups)
    ]
    assert made.collect().duplicates == (DuplicateGroups("exact", 2, 4, 1), DuplicateGroups("near", 1, 2, 1))


def test_dropped_images_are_counted_by_reason_with_examples(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    found = made.collect().dropped
    assert [one[:3] for one in found] == [
        ("verify", "truncated", 30), ("split", "too-few-images", 20), ("clean", "thumbnail", 10), ("shards", "no-label", 10),
    ]  # fmt: skip
    rows = [*made.clean_dropped, *made.split_dropped, *made.shards_dropped]
    for one in found:
        assert isinstance(one, DroppedImages)
        assert len(one.paths) == len(set(one.paths)) == min(one.images, CANDIDATES)
        assert set(one.paths) <= {row["image_path"] for row in rows if row["reason"] == one.reason}


def test_class_examples_are_samples_of_the_largest_classes(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    found = made.collect()
    assert list(found.class_examples) == [one.label for one in found.classes[:PICTURED_CLASSES]]
    for label, paths in found.class_examples.items():
        own = {row["image_path"] for row in made.clean[30:] if row[LABEL] == label}
        assert set(paths) <= own
        assert len(paths) == min(CANDIDATES, len(own))
    assert list(found.dropped[0].paths) != sorted(found.dropped[0].paths)  # but random


def test_classes_have_their_samples_by_split_and_the_most_frequent_name(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    plain = made.collect()
    assert {one.name for one in plain.classes} == {""}
    expected = Counter((row[LABEL], SPLITS[hash_of(row) % 3]) for row in made.clean[30:])
    by_label = {one.label: one for one in plain.classes}
    assert {(label, split): by_label[label].samples[split] for label in by_label for split in SPLITS} == {
        (label, split): expected[label, split] for label in by_label for split in SPLITS
    }
    assert list(plain.classes) == sorted(plain.classes, key=lambda one: (-one.total, one.label))
    for number, row in enumerate(made.clean):
        row["acceptedScientificName"] = f"Name of {row[LABEL]}" if number % 5 else (HOSTILE[0] if number % 2 else None)
        row["species"] = "never"
    rows = [row for row in made.clean if row["acceptedScientificName"] is not None]
    most = {
        label: Counter(row["acceptedScientificName"] for row in rows if row[LABEL] == label).most_common(1)
        for label in by_label
    }
    named = {one.label: one.name for one in made.collect().classes}
    sure = {label for label, found in most.items() if found and found[0][1] > 2}
    assert len(sure) > 20
    assert {label: named[label] for label in sure} == {label: most[label][0][0] for label in sure}


def test_names_in_classes_csv_take_precedence(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    for row in made.clean:
        row["species"] = "of the archive"
    made.class_columns = (*made.class_columns, "name")
    made.classes = [
        {"split": "val", "label": "12", "class": 0, "samples": 3, "name": "twelve"},
        {"split": "train", "label": "NA", "class": 1, "samples": 3, "name": ""},
    ]
    assert made.collect().classes == (
        ClassCounts("12", 0, "twelve", {"train": 0, "val": 3, "test": 0, "holdout": 0}),
        ClassCounts("NA", 1, "", {"train": 3, "val": 0, "test": 0, "holdout": 0}),
    )


@pytest.mark.parametrize("label", ["NA", "nan", "007", "1.0", "None", "1e5", "True", *HOSTILE])
def test_a_label_is_not_changed(tmp_path: Path, label: str) -> None:
    row = {"coreid": "1", "image_path": "1.jpg", "identifier": "https://a.example", "status": "fetched", "error": None}
    row |= {LABEL: label, "bytes": 1, "species": label}
    made = Tables(tmp_path, [row], [row])
    made.classes = [{"split": "test", "label": label, "class": 0, "samples": 1}]
    found = made.collect()
    samples = {"train": 0, "val": 0, "test": 1, "holdout": 0}
    assert found.classes == (ClassCounts(label, 0, label[:500], samples),)
    assert found.class_examples == {label: ("1.jpg",)}


def test_archive_columns_with_the_names_of_internal_columns_change_nothing(tmp_path: Path) -> None:
    plain, disturbed = five_hundred(tmp_path / "plain"), five_hundred(tmp_path / "disturbed")
    for made in (plain, disturbed):
        for row in made.clean:
            row["species"] = f"Name of {row[LABEL]}"
    for row in (*disturbed.fetched, *disturbed.clean):
        row |= dict.fromkeys(
            ("label", "name", "images", "value", "host", "position", "shown", "mask", "f0", "kind", "text")
        )
    assert disturbed.collect() == plain.collect()


def test_a_dataset_without_samples_has_statistics(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    made.clean_dropped += lost(made.clean[30:], "clean", "no-label")
    made.clean_columns, made.clean, made.classes = list(made.clean[0]), [], []
    made.split_dropped, made.shards_dropped = [], []
    found = made.collect()
    assert (found.classes, found.class_examples, found.cells, found.dimensions, found.file_sizes) == (
        (),
        {},
        {},
        {},
        {},
    )
    assert {(one.images, one.samples) for one in found.breakdowns.values()} == {(500, 0)}


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_rows_give_the_same_statistics(tmp_path: Path, seed: int) -> None:
    made, shuffled = five_hundred(tmp_path / "made"), five_hundred(tmp_path / "shuffled")
    dice = random.Random(seed)
    for rows in (shuffled.fetched, shuffled.clean, shuffled.clean_dropped, shuffled.split_dropped, shuffled.classes):
        dice.shuffle(rows)
    assert made.collect() == shuffled.collect()
