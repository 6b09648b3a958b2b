import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbif_webdataset.errors import MissingPieceError, ParameterError, SelectionError
from gbif_webdataset.split.split_dataset import (
    SPLITS,
    TEST,
    TRAIN,
    VAL,
    Fractions,
    How,
    Limits,
    deal,
    deal_class,
    goal,
)
from gbif_webdataset.storage import tables

COLUMNS = ("coreid", "identifier", "image_path", "datasetKey", "speciesKey", "class", "note")
SCHEMA = pa.schema([*((name, pa.string()) for name in COLUMNS), ("width", pa.int32())])
HALF = Fractions(test=0.25, val=0.25)


def image(occurrence: str, number: int, label: str | None, **columns: Any) -> dict[str, Any]:
    row = {
        "coreid": occurrence,
        "identifier": f"http://a.org/{occurrence}/{number}",
        "image_path": f"d1/{occurrence}_{number}.jpg",
        "datasetKey": "d1",
        "speciesKey": label,
        "class": "Insecta",
        "note": None,
        "width": 640,
    }
    return row | columns


def singles(label: str, count: int) -> list[dict[str, Any]]:
    return [image(f"{label}-{number:04}", 0, label) for number in range(count)]


class Room:
    """A folder with a table of clean images and the splits made from it."""

    def __init__(self, folder: Path, images: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.clean = folder / "clean.parquet"
        self.splits = folder / "splits"
        pq.write_table(pa.Table.from_pylist(images, SCHEMA), self.clean)

    def run(
        self,
        fractions: Fractions = HALF,
        limits: Limits = Limits(),  # noqa: B008
        key: str = "speciesKey",
        by_occurrence: bool = True,
        seed: int = 1,
    ) -> dict[str, int]:
        return deal(self.clean, self.splits, key, fractions, limits, by_occurrence, seed, self.folder / "scratch")

    def read(self, name: str) -> list[dict[str, str]]:
        with (self.splits / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            return sorted(csv.DictReader(file), key=lambda row: row["image_path"])

    def labels(self, name: str) -> Counter[str]:
        return Counter(row["speciesKey"] for row in self.read(name))

    def bytes(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.splits.iterdir()}


def test_each_class_gets_its_shares_and_a_rare_one_only_train(tmp_path: Path) -> None:
    room = Room(tmp_path, [*singles("0012", 40), *singles("6E4", 10), *singles("NA", 9), *singles("x", 1)])
    counts = room.run(Fractions(test=0.1, val=0.2))
    assert room.labels("test") == {"0012": 4, "6E4": 1}
    assert room.labels("val") == {"0012": 8, "6E4": 2, "NA": 2}
    assert room.labels("train") == {"0012": 28, "6E4": 7, "NA": 7, "x": 1}
    assert counts == {"train": 43, "val": 12, "test": 5, "no-label": 0}


def test_zero_fractions_leave_all_in_train_and_headers_in_the_rest(tmp_path: Path) -> None:
    room = Room(tmp_path, singles("a", 5))
    assert room.run(Fractions(test=0, val=0.0)) == {"train": 5, "val": 0, "test": 0, "no-label": 0}
    assert (room.splits / "val.csv").read_text() == ",".join(SCHEMA.names) + "\n"
    assert (room.splits / "test.csv").read_text() == ",".join(SCHEMA.names) + "\n"
    assert (room.splits / "dropped.csv").read_text() == "stage,reason,image_path,identifier,coreid\n"


def test_text_survives_the_csv_exactly(tmp_path: Path) -> None:
    notes = ["NA", "0012", "6E4", ' a, "b" ', "line\nline", "cr\r\nlf", "'", "#x", "\\N", "null", "\tä,", None]
    images = [image(f"o{number:02}", 0, "6E4", note=note) for number, note in enumerate(notes)]
    room = Room(tmp_path, images)
    room.run(Fractions(0, 0))
    with duckdb.connect() as connection:
        back = tables.fetch_rows(
            connection,
            f"SELECT note, speciesKey, width FROM {tables.csv_source(room.splits / 'train.csv')} ORDER BY image_path",
        )
    assert back == [(note, "6E4", "640") for note in notes]


def test_all_images_of_an_occurrence_are_in_one_split(tmp_path: Path) -> None:
    images = [image(f"o{number:02}", turn, "a") for number in range(30) for turn in range(1 + number % 4)]
    room = Room(tmp_path, images)
    room.run()
    homes = defaultdict(set)
    for split in SPLITS:
        for row in room.read(split):
            homes[row["coreid"]].add(split)
    assert len(homes) == 30
    assert all(len(splits) == 1 for splits in homes.values())
    assert {len(room.read("test")), len(room.read("val"))} == {goal(len(images), 0.25)}


def test_without_occurrences_images_are_dealt_one_by_one(tmp_path: Path) -> None:
    room = Room(tmp_path, [image("o1", number, "a") for number in range(20)])
    assert room.run(by_occurrence=False) == {"train": 10, "val": 5, "test": 5, "no-label": 0}


def test_an_occurrence_with_two_labels_is_dealt_under_the_smaller_text(tmp_path: Path) -> None:
    odd = [image("odd", 0, "b"), image("odd", 1, "a"), image("odd", 2, "b")]
    room = Room(tmp_path, [*odd, *singles("b", 3), image("plain", 0, "a")])
    counts = room.run(Fractions(0, 0), Limits(min_instances=4))
    assert counts == {"train": 4, "val": 0, "test": 0, "no-label": 0, "under-min-instances": 3}
    assert {row["coreid"] for row in room.read("train")} == {"odd", "plain"}


def test_images_without_label_are_dropped_and_named(tmp_path: Path) -> None:
    images = [image("o1", 0, "a"), image("o1", 1, None), image("o2", 0, ""), image("o3", 0, " ")]
    room = Room(tmp_path, images)
    assert room.run()["no-label"] == 3
    assert room.read("dropped") == [
        {
            "stage": "split",
            "reason": "no-label",
            "image_path": row["image_path"],
            "identifier": row["identifier"],
            "coreid": row["coreid"],
        }
        for row in images[1:]
    ]


def test_any_column_can_be_the_label_whatever_its_name(tmp_path: Path) -> None:
    room = Room(tmp_path, singles("a", 4) + singles("b", 4))
    assert room.run(key="class") == {"train": 4, "val": 2, "test": 2, "no-label": 0}


def test_a_roll_up_takes_the_nearest_rank_that_says_something(tmp_path: Path) -> None:
    rows = [
        {"coreid": str(number), "identifier": "", "image_path": f"{number}.jpg", "species": species, "genus": genus,
         "order": order, "label": "theirs"}
        for number, (species, genus, order) in enumerate([
            ("Arctia caja", "Arctia", "Lepidoptera"), (" ", "Arctia", "Lepidoptera"), (None, "", "Lepidoptera"),
            (None, None, None),
        ])
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "clean.parquet")
    counts = deal(tmp_path / "clean.parquet", tmp_path, "species", Fractions(0, 0), Limits(), True, 1,
                  tmp_path / "scratch", How(roll_up=True))  # fmt: skip
    with (tmp_path / "train.csv").open(newline="") as file:
        found = {row["image_path"]: row["label"] for row in csv.DictReader(file)}
    assert found == {"0.jpg": "Arctia caja", "1.jpg": "Arctia", "2.jpg": "Lepidoptera"}
    assert counts["no-label"] == 1


def hash_of(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.md5(f"{seed}|{text}".encode()).digest()[8:], "little")


def test_caps_keep_the_images_of_smallest_hash_in_each_split(tmp_path: Path) -> None:
    room = Room(tmp_path, [*singles("a", 40), *singles("b", 8)])
    room.run(seed=7)
    before = {split: room.read(split) for split in SPLITS}
    counts = room.run(seed=7, limits=Limits(max_instances=10))
    assert counts == {"train": 14, "val": 4, "test": 4, "no-label": 0, "over-max-instances": 26}
    for split, cap in (("train", 10), ("val", 2), ("test", 2)):
        expected = []
        for label in "ab":
            mine = [row for row in before[split] if row["speciesKey"] == label]
            mine.sort(key=lambda row: hash_of(7, row["image_path"]))
            expected += mine[:cap]
        assert room.read(split) == sorted(expected, key=lambda row: row["image_path"])
    assert {row["reason"] for row in room.read("dropped")} == {"over-max-instances"}


def test_a_cap_below_one_image_of_test_keeps_one(tmp_path: Path) -> None:
    room = Room(tmp_path, singles("a", 40))
    counts = room.run(Fractions(test=0.29, val=0.1), Limits(max_instances=2))
    assert counts == {"train": 2, "val": 1, "test": 1, "no-label": 0, "over-max-instances": 36}


def test_caps_do_not_suffer_from_binary_fractions(tmp_path: Path) -> None:
    room = Room(tmp_path, singles("a", 200))
    assert int(100 * 0.29) == 28
    assert room.run(Fractions(test=0.29, val=0), Limits(max_instances=100))["test"] == 29


def test_classes_below_the_minimum_in_train_go_altogether(tmp_path: Path) -> None:
    room = Room(tmp_path, [*singles("a", 20), *singles("b", 8), *singles("c", 10)])
    counts = room.run(limits=Limits(max_instances=9, min_instances=5))
    assert room.labels("train") == {"a": 9}
    assert room.labels("test") == {"a": 2}
    assert counts == {
        "train": 9,
        "val": 2,
        "test": 2,
        "no-label": 0,
        "over-max-instances": (1 + 3 + 3) + 0 + (0 + 1 + 1),
        "under-min-instances": (4 + 2 + 2) + (4 + 2 + 2),
    }


def test_the_order_of_rows_changes_nothing_and_the_seed_changes_the_split(tmp_path: Path) -> None:
    images = [image(f"o{number:02}", turn, "ab"[number % 2]) for number in range(40) for turn in range(1 + number % 3)]
    made = []
    for name, rows, seed in (("a", images, 1), ("b", images[::-1], 1), ("c", images, 2)):
        (tmp_path / name).mkdir()
        room = Room(tmp_path / name, rows)
        room.run(seed=seed, limits=Limits(max_instances=20))
        made.append(room.bytes())
    assert made[0] == made[1]
    assert made[0]["test.csv"] != made[2]["test.csv"]


@pytest.mark.parametrize("by_occurrence", [True, False])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_smallest_hashes_go_to_test_and_the_next_to_val(tmp_path: Path, seed: int, by_occurrence: bool) -> None:
    room = Room(tmp_path, singles("a", 40))
    room.run(seed=seed, by_occurrence=by_occurrence)
    name = "coreid" if by_occurrence else "image_path"
    hashes = {split: [hash_of(seed, row[name]) for row in room.read(split)] for split in SPLITS}
    assert {split: len(found) for split, found in hashes.items()} == {"train": 20, "val": 10, "test": 10}
    assert max(hashes["test"]) < min(hashes["val"])
    assert max(hashes["val"]) < min(hashes["train"])


def test_the_deal_of_a_class_does_not_depend_on_other_classes(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    both = Room(tmp_path / "with", [*singles("a", 30), *singles("b", 30)])
    alone = Room(tmp_path / "without", singles("b", 30))
    both.run()
    alone.run()
    for split in SPLITS:
        assert [row for row in both.read(split) if row["speciesKey"] == "b"] == alone.read(split)


def test_many_classes_over_several_batches_are_all_dealt_exactly(tmp_path: Path) -> None:
    count = 200_000
    labels = [f"k{number % 1000:04}" if number % 5 else "big" for number in range(count)]
    images = {
        "coreid": [f"{number:06}" for number in range(count)],
        "identifier": ["u"] * count,
        "image_path": [f"d1/{number:06}.jpg" for number in range(count)],
        "speciesKey": labels,
    }
    pq.write_table(pa.table(images), tmp_path / "clean.parquet", row_group_size=10_000)
    deal(
        tmp_path / "clean.parquet", tmp_path, "speciesKey", Fractions(0.2, 0.1), Limits(), True, 1, tmp_path / "scratch"
    )
    sizes = Counter(labels)
    seen = set()
    for split, fraction in (("test", 0.2), ("val", 0.1), ("train", 0.7)):
        with (tmp_path / f"{split}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert all(row["speciesKey"] == labels[int(row["coreid"])] for row in rows)
        assert Counter(row["speciesKey"] for row in rows) == {label: round(n * fraction) for label, n in sizes.items()}
        seen |= {row["image_path"] for row in rows}
    assert len(seen) == count


def test_an_unknown_label_column_gets_the_names_that_would_do(tmp_path: Path) -> None:
    room = Room(tmp_path, singles("a", 3))
    with pytest.raises(SelectionError) as caught:
        room.run(key="specieskey")
    assert "'specieskey'" in str(caught.value)
    assert "datasetKey, speciesKey, class" in str(caught.value)
    assert "note" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "limits", "words"),
    [
        ([], Limits(), "no images"),
        ([image("o1", 0, None)], Limits(), "speciesKey is empty for all 1 images"),
        (singles("a", 3), Limits(min_instances=4), "min_instances"),
        (singles("a", 9), Limits(max_instances=2, min_instances=3), "over-max-instances 5"),
    ],
)
def test_emptying_everything_names_the_rule(
    tmp_path: Path, images: list[dict[str, Any]], limits: Limits, words: str
) -> None:
    room = Room(tmp_path, images)
    with pytest.raises(SelectionError, match=words):
        room.run(limits=limits)
    assert not room.splits.exists()


def test_a_row_without_occurrence_is_never_lost_in_silence(tmp_path: Path) -> None:
    room = Room(tmp_path, [*singles("a", 4), image("x", 0, "a", coreid=None)])
    with pytest.raises(MissingPieceError, match="5 rows"):
        room.run()
    assert list(room.splits.iterdir()) == []


@pytest.mark.parametrize(("test", "val"), [(-0.1, 0), (1, 0), (0, 1.0), (0.5, 0.5), (float("nan"), 0), (0.9, 0.1)])
def test_fractions_that_leave_nothing_to_train_are_refused(test: float, val: float) -> None:
    with pytest.raises(ParameterError, match="frac"):
        Fractions(test=test, val=val)


@pytest.mark.parametrize("name", ["max_instances", "min_instances"])
def test_negative_limits_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=name):
        Limits(**{name: -1})


@pytest.mark.parametrize(
    ("images", "fraction", "wanted"),
    [(9, 0.1, 0), (10, 0.1, 1), (15, 0.1, 2), (14, 0.1, 1), (3, 0.3, 0), (4, 0.3, 1), (5, 0, 0), (100, 0.145, 15)],
)
def test_goals_are_rounded_half_up_and_none_below_one_image(images: int, fraction: float, wanted: int) -> None:
    assert goal(images, fraction) == wanted


@pytest.mark.parametrize(
    ("sizes", "test", "val", "dealt"),
    [
        ([1, 1, 1, 1], 0.25, 0.25, [TEST, VAL, TRAIN, TRAIN]),
        ([5, 1, 4, 2, 8], 0.25, 0.1, [TEST, VAL, TRAIN, TRAIN, TRAIN]),
        ([9, 3, 2, 6], 0.2, 0.1, [TRAIN, TEST, VAL, TRAIN]),
        ([12, 4, 4], 0.1, 0, [TRAIN, TRAIN, TRAIN]),
        ([12, 3, 5], 0.1, 0, [TRAIN, TEST, TRAIN]),
        ([8, 2, 2], 0.1, 0, [TRAIN, TRAIN, TRAIN]),
        ([10], 0.6, 0.3, [TRAIN]),
        ([1, 1], 0.9, 0, [TEST, TRAIN]),
    ],
)
def test_groups_are_taken_in_order_while_they_fit(sizes: list[int], test: float, val: float, dealt: list[int]) -> None:
    assert list(deal_class(sizes, Fractions(test=test, val=val))) == dealt


hundredths = st.integers(0, 99)
shares = st.tuples(hundredths, hundredths).filter(lambda pair: sum(pair) < 100)


def target(images: int, hundredth: int) -> int:
    """Counted in whole numbers: half up of images * hundredth / 100, none below one."""
    return (2 * images * hundredth + 100) // 200 if images * hundredth >= 100 else 0


@given(count=st.integers(1, 400), share=shares)
def test_groups_of_one_image_are_dealt_exactly(count: int, share: tuple[int, int]) -> None:
    dealt = deal_class([1] * count, Fractions(test=share[0] / 100, val=share[1] / 100))
    test = min(target(count, share[0]), count - 1)
    val = min(target(count, share[1]), count - 1 - test)
    assert Counter(dealt) == Counter({TEST: test, VAL: val, TRAIN: count - test - val})
    assert list(dealt) == sorted(dealt, key=[TEST, VAL, TRAIN].index)


@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=60), share=shares)
def test_no_split_overshoots_but_by_one_smallest_group(sizes: list[int], share: tuple[int, int]) -> None:
    dealt = deal_class(sizes, Fractions(test=share[0] / 100, val=share[1] / 100))
    assert TRAIN in dealt
    rest = sizes
    for split, hundredth in ((TEST, share[0]), (VAL, share[1])):
        wanted = target(sum(sizes), hundredth)
        taken = [size for size, home in zip(sizes, dealt, strict=True) if home == split]
        assert sum(taken) <= wanted or (len(taken) == 1 and taken[0] == min(rest) < 2 * wanted)
        left = rest.copy()
        for size in taken:
            left.remove(size)
        if len(left) > 1:
            assert all(sum(taken) + size > wanted for size in left)
            assert taken or min(left) >= 2 * wanted
        rest = left


@settings(max_examples=20, deadline=None)
@given(
    groups=st.lists(
        st.tuples(st.sampled_from([None, "a", "b", "0012"]), st.integers(1, 5)), min_size=1, max_size=25
    ).filter(lambda groups: any(label for label, _ in groups)),
    share=shares,
    maximum=st.integers(0, 6),
    by_occurrence=st.booleans(),
)
def test_every_image_is_in_one_file_and_limits_hold(
    tmp_path_factory: pytest.TempPathFactory,
    groups: list[tuple[str | None, int]],
    share: tuple[int, int],
    maximum: int,
    by_occurrence: bool,
) -> None:
    images = [
        image(f"o{number:02}", turn, label) for number, (label, size) in enumerate(groups) for turn in range(size)
    ]
    room = Room(tmp_path_factory.mktemp("split"), images)
    fractions = Fractions(test=share[0] / 100, val=share[1] / 100)
    counts = room.run(fractions, Limits(max_instances=maximum), by_occurrence=by_occurrence)
    files = {name: [row["image_path"] for row in room.read(name)] for name in (*SPLITS, "dropped")}
    assert sorted(path for paths in files.values() for path in paths) == sorted(row["image_path"] for row in images)
    assert {split: len(files[split]) for split in SPLITS} == {split: counts[split] for split in SPLITS}
    assert Counter(row["reason"] for row in room.read("dropped")) == Counter(
        {reason: count for reason, count in counts.items() if reason not in SPLITS and count}
    )
    if maximum:
        caps = {"train": maximum, "test": max(1, maximum * share[0] // 100), "val": max(1, maximum * share[1] // 100)}
        for split, cap in caps.items():
            assert max(room.labels(split).values(), default=0) <= cap
    assert room.labels("train").keys() == {label for label, _ in groups if label}
