import csv
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbif_webdataset.clean.clean_dataset import CleanFiles, Filters, Step, clean_dataset
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


class CleanRun:
    """A folder with the files that `clean_dataset` reads and writes."""

    def __init__(self, folder: Path) -> None:
        self.scratch = folder / "scratch"
        names = ("verified.parquet", "deleted.csv", "clean.parquet", "dropped.parquet", "duplicates.parquet")
        self.files = CleanFiles(*(folder / name for name in names))

    def run(
        self,
        images: list[dict[str, Any]],
        filters: Filters = OFF,
        deleted: list[dict[str, Any]] | None = None,
        without: tuple[str, ...] = (),
    ) -> list[Step]:
        schema = pa.schema([field for field in SCHEMA if field.name not in without])
        pq.write_table(pa.Table.from_pylist(images, schema), self.files.verified)
        with self.files.deleted.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image_path", "identifier", "reason", "deleted_at"])
            for row in deleted or []:
                writer.writerow([row["image_path"], row["identifier"], "asked for", "2026-01-01T00:00:00Z"])
        return clean_dataset(self.files, filters, self.scratch)

    def kept(self) -> list[str]:
        return sorted(str(path) for path in pq.read_table(self.files.clean).column("image_path").to_pylist())

    def reasons(self) -> dict[str, tuple[str, str]]:
        return {
            row["image_path"]: (row["stage"], row["reason"]) for row in pq.read_table(self.files.dropped).to_pylist()
        }


@pytest.fixture
def cleaning(tmp_path: Path) -> CleanRun:
    return CleanRun(tmp_path)


def test_kept_rows_are_unchanged(cleaning: CleanRun) -> None:
    images = [image("b", speciesKey="6E4"), image("a", speciesKey="5WZLF", lifeStage=' "x", y'), image("c")]
    steps = cleaning.run(images)
    table = pq.read_table(cleaning.files.clean)
    assert table.schema.equals(SCHEMA)
    assert sorted(table.to_pylist(), key=lambda row: row["image_path"]) == [images[1], images[0], images[2]]
    assert pq.read_table(cleaning.files.dropped).num_rows == 0
    assert steps == [Step("delete", "deleted", 3, 3)]


def test_each_row_has_its_first_reason_and_is_counted_once_in_the_funnel(cleaning: CleanRun) -> None:
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
    steps = cleaning.run(images, filters, deleted=[images[0], images[3]])
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
    assert cleaning.reasons() == {
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
    assert cleaning.kept() == ["d1/d2.jpg", "d1/g1.jpg"]
    table = pq.read_table(cleaning.files.dropped)
    assert table.column_names == ["stage", "reason", "image_path", "identifier", "coreid"]
    paths = table.column("image_path").to_pylist()
    assert paths == sorted(paths)


def test_flat_images_are_dropped_on_request_and_unmeasured_images_are_kept(cleaning: CleanRun) -> None:
    images = [image("a", flat=True), image("b"), image("c", flat=None), image("d", flat=True, width=9)]
    filters = Filters("none", thumb_size=64, remove_flat=True)
    assert cleaning.run(images, filters)[-2:] == [Step("clean", "thumbnail", 4, 3), Step("clean", "flat", 3, 2)]
    assert cleaning.reasons()["d1/a.jpg"] == ("clean", "flat")
    assert cleaning.kept() == ["d1/b.jpg", "d1/c.jpg"]
    cleaning.run(images)
    assert len(cleaning.kept()) == 4
    with pytest.raises(SelectionError, match="set --CleanDataset-remove-flat to false"):
        cleaning.run(images[:1], filters)


def test_an_image_counts_as_deleted_only_if_path_and_url_match(cleaning: CleanRun) -> None:
    images = [image("a"), image("b")]
    other_url = images[1] | {"identifier": "http://a.org/older"}
    cleaning.run(images, deleted=[images[0], other_url, images[0]])
    assert cleaning.kept() == ["d1/b.jpg"]


@pytest.mark.parametrize(
    ("choice", "kept"), [("none", ["a", "b", "c", "x"]), ("all-but-one", ["a", "x"]), ("all", ["x"])]
)
def test_the_choice_decides_how_many_images_of_a_url_are_kept(cleaning: CleanRun, choice: str, kept: list[str]) -> None:
    images = [image(name, identifier="http://a.org/same") for name in "cab"] + [image("x")]
    cleaning.run(images, Filters(choice))
    assert cleaning.kept() == [f"d1/{name}.jpg" for name in kept]


def test_a_url_that_one_remaining_image_has_is_no_duplicate(cleaning: CleanRun) -> None:
    images = [image("a", identifier="http://a.org/same", valid=False, error="truncated")]
    images.append(image("b", identifier="http://a.org/same"))
    steps = cleaning.run(images, Filters("all"))
    assert cleaning.kept() == ["d1/b.jpg"]
    assert steps[-1] == Step("clean", "duplicate-url", 1, 1)


def test_predictions_are_used_only_for_images_without_life_stage(cleaning: CleanRun, tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("image_path,life_stage_prediction\nd1/a.jpg,larva\nd1/b.jpg,adult\nd1/c.jpg,larva\nd1/d.jpg,\n")
    images = [image("a", lifeStage="Adult"), *(image(name) for name in "bcde")]
    cleaning.run(images, Filters("none", remove_non_adults=True, life_stage_predictions=path))
    assert cleaning.kept() == ["d1/a.jpg", "d1/b.jpg"]
    assert cleaning.reasons() == {
        "d1/c.jpg": ("clean", "not-adult"),
        "d1/d.jpg": ("clean", "life-stage-unknown"),
        "d1/e.jpg": ("clean", "life-stage-unknown"),
    }


def test_predictions_are_used_where_the_life_stage_is_unknown(cleaning: CleanRun, tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("image_path,life_stage_prediction\n" + "".join(f"d1/{name}.jpg,adult\n" for name in "abcd"))
    stages = dict(zip("abcde", ("Unknown", "Not recorded", "Larva", "Adulte", "Unknown"), strict=True))
    images = [image(name, lifeStage=stage) for name, stage in stages.items()]
    cleaning.run(images, Filters("none", remove_non_adults=True, life_stage_predictions=path))
    assert cleaning.kept() == ["d1/a.jpg", "d1/b.jpg", "d1/d.jpg"]
    assert cleaning.reasons() == {
        "d1/c.jpg": ("clean", "not-adult"),
        "d1/e.jpg": ("clean", "life-stage-unknown"),
    }


def test_predictions_suffice_for_an_archive_without_life_stages(cleaning: CleanRun, tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("image_path,life_stage_prediction\nd1/a.jpg,imago\n")
    filters = Filters("none", remove_non_adults=True, life_stage_predictions=path)
    cleaning.run([image("a"), image("b")], filters, without=("lifeStage",))
    assert cleaning.kept() == ["d1/a.jpg"]


def test_bad_predictions_leave_no_file(cleaning: CleanRun, tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("image_path\n")
    with pytest.raises(ParameterError, match="no column life_stage_prediction"):
        cleaning.run([image("a")], Filters("none", remove_non_adults=True, life_stage_predictions=path))
    assert not cleaning.files.clean.exists()


@pytest.mark.parametrize(
    ("filters", "missing"),
    [(Filters(remove_non_adults=True), "lifeStage"), (Filters(ignore_dataset_by_key=("d1",)), "datasetKey")],
)
def test_a_filter_whose_column_is_missing_is_an_error(cleaning: CleanRun, filters: Filters, missing: str) -> None:
    with pytest.raises(SelectionError, match=missing):
        cleaning.run([image("a")], filters, without=(missing,))


def test_an_archive_without_optional_columns_is_cleaned_if_their_filters_are_off(cleaning: CleanRun) -> None:
    cleaning.run([image("a")], Filters(thumb_size=10), without=("lifeStage", "datasetKey"))
    assert cleaning.kept() == ["d1/a.jpg"]


def test_an_empty_result_names_the_filter_and_the_numbers(cleaning: CleanRun) -> None:
    images = [image("a", valid=False, error="truncated"), image("b"), image("c")]
    with pytest.raises(SelectionError) as caught:
        cleaning.run(images, Filters(thumb_size=1000))
    sentence = str(caught.value)
    assert "'thumbnail'" in sentence
    assert "clean thumbnail 2 -> 0" in sentence
    assert "verify truncated 3 -> 2" in sentence
    assert sentence.endswith("; lower --CleanDataset-thumb-size")
    assert not cleaning.files.clean.exists()
    assert not cleaning.files.dropped.exists()


def test_a_dataset_with_only_corrupt_images_names_the_error(cleaning: CleanRun) -> None:
    with pytest.raises(SelectionError, match=r"verify 'truncated'.*errors\.csv"):
        cleaning.run([image("a", valid=False, error="truncated")])


def test_a_dataset_without_images_is_an_error(cleaning: CleanRun) -> None:
    with pytest.raises(SelectionError, match="no images, because none was downloaded"):
        cleaning.run([])


def test_the_same_image_path_in_two_rows_is_an_error(cleaning: CleanRun) -> None:
    with pytest.raises(MissingPieceError, match=r"d1/a\.jpg"):
        cleaning.run([image("a"), image("b"), image("a", valid=False, error="truncated")])
    assert not cleaning.files.clean.exists()


@pytest.mark.parametrize(("name", "value"), [("remove_duplicate_url", "some"), ("thumb_size", -1)])
def test_a_value_that_is_not_allowed_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=f"--CleanDataset-{name.replace('_', '-')} {value}: "):
        Filters(**{name: value})


def test_rows_of_several_row_groups_are_kept_unchanged(cleaning: CleanRun) -> None:
    count = 150_000
    images = {
        "coreid": [f"{number:06}" for number in range(count)],
        "identifier": [f"u{number % 140_000}" for number in range(count)],
        "image_path": [f"d1/{number:06}.jpg" for number in range(count)],
        "valid": [number % 3 != 0 for number in range(count)],
        "error": ["truncated" if number % 3 == 0 else None for number in range(count)],
    }
    pq.write_table(pa.table(images), cleaning.files.verified, row_group_size=10_000)
    cleaning.files.deleted.write_text("image_path,identifier,reason,deleted_at\n")
    clean_dataset(cleaning.files, Filters(), cleaning.scratch)
    kept = [int(path[3:-4]) for path in cleaning.kept()]
    valid = {number for number in range(count) if number % 3}
    assert kept == sorted(number for number in valid if number < 140_000 or number - 140_000 not in valid)
    table = pq.read_table(cleaning.files.clean)
    assert all(
        path == f"d1/{key}.jpg"
        for key, path in zip(table["coreid"].to_pylist(), table["image_path"].to_pylist(), strict=True)
    )
    assert pq.read_table(cleaning.files.dropped).num_rows == count - len(kept)


stages = st.sampled_from([None, "", "Adult", "imago", "Larva", "adult "])


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(1, 4), stages, st.integers(0, 5), st.booleans()), min_size=1),
    filters=st.builds(
        Filters,
        remove_duplicate_url=st.sampled_from(["none", "all-but-one", "all"]),
        thumb_size=st.integers(0, 3),
        remove_non_adults=st.booleans(),
    ),
    shuffled=st.randoms(use_true_random=False),
)
def test_every_row_is_kept_or_dropped_and_order_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[bool, int, str | None, int, bool]],
    filters: Filters,
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
        if valid and not gone and width >= filters.thumb_size
        if not filters.remove_non_adults or (stage or "").strip().lower() in ("adult", "imago")
    ]
    urls = [one["identifier"] for one in left]
    if filters.remove_duplicate_url == "all":
        left = [one for one in left if urls.count(one["identifier"]) == 1]
    elif filters.remove_duplicate_url == "all-but-one":
        left = [one for place, one in enumerate(left) if one["identifier"] not in urls[:place]]
    cleaning = CleanRun(tmp_path_factory.mktemp("clean"))
    if not left:
        with pytest.raises(SelectionError):
            cleaning.run(images, filters, deleted)
        return
    steps = cleaning.run(images, filters, deleted)
    assert sorted(pq.read_table(cleaning.files.clean).to_pylist(), key=lambda row: row["image_path"]) == left
    assert set(cleaning.reasons()) == {one["image_path"] for one in images} - {one["image_path"] for one in left}
    assert [step.before for step in steps] == [len(images), *(step.after for step in steps[:-1])]
    assert steps[-1].after == len(left)
    mixed = images.copy()
    shuffled.shuffle(mixed)
    other = CleanRun(tmp_path_factory.mktemp("clean"))
    other.run(mixed, filters, deleted)
    assert other.files.clean.read_bytes() == cleaning.files.clean.read_bytes()
    assert other.files.dropped.read_bytes() == cleaning.files.dropped.read_bytes()
