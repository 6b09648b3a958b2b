"""Images that are the same: found, one of each group kept, or none where the labels differ; the rest untouched."""

import hashlib
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ImageOps

from gbif_webdataset.clean.clean_dataset import Filters, Step, clean
from gbif_webdataset.clean.duplicates import GROUPS, Duplicates
from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.verify.check_image import check_image
from tests.support.damage import draw_photos, encode

TEXTS = ("coreid", "identifier", "image_path", "acceptedTaxonKey", "error", "sha256", "perceptual_hash")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in TEXTS),
        *((name, pa.int32()) for name in ("width", "height", "file_size")),
        *((name, pa.bool_()) for name in ("valid", "flat")),
    ]
)


def image(name: str, label: str | None = "5WZLF", sha256: str = "", near: int | None = None, **columns: Any) -> dict:
    number = int(hashlib.md5(name.encode()).hexdigest()[:16], 16) if near is None else near
    return {
        "coreid": f"c{name}", "identifier": f"http://a.org/{name}", "image_path": f"d1/{name}.jpg",
        "acceptedTaxonKey": label, "error": None, "sha256": sha256 or name, "perceptual_hash": f"{number:016x}",
        "width": 640, "height": 480, "file_size": 1000, "valid": True, "flat": False,
    } | columns  # fmt: skip


class Room:
    """A folder in which images are cleaned of duplicates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, images: list[dict], without: tuple[str, ...] = (), **duplicates: Any) -> list[Step]:
        schema = pa.schema([field for field in SCHEMA if field.name not in without])
        pq.write_table(pa.Table.from_pylist(images, schema), self.folder / "verified.parquet")
        (self.folder / "deleted.csv").write_text("image_path,identifier,reason,deleted_at\n")
        names = ("verified.parquet", "deleted.csv", "clean.parquet", "dropped.parquet")
        filters = Filters(duplicates=Duplicates(**duplicates))
        paths = [self.folder / name for name in names]
        return clean(*paths, filters, self.folder / "scratch", self.folder / "duplicates.parquet")

    def kept(self) -> list[str]:
        rows = pq.read_table(self.folder / "clean.parquet").column("image_path").to_pylist()
        return sorted(path[3:-4] for path in rows)

    def reasons(self) -> dict[str, str]:
        rows = pq.read_table(self.folder / "dropped.parquet").to_pylist()
        return {row["image_path"][3:-4]: row["reason"] for row in rows}

    def groups(self) -> list[tuple]:
        table = pq.read_table(self.folder / "duplicates.parquet")
        assert table.schema.equals(GROUPS)
        return [
            (row["kind"], row["group"][3:-4], row["image_path"][3:-4], row["distance"], row["kept"])
            for row in table.to_pylist()
        ]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_of_the_same_bytes_under_several_urls_one_stays(room: Room) -> None:
    images = [image("c", sha256="x"), image("a", sha256="x"), image("b", sha256="x"), image("d"), image("e")]
    steps = room.run(images)
    assert room.kept() == ["a", "d", "e"]
    assert room.reasons() == {"b": "duplicate-content", "c": "duplicate-content"}
    exact = [("exact", "a", name, 0, name == "a") for name in "abc"]
    assert [group for group in room.groups() if group[0] == "exact"] == exact
    assert steps[-2:] == [Step("clean", "conflicting-labels", 5, 5), Step("clean", "duplicate-content", 5, 3)]


def test_where_the_labels_of_copies_differ_none_stays(room: Room) -> None:
    images = [image("a", "1", "x"), image("b", "2", "x"), image("c", "1", "x"), image("d", "2")]
    room.run(images)
    assert room.kept() == ["d"]
    assert set(room.reasons().values()) == {"conflicting-labels"}
    assert [group[-1] for group in room.groups() if group[0] == "exact"] == [False, False, False]


def test_an_empty_label_contradicts_none_and_the_labelled_copy_stays(room: Room) -> None:
    room.run([image("a", None, "x"), image("b", " ", "x"), image("c", "1", "x")])
    assert room.kept() == ["c"]


@pytest.mark.parametrize(("choice", "kept"), [("none", "abcd"), ("all-but-one", "d"), ("all", "d")])
def test_the_choice_says_what_goes_and_every_group_is_listed(room: Room, choice: str, kept: str) -> None:
    images = [image("a", "1", "x"), image("b", "2", "x"), image("c", "1", "x"), image("d")]
    room.run(images, content=choice)
    assert "".join(room.kept()) == kept
    assert len([group for group in room.groups() if group[0] == "exact"]) == 3


def test_what_is_dropped_before_is_no_ones_duplicate(room: Room) -> None:
    images = [image("a", "1", "x", valid=False, error="truncated"), image("b", "2", "x"), image("c")]
    room.run(images)
    assert room.kept() == ["b", "c"]
    assert room.groups() == []


def test_near_duplicates_are_listed_and_go_only_where_asked_for(room: Room) -> None:
    images = [
        image("a", near=0b0, width=10), image("b", near=0b111), image("c", near=0b111111 << 3),
        image("d", "other"), image("f", near=0b1, flat=True), image("g", near=None, perceptual_hash=None),
    ]  # fmt: skip
    room.run(images, distance=6)
    assert room.kept() == list("abcdfg")
    assert room.groups() == [("near", "a", "a", 3, True), ("near", "a", "b", 0, True), ("near", "a", "c", 9, True)]
    room.run(images, near="all-but-one", distance=6)
    assert room.kept() == list("bdfg")
    assert room.reasons() == {"a": "near-duplicate", "c": "near-duplicate"}
    room.run(images, near="all-but-one", distance=2)
    assert room.kept() == list("abcdfg")
    images[0]["acceptedTaxonKey"] = "2"
    room.run(images, near="all-but-one", distance=6)
    assert room.kept() == list("dfg")
    assert set(room.reasons().values()) == {"near-conflicting-labels"}


def test_an_image_that_stays_of_its_copies_can_be_the_near_duplicate_of_another(room: Room) -> None:
    images = [image("a", sha256="x", near=1), image("b", sha256="x", near=1), image("c", near=0, width=9999)]
    room.run(images, near="all-but-one")
    assert room.kept() == ["c"]
    assert room.reasons() == {"b": "duplicate-content", "a": "near-duplicate"}


def test_reencoded_and_scaled_photos_are_found_and_mirrored_ones_are_not(room: Room) -> None:
    images, expected = [], set()
    for number, photo in enumerate(draw_photos()):
        half = photo.resize((photo.width // 2, photo.height // 2))
        copies = {
            "whole": encode(photo, "JPEG", quality=90), "coarse": encode(photo, "JPEG", quality=60),
            "half": encode(half, "JPEG", quality=80), "mirrored": encode(ImageOps.mirror(photo), "JPEG", quality=90),
        }  # fmt: skip
        for kind, data in copies.items():
            path = room.folder / f"{number}-{kind}.jpg"
            path.write_bytes(data)
            found = check_image(path, hashlib.sha256(data).hexdigest(), 100_000_000)
            measured = {
                name: getattr(found, name) for name in ("sha256", "perceptual_hash", "width", "height", "file_size")
            }
            images.append(image(path.stem, **measured))
            if kind in ("coarse", "half"):
                expected.add(path.stem)
    room.run(images, near="all-but-one")
    assert set(room.reasons()) == expected
    assert {f"{number}-mirrored" for number in range(len(draw_photos()))} <= set(room.kept())


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    chance = random.Random(3)
    images = [
        image(f"{number:03}", chance.choice("111112"), f"s{chance.randrange(120)}", chance.getrandbits(9) << 20 * (number % 3))
        for number in range(150)
    ]  # fmt: skip
    made = []
    for name in "ab":
        (tmp_path / name).mkdir()
        room = Room(tmp_path / name)
        room.run(images, near="all-but-one", distance=1)
        files = ("clean.parquet", "dropped.parquet", "duplicates.parquet")
        made.append([(tmp_path / name / file).read_bytes() for file in files])
        chance.shuffle(images)
    assert made[0] == made[1]


def test_an_archive_without_the_usual_label_has_no_labels_to_compare(room: Room) -> None:
    images = [image("a", "1", "x"), image("b", "2", "x")]
    room.run(images, without=("acceptedTaxonKey",))
    assert room.kept() == ["a"]
    with pytest.raises(SelectionError, match="category_key 'speciesKey'"):
        room.run(images, category_key="speciesKey")


@pytest.mark.parametrize(("name", "value"), [("content", "some"), ("near", "some"), ("distance", -1), ("distance", 13)])
def test_a_choice_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ParameterError):
        Duplicates(**{name: value})
