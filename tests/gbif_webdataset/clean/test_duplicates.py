import hashlib
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ImageOps

from gbif_webdataset.clean.clean_dataset import CleanFiles, Filters, Step, clean_dataset
from gbif_webdataset.clean.duplicates import GROUPS, DuplicateOptions
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


class CleanRun:
    """A folder in which duplicates are dropped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, images: list[dict], without: tuple[str, ...] = (), **options: Any) -> list[Step]:
        schema = pa.schema([field for field in SCHEMA if field.name not in without])
        pq.write_table(pa.Table.from_pylist(images, schema), self.folder / "verified.parquet")
        (self.folder / "deleted.csv").write_text("image_path,identifier,reason,deleted_at\n")
        names = ("verified.parquet", "deleted.csv", "clean.parquet", "dropped.parquet", "duplicates.parquet")
        filters = Filters(duplicates=DuplicateOptions(**options))
        return clean_dataset(CleanFiles(*(self.folder / name for name in names)), filters, self.folder / "scratch")

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
def cleaning(tmp_path: Path) -> CleanRun:
    return CleanRun(tmp_path)


def test_one_image_of_the_same_bytes_is_kept(cleaning: CleanRun) -> None:
    images = [image("c", sha256="x"), image("a", sha256="x"), image("b", sha256="x"), image("d"), image("e")]
    steps = cleaning.run(images)
    assert cleaning.kept() == ["a", "d", "e"]
    assert cleaning.reasons() == {"b": "duplicate-content", "c": "duplicate-content"}
    exact = [("exact", "a", name, 0, name == "a") for name in "abc"]
    assert [group for group in cleaning.groups() if group[0] == "exact"] == exact
    assert steps[-2:] == [Step("clean", "conflicting-labels", 5, 5), Step("clean", "duplicate-content", 5, 3)]


def test_all_copies_are_dropped_if_their_labels_differ(cleaning: CleanRun) -> None:
    images = [image("a", "1", "x"), image("b", "2", "x"), image("c", "1", "x"), image("d", "2")]
    cleaning.run(images)
    assert cleaning.kept() == ["d"]
    assert set(cleaning.reasons().values()) == {"conflicting-labels"}
    assert [group[-1] for group in cleaning.groups() if group[0] == "exact"] == [False, False, False]


def test_an_empty_label_contradicts_no_other_and_the_labelled_copy_is_kept(cleaning: CleanRun) -> None:
    cleaning.run([image("a", None, "x"), image("b", " ", "x"), image("c", "1", "x")])
    assert cleaning.kept() == ["c"]


@pytest.mark.parametrize(("choice", "kept"), [("none", "abcd"), ("all-but-one", "d"), ("all", "d")])
def test_the_choice_decides_what_is_dropped_and_every_group_is_listed(
    cleaning: CleanRun, choice: str, kept: str
) -> None:
    images = [image("a", "1", "x"), image("b", "2", "x"), image("c", "1", "x"), image("d")]
    cleaning.run(images, remove_duplicate_content=choice)
    assert "".join(cleaning.kept()) == kept
    assert len([group for group in cleaning.groups() if group[0] == "exact"]) == 3


def test_an_image_dropped_by_another_filter_is_nobodys_duplicate(cleaning: CleanRun) -> None:
    images = [image("a", "1", "x", valid=False, error="truncated"), image("b", "2", "x"), image("c")]
    cleaning.run(images)
    assert cleaning.kept() == ["b", "c"]
    assert cleaning.groups() == []


def test_near_duplicates_are_always_listed_and_dropped_on_request(cleaning: CleanRun) -> None:
    images = [
        image("a", near=0b0, width=10), image("b", near=0b111), image("c", near=0b111111 << 3),
        image("d", "other"), image("f", near=0b1, flat=True), image("g", near=None, perceptual_hash=None),
    ]  # fmt: skip
    cleaning.run(images, near_distance=6)
    assert cleaning.kept() == list("abcdfg")
    assert cleaning.groups() == [("near", "a", "a", 3, True), ("near", "a", "b", 0, True), ("near", "a", "c", 9, True)]
    cleaning.run(images, remove_near_duplicates="all-but-one", near_distance=6)
    assert cleaning.kept() == list("bdfg")
    assert cleaning.reasons() == {"a": "near-duplicate", "c": "near-duplicate"}
    cleaning.run(images, remove_near_duplicates="all-but-one", near_distance=2)
    assert cleaning.kept() == list("abcdfg")
    images[0]["acceptedTaxonKey"] = "2"
    cleaning.run(images, remove_near_duplicates="all-but-one", near_distance=6)
    assert cleaning.kept() == list("dfg")
    assert set(cleaning.reasons().values()) == {"near-conflicting-labels"}


def test_the_kept_copy_can_be_the_near_duplicate_of_another_image(cleaning: CleanRun) -> None:
    images = [image("a", sha256="x", near=1), image("b", sha256="x", near=1), image("c", near=0, width=9999)]
    cleaning.run(images, remove_near_duplicates="all-but-one")
    assert cleaning.kept() == ["c"]
    assert cleaning.reasons() == {"b": "duplicate-content", "a": "near-duplicate"}


def test_reencoded_and_scaled_photos_are_found_and_mirrored_ones_are_not(cleaning: CleanRun) -> None:
    images, expected = [], set()
    for number, photo in enumerate(draw_photos()):
        half = photo.resize((photo.width // 2, photo.height // 2))
        copies = {
            "whole": encode(photo, "JPEG", quality=90), "coarse": encode(photo, "JPEG", quality=60),
            "half": encode(half, "JPEG", quality=80), "mirrored": encode(ImageOps.mirror(photo), "JPEG", quality=90),
        }  # fmt: skip
        for kind, data in copies.items():
            path = cleaning.folder / f"{number}-{kind}.jpg"
            path.write_bytes(data)
            found = check_image(data, hashlib.sha256(data).hexdigest(), 100_000_000)
            measured = {
                name: getattr(found, name) for name in ("sha256", "perceptual_hash", "width", "height", "file_size")
            }
            images.append(image(path.stem, **measured))
            if kind in ("coarse", "half"):
                expected.add(path.stem)
    cleaning.run(images, remove_near_duplicates="all-but-one")
    assert set(cleaning.reasons()) == expected
    assert {f"{number}-mirrored" for number in range(len(draw_photos()))} <= set(cleaning.kept())


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    chance = random.Random(3)
    images = [
        image(f"{number:03}", chance.choice("111112"), f"s{chance.randrange(120)}", chance.getrandbits(9) << 20 * (number % 3))
        for number in range(150)
    ]  # fmt: skip
    made = []
    for name in "ab":
        (tmp_path / name).mkdir()
        cleaning = CleanRun(tmp_path / name)
        cleaning.run(images, remove_near_duplicates="all-but-one", near_distance=1)
        files = ("clean.parquet", "dropped.parquet", "duplicates.parquet")
        made.append([(tmp_path / name / file).read_bytes() for file in files])
        chance.shuffle(images)
    assert made[0] == made[1]


def test_cleaning_does_not_import_pandas(cleaning: CleanRun) -> None:
    """Importing pandas takes half a second and 50 MB."""
    cleaning.run([image("a", near=0), image("b", near=1), image("c")])
    (cleaning.folder / "predictions.csv").write_text("image_path,life_stage_prediction\nd1/a.jpg,adult\n")
    script = (
        "import sys; from pathlib import Path\n"
        "from gbif_webdataset.clean.clean_dataset import CleanFiles, Filters, clean_dataset\n"
        "folder = Path(sys.argv[1])\n"
        "names = ('verified.parquet', 'deleted.csv', 'clean.parquet', 'dropped.parquet', 'duplicates.parquet')\n"
        "filters = Filters(remove_non_adults=True, life_stage_predictions=folder / 'predictions.csv')\n"
        "clean_dataset(CleanFiles(*(folder / name for name in names)), filters, folder / 'scratch')\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, cleaning.folder], check=True, cwd=Path(__file__).parents[3])


def test_an_archive_without_the_default_label_column_has_no_labels_to_compare(cleaning: CleanRun) -> None:
    images = [image("a", "1", "x"), image("b", "2", "x")]
    cleaning.run(images, without=("acceptedTaxonKey",))
    assert cleaning.kept() == ["a"]
    with pytest.raises(
        SelectionError, match="--CleanDataset-category-key speciesKey: the archive has no such column; "
    ):
        cleaning.run(images, category_key="speciesKey")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("remove_duplicate_content", "some"),
        ("remove_near_duplicates", "some"),
        ("near_distance", -1),
        ("near_distance", 13),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=f"--CleanDataset-{name.replace('_', '-')} {value}: "):
        DuplicateOptions(**{name: value})
