"""The rows that become samples: labels, columns and JSON text."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gbif_webdataset.errors import MissingPieceError, SelectionError
from tests.support.shard_run import RECIPE, ShardRun, encoded, photo


@pytest.fixture
def run(tmp_path: Path) -> ShardRun:
    return ShardRun(tmp_path)


def test_json_has_measurements_as_numbers_other_values_as_text_and_empty_fields_as_null(run: ShardRun) -> None:
    run.add("train", "ds/0012.jpg", encoded(photo(40, 30, 1)), country="NA", remarks='3mm (1/8") \\ é', label="6E4")
    run.add("val", "ds/2.jpg", encoded(photo(40, 30, 2)), label="6E4")
    run.write()
    columns = ("coreid", "country", "remarks", "label", "width", "valid")
    run.create(replace(RECIPE, columns_to_json=columns))
    assert json.loads(run.only_sample()["json"]) == {
        "coreid": "0012",
        "country": "NA",
        "remarks": '3mm (1/8") \\ é',
        "label": "6E4",
        "width": 40,
        "valid": True,
    }
    [sample] = run.samples("val")
    assert json.loads(sample["json"])["country"] is None


def test_json_is_valid_for_every_text(run: ShardRun) -> None:
    odd = ["", "NaN", "null", '"', "\\", "\u0001\u001f\t", "é 蛾 🦋", "0012", "1e5", "{}", "a\nb", "'", "\u2028"]
    for number, value in enumerate(odd):
        run.add("train", f"ds/{number}.jpg", encoded(photo(40, 30, number)), remarks=value)
    run.add("train", "ds/width.jpg", encoded(photo(40, 30, 99)), country="wide")
    run.write()
    run.create(replace(RECIPE, columns_to_json=("remarks", "country", "width", "valid", "coreid")))
    read = {sample["__key__"].removeprefix("ds/"): json.loads(sample["json"]) for sample in run.samples()}
    for number, value in enumerate(odd):
        assert read[str(number)]["remarks"] == (value or None)
        assert read[str(number)]["country"] is None
        assert (read[str(number)]["width"], read[str(number)]["valid"]) == (40, True)
        assert read[str(number)]["coreid"] == str(number)


def test_an_image_without_a_label_is_dropped_with_its_reason(run: ShardRun) -> None:
    run.add("train", "ds/1.jpg", encoded(photo(40, 30, 1)))
    run.add("train", "ds/2.jpg", encoded(photo(40, 30, 2)), label=None)
    run.write()
    counts = run.create()
    assert (counts.samples, counts.dropped) == ({"train": 1, "val": 0, "test": 0}, {"no-label": 1})
    assert (run.root / "shards/dropped.csv").read_text() == (
        "stage,reason,image_path,identifier,coreid\nshards,no-label,ds/2.jpg,http://photos.test/ds/2.jpg,2\n"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"label_column": "species"}, r"--CreateWebDataset-label-column species: .*train.csv has no column 'species'"),
        ({"columns_to_json": ("country", "genus")}, "--CreateWebDataset-columns-to-json genus: .* no column 'genus'"),
        ({"label_name": "nope"}, "--CreateWebDataset-label-name nope: .* no column 'nope'; choose from .*country"),
        ({"label_column": "remarks"}, "--CreateWebDataset-label-column remarks: the column is empty in all rows"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(run: ShardRun, change: dict[str, Any], problem: str) -> None:
    run.add("train", "ds/1.jpg", encoded(photo(40, 30, 1)))
    run.write()
    with pytest.raises(SelectionError, match=problem):
        run.create(replace(RECIPE, **change))
    assert not run.shards()


def test_a_row_without_a_size_is_named(run: ShardRun) -> None:
    run.add("train", "ds/1.jpg", encoded(photo(40, 30, 1)), width="")
    run.write()
    with pytest.raises(
        MissingPieceError, match=r"train\.csv: the row of ds/1\.jpg lacks width.*run SplitDataset again"
    ):
        run.create()
