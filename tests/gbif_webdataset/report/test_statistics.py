"""The overview of a small dataset, by hand: everything adds up, and the order of rows changes nothing."""

import csv
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gbif_webdataset.clean import clean_dataset, duplicates
from gbif_webdataset.report import facets, statistics
from gbif_webdataset.report.facets import FACETS
from gbif_webdataset.report.statistics import (
    CANDIDATES,
    MOST_LINES,
    PICTURED,
    Copies,
    Counted,
    Dropped,
    Failed,
    Leak,
    Overview,
    Places,
)
from gbif_webdataset.split import balance, leakage
from gbif_webdataset.storage import arrow
from tests.support.published import HOSTILE

Row = dict[str, Any]
LABEL = "acceptedTaxonKey"
NUMBERS = ("bytes", "width", "height", "file_size")
SPLITS = ("train", "val", "test")
LATER = ("stage", "reason", "image_path", "identifier", "coreid")


@dataclass
class Made:
    """The tables of a dataset, which `look` writes and looks at."""

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
    copies: list[Row] | None = None
    clean_columns: Sequence[str] = ()  # where no row tells them

    def look(self, label: str = LABEL) -> Overview:
        root = self.root
        root.mkdir(exist_ok=True)
        half = len(self.fetched) // 2
        chunks = [
            parquet(root / f"fetched-{number}.parquet", rows, self.fetched)
            for number, rows in enumerate((self.fetched[:half], self.fetched[half:]))
        ]
        kept, dropped = (
            parquet(root / "clean.parquet", self.clean, [*self.clean, dict.fromkeys(self.clean_columns)]),
            root / "clean_dropped.parquet",
        )
        write_as(dropped, self.clean_dropped, clean_dataset.DROPPED)
        if self.copies is not None:
            write_as(root / "duplicates.parquet", self.copies, duplicates.GROUPS)
        for name, columns, rows in (
            ("splits/dropped.csv", LATER, self.split_dropped),
            ("splits/leakage.csv", leakage.COLUMNS, self.leaks),
            ("splits/balance.csv", balance.COLUMNS, self.balance),
            ("shards/dropped.csv", LATER, self.shards_dropped),
            ("shards/classes.csv", self.class_columns, self.classes),
        ):
            write_csv(root / name, columns, rows)
        folders = (root / "duplicates.parquet", root / "splits", root / "shards", root / "images")
        return statistics.look(Places(tuple(chunks), kept, dropped, *folders), label, root / "scratch")


def parquet(path: Path, rows: Sequence[Row], of: Sequence[Row]) -> Path:
    kinds = {
        name: pa.int64() if name in NUMBERS else pa.string() for name in dict.fromkeys(n for row in of for n in row)
    }
    return write_as(path, rows, pa.schema(kinds.items()))


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


def five_hundred(root: Path) -> Made:
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
    made = Made(root, rows, whole, dropped, splits, lost(later[20:], "shards", "no-label"))
    made.classes = counted(whole[30:])
    return made


def test_every_sum_is_the_images_of_the_ledgers_and_the_samples(tmp_path: Path) -> None:
    found = five_hundred(tmp_path).look()
    assert set(found.by) == set(FACETS)
    for name, breakdown in found.by.items():
        assert (breakdown.images, breakdown.samples) == (500, 370), name
        assert len(breakdown.bars) <= FACETS[name].most
    assert found.by["host"].other_values == 17 - facets.MOST_BARS
    assert sum(one.samples for one in found.classes) == 370
    assert sum(found.sizes.values()) == sum(found.weights.values()) == 370
    assert sum(one.images for one in found.failures) == 60
    assert sum(one.images for one in found.dropped) == 70


def test_what_is_told_of_samples_is_that_of_the_samples_alone(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    found, samples = made.look(), made.clean[30:]
    countries = Counter((row["countryCode"] or "").upper() for row in samples)
    assert {bar.value: bar.samples for bar in found.by["country"].all if bar.value} == {
        code: number for code, number in countries.items() if code
    }
    assert sum(found.cells.values()) == sum(
        row["decimalLatitude"] in ("0", "51.5") and row["decimalLongitude"] != "x" for row in samples
    )
    assert set(found.sizes) == {(19, 18)}
    assert found.fetched_bytes == sum(row["bytes"] for row in made.fetched if row["status"] == "fetched")


def test_failures_are_told_by_host_and_error_and_the_rest_by_error(tmp_path: Path) -> None:
    rows = [
        {"identifier": f"https://H{host:03}.example/{n}", "error": error, "status": "failed", "bytes": None}
        for host in range(60)
        for error, times in (("http-404", host + 1), ("timed-out", 1))
        for n in range(times)
    ]
    rows.append({"identifier": "https://h001.example", "error": None, "status": "fetched", "bytes": 5})
    rows = [{"coreid": str(n), "image_path": f"{n}.jpg", **row} for n, row in enumerate(rows)]
    found = Made(tmp_path, rows, [{**rows[-1], LABEL: "1"}]).look().failures
    expected = [Failed(f"h{host:03}.example", "http-404", host + 1) for host in range(59, 59 - MOST_LINES, -1)]
    rest = [Failed("", "timed-out", 60), Failed("", "http-404", sum(range(1, 61 - MOST_LINES)))]
    assert list(found) == expected + rest
    assert sum(one.images for one in found) == len(rows) - 1


def test_leakage_is_told_by_split_and_none_where_nothing_tells(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    made.leaks = [
        {"split": "val", "shares": "occurrence", "images": 50, "shared": 0, "share": "0.0000"},
        {"split": "test", "shares": "occurrence", "images": 0, "shared": 0, "share": ""},
        {"split": "val", "shares": "observer", "images": 50, "shared": 20, "share": "0.4000"},
        {"split": "test", "shares": "observer", "images": 0, "shared": "", "share": ""},
    ]
    assert made.look().leakage == (
        Leak("occurrence", {"val": (0, 0.0), "test": (0, None)}),
        Leak("observer", {"val": (20, 0.4), "test": (None, None)}),
    )


def test_copies_are_counted_by_group_and_kind(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    assert made.look().copies == ()
    groups = [("near", "a", True), ("near", "a", False), ("exact", "a", True), ("exact", "a", False),
              ("exact", "b", False), ("exact", "b", False)]  # fmt: skip
    made.copies = [
        {"kind": kind, "group": group, "image_path": f"{n}.jpg", "kept": kept}
        for n, (kind, group, kept) in enumerate(groups)
    ]
    assert made.look().copies == (Copies("exact", 2, 4, 1), Copies("near", 1, 2, 1))


def test_what_was_dropped_is_told_by_reason_with_paths_to_look_at(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    found = made.look().dropped
    assert [one[:3] for one in found] == [
        ("verify", "truncated", 30), ("split", "too-few-images", 20), ("clean", "thumbnail", 10), ("shards", "no-label", 10),
    ]  # fmt: skip
    rows = [*made.clean_dropped, *made.split_dropped, *made.shards_dropped]
    for one in found:
        assert isinstance(one, Dropped)
        assert len(one.paths) == len(set(one.paths)) == min(one.images, CANDIDATES)
        assert set(one.paths) <= {row["image_path"] for row in rows if row["reason"] == one.reason}


def test_images_to_show_are_samples_of_the_largest_classes(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    found = made.look()
    assert list(found.of_classes) == [one.label for one in found.classes[:PICTURED]]
    for label, paths in found.of_classes.items():
        own = {row["image_path"] for row in made.clean[30:] if row[LABEL] == label}
        assert set(paths) <= own
        assert len(paths) == min(CANDIDATES, len(own))
    assert list(found.dropped[0].paths) != sorted(found.dropped[0].paths)  # but by chance


def test_classes_have_their_samples_by_split_and_are_called_what_most_images_say(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    plain = made.look()
    assert {one.name for one in plain.classes} == {""}
    expected = Counter((row[LABEL], SPLITS[hash_of(row) % 3]) for row in made.clean[30:])
    by_label = {one.label: one for one in plain.classes}
    assert {(label, split): getattr(by_label[label], split) for label in by_label for split in SPLITS} == {
        (label, split): expected[label, split] for label in by_label for split in SPLITS
    }
    assert list(plain.classes) == sorted(plain.classes, key=lambda one: (-one.samples, one.label))
    for number, row in enumerate(made.clean):
        row["acceptedScientificName"] = f"Name of {row[LABEL]}" if number % 5 else (HOSTILE[0] if number % 2 else None)
        row["species"] = "never"
    rows = [row for row in made.clean if row["acceptedScientificName"] is not None]
    most = {
        label: Counter(row["acceptedScientificName"] for row in rows if row[LABEL] == label).most_common(1)
        for label in by_label
    }
    named = {one.label: one.name for one in made.look().classes}
    sure = {label for label, found in most.items() if found and found[0][1] > 2}
    assert len(sure) > 20
    assert {label: named[label] for label in sure} == {label: most[label][0][0] for label in sure}


def test_names_that_the_classes_bring_go_first(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    for row in made.clean:
        row["species"] = "of the archive"
    made.class_columns = (*made.class_columns, "name")
    made.classes = [
        {"split": "val", "label": "12", "class": 0, "samples": 3, "name": "twelve"},
        {"split": "train", "label": "NA", "class": 1, "samples": 3, "name": ""},
    ]
    assert made.look().classes == (Counted("12", "twelve", 0, 3, 0), Counted("NA", "", 3, 0, 0))


@pytest.mark.parametrize("label", ["NA", "nan", "007", "1.0", "None", "1e5", "True", *HOSTILE])
def test_a_label_is_the_text_that_it_is(tmp_path: Path, label: str) -> None:
    row = {"coreid": "1", "image_path": "1.jpg", "identifier": "https://a.example", "status": "fetched", "error": None}
    row |= {LABEL: label, "bytes": 1, "species": label}
    made = Made(tmp_path, [row], [row])
    made.classes = [{"split": "test", "label": label, "class": 0, "samples": 1}]
    found = made.look()
    assert found.classes == (Counted(label, label[:500], 0, 0, 1),)
    assert found.of_classes == {label: ("1.jpg",)}


def test_columns_of_the_archive_that_are_named_as_ours_disturb_nothing(tmp_path: Path) -> None:
    plain, disturbed = five_hundred(tmp_path / "plain"), five_hundred(tmp_path / "disturbed")
    for made in (plain, disturbed):
        for row in made.clean:
            row["species"] = f"Name of {row[LABEL]}"
    for row in (*disturbed.fetched, *disturbed.clean):
        row |= dict.fromkeys(
            ("label", "name", "images", "value", "host", "turn", "shown", "which", "f0", "kind", "lost")
        )
    assert disturbed.look() == plain.look()


def test_a_dataset_without_a_sample_has_an_overview(tmp_path: Path) -> None:
    made = five_hundred(tmp_path)
    made.clean_dropped += lost(made.clean[30:], "clean", "no-label")
    made.clean_columns, made.clean, made.classes = list(made.clean[0]), [], []
    made.split_dropped, made.shards_dropped = [], []
    found = made.look()
    assert (found.classes, found.of_classes, found.cells, found.sizes, found.weights) == ((), {}, {}, {}, {})
    assert {(one.images, one.samples) for one in found.by.values()} == {(500, 0)}


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_rows_give_the_same_overview(tmp_path: Path, seed: int) -> None:
    made, shuffled = five_hundred(tmp_path / "made"), five_hundred(tmp_path / "shuffled")
    dice = random.Random(seed)
    for rows in (shuffled.fetched, shuffled.clean, shuffled.clean_dropped, shuffled.split_dropped, shuffled.classes):
        dice.shuffle(rows)
    assert made.look() == shuffled.look()
