import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbif_webdataset.errors import MissingPieceError, SelectionError
from gbif_webdataset.split.fractions import Fractions
from gbif_webdataset.split.options import Limits
from gbif_webdataset.split.traits import Grouping
from gbif_webdataset.storage import tables
from gbif_webdataset.terms.splits import SPLITS_OF_CLASSES
from tests.support.split_run import SCHEMA, Row, SplitRun, image, single_images


def test_each_class_is_split_by_the_fractions_and_a_rare_one_is_only_in_train(splitting: SplitRun) -> None:
    classes = {"0012": 40, "6E4": 10, "NA": 9, "x": 1}
    images = [row for label, count in classes.items() for row in single_images(label, count)]
    counts = splitting.run(images, Fractions(test=0.1, val=0.2))
    assert splitting.labels("test") == {"0012": 4, "6E4": 1}
    assert splitting.labels("val") == {"0012": 8, "6E4": 2, "NA": 2}
    assert splitting.labels("train") == {"0012": 28, "6E4": 7, "NA": 7, "x": 1}
    assert counts == {"train": 43, "val": 12, "test": 5, "no-label": 0}


def test_fractions_of_zero_leave_all_images_in_train_and_write_headers(splitting: SplitRun) -> None:
    counts = splitting.run(single_images("a", 5), Fractions(test=0, val=0.0))
    assert counts == {"train": 5, "val": 0, "test": 0, "no-label": 0}
    assert (splitting.splits / "val.csv").read_text() == ",".join(SCHEMA.names) + "\n"
    assert (splitting.splits / "test.csv").read_text() == ",".join(SCHEMA.names) + "\n"
    assert (splitting.splits / "dropped.csv").read_text() == "stage,reason,image_path,identifier,coreid\n"


def test_text_is_written_to_the_csv_unchanged(splitting: SplitRun) -> None:
    notes = ["NA", "0012", "6E4", ' a, "b" ', "line\nline", "cr\r\nlf", "'", "#x", "\\N", "null", "\tä,", None]
    splitting.run([image(number, "6E4", note=note) for number, note in enumerate(notes)], Fractions(0, 0))
    source = tables.csv_source(splitting.splits / "train.csv")
    with duckdb.connect() as connection:
        rows = tables.fetch_rows(connection, f"SELECT note, speciesKey, width FROM {source} ORDER BY image_path")
    assert rows == [(note, "6E4", "640") for note in notes]


def test_the_order_of_rows_changes_nothing_and_the_seed_changes_the_splits(tmp_path: Path) -> None:
    images = [image(number, "ab"[number % 2], turn) for number in range(40) for turn in range(1 + number % 3)]
    files = []
    for name, rows, seed in (("a", images, 1), ("b", images[::-1], 1), ("c", images, 2)):
        splitting = SplitRun(tmp_path / name)
        splitting.run(rows, random_seed=seed, limits=Limits(max_instances=20))
        files.append(splitting.file_bytes())
    assert files[0] == files[1]
    assert files[0]["test.csv"] != files[2]["test.csv"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"category_key": "specieskey"}, "--SplitDataset-category-key specieskey: "),
        ({"grouping": Grouping(("event+observer",))}, "the archive has no column eventID; leave out event"),
    ],
)
def test_a_missing_column_is_an_error(splitting: SplitRun, options: dict[str, Any], words: str) -> None:
    splitting.run(single_images("a", 3))
    with duckdb.connect() as connection:
        source = tables.parquet_source([splitting.clean])
        path = tables.quote_text(str(splitting.clean))
        connection.execute(f"COPY (SELECT * EXCLUDE eventID FROM {source}) TO {path} (FORMAT parquet)")
    with pytest.raises(SelectionError) as caught:
        splitting.run(None, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("images", "limits", "words"),
    [
        ([], Limits(), "clean.parquet: it has no images; "),
        ([image("o1", None)], Limits(), "--SplitDataset-category-key speciesKey: the column is empty for all 1 images"),
        (single_images("a", 3), Limits(min_instances=4), "--SplitDataset-min-instances 4: no class has 4 images in tr"),
        (single_images("a", 9), Limits(max_instances=2, min_instances=3), "over-max-instances 5"),
    ],
)
def test_an_empty_result_names_the_rule(splitting: SplitRun, images: list[Row], limits: Limits, words: str) -> None:
    with pytest.raises(SelectionError, match=words):
        splitting.run(images, limits=limits)
    assert not splitting.splits.exists()


def test_a_row_without_coreid_is_an_error_and_no_file_is_written(splitting: SplitRun) -> None:
    with pytest.raises(MissingPieceError, match=r"it has 5 rows, but 4 were written .* because a row has no coreid"):
        splitting.run([*single_images("a", 4), image("x", "a", coreid=None)])
    assert list(splitting.splits.iterdir()) == []


def test_splitting_does_not_import_pandas(splitting: SplitRun) -> None:
    """Importing pandas takes half a second and 50 MB."""
    splitting.run([image(number, recordedBy=f"o{number // 2}") for number in range(40)])
    script = (
        "import sys; from pathlib import Path\n"
        "from gbif_webdataset.split.split_dataset import split_dataset\n"
        "from gbif_webdataset.split.options import SplitOptions\n"
        "from gbif_webdataset.split.fractions import Fractions\n"
        "from gbif_webdataset.split.traits import Grouping\n"
        "clean, duplicates, folder, scratch = map(Path, sys.argv[1:])\n"
        "options = SplitOptions('speciesKey', Fractions(0.2, 0.1), 1, grouping=Grouping(('observer',)))\n"
        "split_dataset(clean, duplicates, folder, options, scratch)\n"
        "assert 'pandas' not in sys.modules"
    )
    paths = (splitting.clean, splitting.duplicates, splitting.folder / "other", splitting.folder / "scratch")
    subprocess.run([sys.executable, "-c", script, *paths], check=True, cwd=Path(__file__).parents[3])


hundredths = st.integers(0, 99)


@settings(max_examples=12, deadline=None)
@given(
    groups=st.lists(
        st.tuples(st.sampled_from([None, "a", "b", "0012"]), st.integers(1, 5)), min_size=1, max_size=25
    ).filter(lambda groups: any(label for label, _ in groups)),
    share=st.tuples(hundredths, hundredths).filter(lambda pair: sum(pair) < 100),
    maximum=st.integers(0, 6),
    by_occurrence=st.booleans(),
)
def test_every_image_is_in_one_file_and_the_maximum_is_not_exceeded(
    tmp_path_factory: pytest.TempPathFactory,
    groups: list[tuple[str | None, int]],
    share: tuple[int, int],
    maximum: int,
    by_occurrence: bool,
) -> None:
    images = [image(number, label, turn) for number, (label, size) in enumerate(groups) for turn in range(size)]
    splitting = SplitRun(tmp_path_factory.mktemp("split"))
    fractions = Fractions(test=share[0] / 100, val=share[1] / 100)
    counts = splitting.run(images, fractions, limits=Limits(maximum), split_by_occurrence=by_occurrence)
    files = {name: [row["image_path"] for row in splitting.rows(name)] for name in (*SPLITS_OF_CLASSES, "dropped")}
    assert sorted(path for paths in files.values() for path in paths) == sorted(row["image_path"] for row in images)
    assert {split: len(files[split]) for split in SPLITS_OF_CLASSES} == {
        split: counts[split] for split in SPLITS_OF_CLASSES
    }
    assert Counter(row["reason"] for row in splitting.rows("dropped")) == Counter(
        {reason: count for reason, count in counts.items() if reason not in SPLITS_OF_CLASSES and count}
    )
    if maximum:
        maxima = {"train": maximum, "test": max(1, maximum * share[0] // 100), "val": max(1, maximum * share[1] // 100)}
        for split, each in maxima.items():
            assert max(splitting.labels(split).values(), default=0) <= each
    assert splitting.labels("train").keys() == {label for label, _ in groups if label}
