import csv
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbif_webdataset.clean.clean_dataset import Filters, Step, clean
from gbif_webdataset.errors import MissingPieceError, ParameterError, SelectionError

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("coreid", "identifier", "image_path", "datasetKey", "speciesKey", "class")),
        *((name, pa.string()) for name in ("lifeStage", "countryCode", "error")),
        ("valid", pa.bool_()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("flat", pa.bool_()),
    ]
)
OFF = Filters(remove_duplicate_url="none")


def image(name: str, **columns: Any) -> dict[str, Any]:
    row = {
        "coreid": f"c{name}",
        "identifier": f"http://a.org/{name}",
        "image_path": f"d1/{name}.jpg",
        "datasetKey": "d1",
        "speciesKey": "0012",
        "class": "Insecta",
        "lifeStage": None,
        "countryCode": "NA",
        "error": None,
        "valid": True,
        "width": 640,
        "height": 480,
        "flat": False,
    }
    return row | columns


class Room:
    """A folder with the files that `clean` reads and writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / "clean.parquet"
        self.dropped = folder / "dropped.parquet"

    def run(
        self,
        images: list[dict[str, Any]],
        filters: Filters = OFF,
        deleted: list[dict[str, Any]] | None = None,
        without: tuple[str, ...] = (),
    ) -> list[Step]:
        schema = pa.schema([field for field in SCHEMA if field.name not in without])
        pq.write_table(pa.Table.from_pylist(images, schema), self.folder / "verified.parquet")
        with (self.folder / "deleted.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image_path", "identifier", "reason", "deleted_at"])
            for row in deleted or []:
                writer.writerow([row["image_path"], row["identifier"], "asked for", "2026-01-01T00:00:00Z"])
        return clean(
            self.folder / "verified.parquet",
            self.folder / "deleted.csv",
            self.target,
            self.dropped,
            filters,
            self.folder / "scratch",
        )

    def predictions(self, content: str | bytes) -> Path:
        path = self.folder / "predictions.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def kept(self) -> list[str]:
        return sorted(str(path) for path in pq.read_table(self.target).column("image_path").to_pylist())

    def reasons(self) -> dict[str, tuple[str, str]]:
        return {row["image_path"]: (row["stage"], row["reason"]) for row in pq.read_table(self.dropped).to_pylist()}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_kept_rows_are_unchanged(room: Room) -> None:
    images = [image("b", speciesKey="6E4"), image("a", speciesKey="5WZLF", lifeStage=' "x", y'), image("c")]
    steps = room.run(images)
    table = pq.read_table(room.target)
    assert table.schema.equals(SCHEMA)
    assert sorted(table.to_pylist(), key=lambda row: row["image_path"]) == [images[1], images[0], images[2]]
    assert pq.read_table(room.dropped).num_rows == 0
    assert steps == [Step("delete", "deleted", 3, 3)]


def test_each_row_gets_its_first_reason_and_the_funnel_counts_it_once(room: Room) -> None:
    small = {"width": 99, "height": 480}
    images = [
        image("a1", valid=False, error="truncated", **small),
        image("a2", valid=False, error="bad-header"),
        image("a3", valid=False, error="truncated"),
        image("b1", datasetKey="d9", **small),
        image("c1", datasetKey="d9", **small),
        image("d1", width=640, height=99, lifeStage="larva"),
        image("d2", width=100, height=100, lifeStage=" ADULT "),
        image("e1", lifeStage="Larva"),
        image("f1", lifeStage="  "),
        image("g1", lifeStage="Imago", identifier="http://a.org/twice"),
        image("g2", lifeStage="Adult", identifier="http://a.org/twice"),
        image("g0", lifeStage="Larva", identifier="http://a.org/twice"),
    ]
    filters = Filters("all-but-one", ("d9", "not-here"), 100, remove_non_adults=True)
    steps = room.run(images, filters, deleted=[images[0], images[3]])
    assert steps == [
        Step("verify", "bad-header", 12, 11),
        Step("verify", "truncated", 11, 9),
        Step("delete", "deleted", 9, 8),
        Step("clean", "ignored-dataset", 8, 7),
        Step("clean", "thumbnail", 7, 6),
        Step("clean", "not-adult", 6, 4),
        Step("clean", "life-stage-unknown", 4, 3),
        Step("clean", "duplicate-url", 3, 2),
    ]
    assert room.reasons() == {
        "d1/a1.jpg": ("verify", "truncated"),
        "d1/a2.jpg": ("verify", "bad-header"),
        "d1/a3.jpg": ("verify", "truncated"),
        "d1/b1.jpg": ("delete", "deleted"),
        "d1/c1.jpg": ("clean", "ignored-dataset"),
        "d1/d1.jpg": ("clean", "thumbnail"),
        "d1/e1.jpg": ("clean", "not-adult"),
        "d1/g0.jpg": ("clean", "not-adult"),
        "d1/f1.jpg": ("clean", "life-stage-unknown"),
        "d1/g2.jpg": ("clean", "duplicate-url"),
    }
    assert room.kept() == ["d1/d2.jpg", "d1/g1.jpg"]
    table = pq.read_table(room.dropped)
    assert table.column_names == ["stage", "reason", "image_path", "identifier", "coreid"]
    paths = table.column("image_path").to_pylist()
    assert paths == sorted(paths)


def test_flat_images_go_where_asked_for_and_what_is_not_known_to_be_flat_stays(room: Room) -> None:
    images = [image("a", flat=True), image("b"), image("c", flat=None), image("d", flat=True, width=9)]
    filters = Filters("none", thumb_size=64, remove_flat=True)
    assert room.run(images, filters)[-2:] == [Step("clean", "thumbnail", 4, 3), Step("clean", "flat", 3, 2)]
    assert room.reasons()["d1/a.jpg"] == ("clean", "flat")
    assert room.kept() == ["d1/b.jpg", "d1/c.jpg"]
    room.run(images)
    assert len(room.kept()) == 4
    with pytest.raises(SelectionError, match="remove_flat"):
        room.run(images[:1], filters)


def test_an_image_is_deleted_only_where_path_and_url_both_match(room: Room) -> None:
    images = [image("a"), image("b")]
    other_url = images[1] | {"identifier": "http://a.org/older"}
    room.run(images, deleted=[images[0], other_url, images[0]])
    assert room.kept() == ["d1/b.jpg"]


@pytest.mark.parametrize(
    ("choice", "kept"), [("none", ["a", "b", "c", "x"]), ("all-but-one", ["a", "x"]), ("all", ["x"])]
)
def test_of_a_url_that_stands_in_several_rows_the_first_path_stays(room: Room, choice: str, kept: list[str]) -> None:
    images = [image(name, identifier="http://a.org/same") for name in "cab"] + [image("x")]
    room.run(images, Filters(choice))
    assert room.kept() == [f"d1/{name}.jpg" for name in kept]


def test_a_url_that_occurs_once_among_the_rows_left_is_no_duplicate(room: Room) -> None:
    images = [image("a", identifier="http://a.org/same", valid=False, error="truncated")]
    images.append(image("b", identifier="http://a.org/same"))
    steps = room.run(images, Filters("all"))
    assert room.kept() == ["d1/b.jpg"]
    assert steps[-1] == Step("clean", "duplicate-url", 1, 1)


def test_predictions_speak_only_where_the_archive_is_silent(room: Room) -> None:
    path = room.predictions(
        "\ufefflife_stage_prediction,score,image_path\r\n"
        "larva,0.9,d1/a.jpg\r\n"
        '" Adult ",0.9,images/d1/b.jpg\r\n'
        "larva,0.9,d1/c.jpg\r\n"
        "\r\n"
        ",0.9,d1/d.jpg\r\n"
        "adult,0.8,d1/b.jpg\r\n"
        "adult,0.8,elsewhere/b.jpg\r\n"
    )
    images = [image("a", lifeStage="Adult"), *(image(name) for name in "bcde")]
    room.run(images, Filters("none", remove_non_adults=True, life_stage_predictions=path))
    assert room.kept() == ["d1/a.jpg", "d1/b.jpg"]
    assert room.reasons() == {
        "d1/c.jpg": ("clean", "not-adult"),
        "d1/d.jpg": ("clean", "life-stage-unknown"),
        "d1/e.jpg": ("clean", "life-stage-unknown"),
    }


def test_predictions_do_for_an_archive_without_the_column(room: Room) -> None:
    path = room.predictions("image_path,life_stage_prediction\nd1/a.jpg,imago\n")
    filters = Filters("none", remove_non_adults=True, life_stage_predictions=path)
    room.run([image("a"), image("b")], filters, without=("lifeStage",))
    assert room.kept() == ["d1/a.jpg"]


HEAD = b"image_path,life_stage_prediction\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["No such file"]),
        (b"", ["no column image_path"]),
        (b"image_path;life_stage_prediction\nd1/a.jpg;adult\n", ["no column image_path"]),
        (b"image_path,stage\nd1/a.jpg,adult\n", ["no column life_stage_prediction"]),
        (HEAD + b"d1/a.jpg,adult\nd1/b.jpg,\xe4dult\n", ["line 3", "UTF-8"]),
        (HEAD + b"d1/a.jpg\n", ["line 2", "1 fields"]),
        (HEAD + b'd1/a.jpg,"adult\n', ["line 2"]),
        (HEAD + b"d7/a.jpg,adult\n", ["not one image_path"]),
        (HEAD, ["not one image_path"]),
        (HEAD + b"d1/a.jpg,adult\nd1/b.jpg,adult\nimages/d1/a.jpg,Pupa\n", ["d1/a.jpg", "line 2", "line 4", "pupa"]),
    ],
)
def test_bad_predictions_get_a_sentence_with_file_and_place(
    room: Room, content: bytes | None, words: list[str]
) -> None:
    path = room.folder / "predictions.csv"
    if content is not None:
        path.write_bytes(content)
    filters = Filters("none", remove_non_adults=True, life_stage_predictions=path)
    with pytest.raises(ParameterError) as caught:
        room.run([image("a"), image("b")], filters)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in [str(path), *words]:
        assert word in sentence
    assert not room.target.exists()


@pytest.mark.parametrize(
    ("filters", "missing"),
    [(Filters(remove_non_adults=True), "lifeStage"), (Filters(ignore_dataset_by_key=("d1",)), "datasetKey")],
)
def test_a_filter_without_its_column_is_an_error(room: Room, filters: Filters, missing: str) -> None:
    with pytest.raises(SelectionError, match=missing):
        room.run([image("a")], filters, without=(missing,))


def test_an_archive_without_optional_columns_passes_when_their_filters_are_off(room: Room) -> None:
    room.run([image("a")], Filters(thumb_size=10), without=("lifeStage", "datasetKey"))
    assert room.kept() == ["d1/a.jpg"]


def test_emptying_everything_names_the_filter_and_the_numbers(room: Room) -> None:
    images = [image("a", valid=False, error="truncated"), image("b"), image("c")]
    with pytest.raises(SelectionError) as caught:
        room.run(images, Filters(thumb_size=1000))
    sentence = str(caught.value)
    assert "'thumbnail'" in sentence
    assert "clean thumbnail 2 -> 0" in sentence
    assert "verify truncated 3 -> 2" in sentence
    assert "thumb_size" in sentence
    assert not room.target.exists()
    assert not room.dropped.exists()


def test_all_images_corrupt_names_the_error(room: Room) -> None:
    with pytest.raises(SelectionError, match=r"verify 'truncated'.*errors\.csv"):
        room.run([image("a", valid=False, error="truncated")])


def test_no_image_at_all_is_an_error(room: Room) -> None:
    with pytest.raises(SelectionError, match="no images"):
        room.run([])


def test_a_path_that_stands_twice_is_a_broken_table(room: Room) -> None:
    with pytest.raises(MissingPieceError, match=r"d1/a\.jpg"):
        room.run([image("a"), image("b"), image("a", valid=False, error="truncated")])
    assert not room.target.exists()


@pytest.mark.parametrize(("name", "value"), [("remove_duplicate_url", "some"), ("thumb_size", -1)])
def test_a_filter_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=name):
        Filters(**{name: value})


def test_tables_of_several_row_groups_keep_their_rows_together(room: Room) -> None:
    count = 150_000
    images = {
        "coreid": [f"{number:06}" for number in range(count)],
        "identifier": [f"u{number % 140_000}" for number in range(count)],
        "image_path": [f"d1/{number:06}.jpg" for number in range(count)],
        "valid": [number % 3 != 0 for number in range(count)],
        "error": ["truncated" if number % 3 == 0 else None for number in range(count)],
    }
    pq.write_table(pa.table(images), room.folder / "verified.parquet", row_group_size=10_000)
    (room.folder / "deleted.csv").write_text("image_path,identifier,reason,deleted_at\n")
    clean(
        room.folder / "verified.parquet", room.folder / "deleted.csv", room.target, room.dropped, Filters(), room.folder
    )
    kept = [int(path[3:-4]) for path in room.kept()]
    valid = {number for number in range(count) if number % 3}
    assert kept == sorted(number for number in valid if number < 140_000 or number - 140_000 not in valid)
    table = pq.read_table(room.target)
    assert all(
        path == f"d1/{key}.jpg"
        for key, path in zip(table["coreid"].to_pylist(), table["image_path"].to_pylist(), strict=True)
    )
    assert pq.read_table(room.dropped).num_rows == count - len(kept)


stages = st.sampled_from([None, "", "Adult", "imago", "Larva", "adult "])


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(1, 4), stages, st.integers(0, 5), st.booleans()), min_size=1),
    choice=st.sampled_from(["none", "all-but-one", "all"]),
    thumb_size=st.integers(0, 3),
    adults=st.booleans(),
    shuffled=st.randoms(use_true_random=False),
)
def test_every_row_is_kept_or_dropped_and_order_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[bool, int, str | None, int, bool]],
    choice: str,
    thumb_size: int,
    adults: bool,
    shuffled: random.Random,
) -> None:
    images = [
        image(
            f"{number:03}",
            valid=valid,
            error=None if valid else "truncated",
            width=width,
            lifeStage=stage,
            identifier=f"http://a.org/{url}",
        )
        for number, (valid, width, stage, url, _) in enumerate(rows)
    ]
    deleted = [one for one, row in zip(images, rows, strict=True) if row[-1]]
    left = [
        one
        for one, (valid, width, stage, _, gone) in zip(images, rows, strict=True)
        if valid and not gone and width >= thumb_size
        if not adults or (stage or "").strip().lower() in ("adult", "imago")
    ]
    urls = [one["identifier"] for one in left]
    if choice == "all":
        left = [one for one in left if urls.count(one["identifier"]) == 1]
    elif choice == "all-but-one":
        left = [one for place, one in enumerate(left) if one["identifier"] not in urls[:place]]
    filters = Filters(choice, (), thumb_size, adults)
    room = Room(tmp_path_factory.mktemp("clean"))
    if not left:
        with pytest.raises(SelectionError):
            room.run(images, filters, deleted)
        return
    steps = room.run(images, filters, deleted)
    assert sorted(pq.read_table(room.target).to_pylist(), key=lambda row: row["image_path"]) == left
    assert set(room.reasons()) == {one["image_path"] for one in images} - {one["image_path"] for one in left}
    assert [step.before for step in steps] == [len(images), *(step.after for step in steps[:-1])]
    assert steps[-1].after == len(left)
    mixed = images.copy()
    shuffled.shuffle(mixed)
    other = Room(tmp_path_factory.mktemp("clean"))
    other.run(mixed, filters, deleted)
    assert other.target.read_bytes() == room.target.read_bytes()
    assert other.dropped.read_bytes() == room.dropped.read_bytes()
