"""Splits without leakage: what belongs together stays together, new images move few old ones, taxa are held out."""

import csv
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gbif_webdataset.account.split_summary import describe_splits
from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.split.assignment import HASHES, TEST, TRAIN, VAL, Fractions, deal_class
from gbif_webdataset.split.groups import Grouping
from gbif_webdataset.split.split_dataset import SPLITS, How, Limits, deal

COLUMNS = (
    *("coreid", "identifier", "image_path", "datasetKey", "speciesKey", "genusKey", "recordedBy", "eventDate"),
    *("eventID", "decimalLatitude", "decimalLongitude", "sha256"),
)
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
USUAL = Fractions(test=0.2, val=0.1)


def image(number: int, label: str = "a", **columns: Any) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS) | {
        "coreid": f"o{number:06}", "identifier": f"http://a.org/{number}", "image_path": f"d/{number:06}.jpg",
        "datasetKey": "d", "speciesKey": label, "genusKey": label[:1], "sha256": str(number),
    }  # fmt: skip
    return row | columns


class Room:
    """A folder in which images are dealt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, images: list[dict], *by: str, name: str = "splits", seed: int = 1, **how: Any) -> dict[str, int]:
        pq.write_table(pa.Table.from_pylist(images, SCHEMA), self.folder / "clean.parquet")
        how = {"to_the_image": False, "grouping": Grouping(by)} | how
        occurrences = how.pop("by_occurrence", True)
        self.splits = self.folder / name
        return deal(
            self.folder / "clean.parquet", self.splits, "speciesKey", USUAL, Limits(), occurrences, seed,
            self.folder / "scratch", How(**how),
        )  # fmt: skip

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.splits / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def homes(self) -> dict[str, str]:
        return {row["image_path"]: split for split in SPLITS for row in self.rows(split)}

    def leaks(self, split: str = "test") -> dict[str, str]:
        return {row["shares"]: row["shared"] for row in self.rows("leakage") if row["split"] == split}

    def near(self, groups: list[list[dict]]) -> Path:
        rows = [("near", group[0]["image_path"], one["image_path"]) for group in groups for one in group]
        path = self.folder / "duplicates.parquet"
        pq.write_table(pa.table(dict(zip(("kind", "group", "image_path"), zip(*rows, strict=True), strict=True))), path)
        return path


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def together(homes: dict[str, str], images: list[dict], *columns: str) -> bool:
    found = defaultdict(set)
    for one in images:
        if all((one[column] or "").strip() for column in columns):
            found[tuple(one[column] for column in columns)].add(homes[one["image_path"]])
    return all(len(splits) == 1 for splits in found.values()) and len(set().union(*found.values())) > 1


def planted(count: int = 1500, seed: int = 0) -> list[dict]:
    """Images of eight species by sixty observers, some unknown, on some of ten days, at a hundred places."""
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


@pytest.mark.parametrize("exact", [True, False])
def test_an_observers_images_are_in_one_split_whatever_their_classes(room: Room, exact: bool) -> None:
    images = planted()
    counts = room.run(images, "observer", to_the_image=exact)
    assert together(room.homes(), images, "recordedBy")
    assert sum(counts[split] for split in SPLITS) == len(images)
    assert 0.1 < counts["test"] / len(images) < 0.3
    assert 0.04 < counts["val"] / len(images) < 0.17
    assert room.leaks()["observer"] == "0"
    assert room.leaks()["near-duplicate"] == ""
    assert int(room.leaks()["place+date"]) > 0
    classes = {split: {row["speciesKey"] for row in room.rows(split)} for split in SPLITS}
    assert classes["train"] == set("abcdefgh")


def test_empty_values_group_nothing(room: Room) -> None:
    images = [image(number, recordedBy=" " if number % 2 else None) for number in range(100)]
    room.run(images, "observer", to_the_image=True)
    assert {split: len(room.rows(split)) for split in SPLITS} == {"train": 70, "val": 10, "test": 20}


def test_several_traits_have_to_agree_together(room: Room) -> None:
    images = planted()
    room.run(images, "observer+date")
    homes = room.homes()
    for one in images:
        one["day"] = one["eventDate"][:10]
        one["who"] = (one["recordedBy"] or "").strip()
    assert together(homes, images, "who", "day")
    assert not together(homes, images, "who")


def test_what_is_connected_through_something_else_stays_together(room: Room) -> None:
    images = planted(400)
    for number, one in enumerate(images):
        one["recordedBy"] = f"Observer {number // 4}"
        one["eventID"] = f"e{(number + 2) // 4}" if number % 40 > 1 else None
    groups = [[images[place], images[place + 41]] for place in range(0, 300, 80)]
    room.run(images, "observer", "event", "near-duplicates", duplicates=room.near(groups))
    homes = room.homes()
    assert together(homes, images, "recordedBy")
    assert together(homes, images, "eventID")
    for one, other in groups:
        assert homes[one["image_path"]] == homes[other["image_path"]]
    assert {name: room.leaks()[name] for name in ("observer", "event", "near-duplicate")} == dict.fromkeys(
        ("observer", "event", "near-duplicate"), "0"
    )


def test_a_place_is_a_cell_of_the_grid_and_unknown_places_are_none(room: Room) -> None:
    images = [
        image(4 * place + turn, decimalLatitude=f"{50.0021 + place / 50 + turn / 10_000}", decimalLongitude="10.0051")
        for place in range(60) for turn in range(4)
    ]  # fmt: skip
    images += [
        image(1000 + number, decimalLatitude=lat, decimalLongitude="0") for number, lat in enumerate(["0", "91", "x"])
    ]
    room.run(images, "place", grouping=Grouping(("place",), 1.0))
    homes = room.homes()
    split = [len({homes[one["image_path"]] for one in images[4 * place : 4 * place + 4]}) > 1 for place in range(60)]
    assert sum(split) <= 3  # at a cell's border
    assert len(homes) == len(images)


def test_near_duplicates_of_one_split_share_nothing_with_train(room: Room) -> None:
    images = planted(300)
    groups = [images[place : place + 2] for place in range(0, 300, 2)]
    duplicates = room.near(groups)
    room.run(images, duplicates=duplicates)
    leaks = int(room.leaks()["near-duplicate"])
    homes = room.homes()
    by_hand = sum(
        homes[one["image_path"]] == "test" and homes[other["image_path"]] == "train"
        for group in groups for one, other in (group, group[::-1])
    )  # fmt: skip
    assert leaks == by_hand > 0
    room.run(images, "near-duplicates", duplicates=duplicates)
    assert room.leaks()["near-duplicate"] == "0"


@pytest.mark.parametrize("by", [(), ("observer",)])
def test_a_tenth_more_occurrences_move_at_most_a_hundredth_of_the_old(room: Room, by: tuple[str, ...]) -> None:
    chance = random.Random(5)
    labels = [f"s{number}" for number in range(60)]
    weights = [1 / (1 + number) for number in range(60)]  # a long tail
    images = [
        image(number, chance.choices(labels, weights)[0], recordedBy=f"o{int(chance.lognormvariate(4, 1.5))}" if by else None)
        for number in range(6600)
    ]  # fmt: skip
    chance.shuffle(images)
    before, added = images[:6000], images
    room.run(before, *by)
    old = room.homes()
    room.run(added, *by)
    new = room.homes()
    assert sum(old[path] != new[path] for path in old) <= 0.01 * len(old)
    chance.shuffle(before)
    room.run(before, *by)
    assert room.homes() == old


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("by_occurrence", [True, False])
def test_with_previous_splits_no_old_image_moves(room: Room, exact: bool, by_occurrence: bool) -> None:
    images = planted(2000)
    how = {"to_the_image": exact, "by_occurrence": by_occurrence}
    room.run(images[:1000], name="before", **how)
    old = room.homes()
    room.run(images, name="after", previous=room.folder / "before", seed=9, **how)
    new = room.homes()
    assert {path: new[path] for path in old} == old
    shares = {split: sum(home == split for home in new.values()) / len(new) for split in SPLITS}
    assert shares["test"] == pytest.approx(0.2, abs=0.03)


def test_what_was_test_never_becomes_train_when_groups_meet(room: Room) -> None:
    images = planted(1000)
    room.run(images, name="before")
    old = room.homes()
    room.run(images, "observer", name="after", previous=room.folder / "before")
    new = room.homes()
    assert all(new[path] == "test" for path, home in old.items() if home == "test")


def test_a_folder_that_holds_no_splits_is_refused(room: Room) -> None:
    with pytest.raises(ParameterError, match=r"previous_splits: .*train\.csv"):
        room.run(planted(10), previous=room.folder)


def test_held_out_genera_are_in_no_split_and_all_there(room: Room) -> None:
    images = [image(number, f"{'abcdefghij'[number % 10]}{number % 30}") for number in range(600)]
    counts = room.run(images, holdout_key="genusKey", holdout_frac=0.2)
    held = {row["genusKey"] for row in room.rows("holdout")}
    assert held
    assert not held & {row["genusKey"] for split in SPLITS for row in room.rows(split)}
    assert len(room.rows("holdout")) == counts["holdout"] == 60 * len(held)
    assert room.rows("dropped") == []
    assert sum(counts.values()) == len(images)


def test_the_balance_lists_the_classes_furthest_off_first(room: Room) -> None:
    images = planted()
    room.run(images, "observer")
    rows = room.rows("balance")
    assert sum(int(row["images"]) for row in rows) == len(images)
    off = [max(abs(float(row["val_off"])), abs(float(row["test_off"]))) for row in rows]
    assert off == sorted(off, reverse=True)
    for row in rows:
        for split in SPLITS:
            assert int(row[split]) == sum(one["speciesKey"] == row["label"] for one in room.rows(split))
    told = describe_splits(room.splits, USUAL.val, USUAL.test)
    assert f"{rows[0]['label']}: {int(rows[0]['images']):,} images" in told
    assert "observer 0.000" in told


@pytest.mark.parametrize(("by", "error"), [("observers", ParameterError), ("observer+", ParameterError)])
def test_what_is_nothing_to_group_by_is_refused(by: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="group_by has"):
        Grouping((by,))


def test_a_column_that_is_missing_is_named(room: Room) -> None:
    pq.write_table(pa.Table.from_pylist([image(1)], SCHEMA).drop_columns(["recordedBy"]), room.folder / "clean.parquet")
    with pytest.raises(SelectionError, match=r"group_by observer .* no column recordedBy"):
        deal(
            room.folder / "clean.parquet", room.folder / "s", "speciesKey", USUAL, Limits(), True, 1,
            room.folder / "scratch", How(Grouping(("observer",))),
        )  # fmt: skip


def test_a_group_goes_where_its_own_hash_lies_and_each_class_keeps_one_in_train() -> None:
    hashes = [int(share * HASHES) for share in (0.05, 0.19, 0.25, 0.35, 0.6, 0.7, 0.8, 0.9)]
    assert list(deal_class([1] * 8, USUAL, hashes)) == [TEST, TEST, VAL, TRAIN, TRAIN, TRAIN, TRAIN, TRAIN]
    assert list(deal_class([1, 1], USUAL, [1, 2])) == [TEST, TRAIN]
