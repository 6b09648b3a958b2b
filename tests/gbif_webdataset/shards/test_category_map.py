"""Classes keep their numbers from one dataset to the next, and have names for people."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError, SelectionError
from gbif_webdataset.shards.category_map import numbered
from tests.support.shard_run import RECIPE, Dataset, encoded, photo


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path)
    names = {"0012": ["Arctia caja", "Arctia caja", "Tiger"], "6E4": [None], "5WZLF": ["Macaria"]}
    for label, remarks in names.items():
        for number, remark in enumerate(remarks):
            data = encoded(photo(80, 70, number))
            dataset.add("train", f"d/{label}-{number}.jpg", data, label, remarks=remark)
    dataset.write()
    return dataset


def test_the_map_only_grows_against_a_previous_one(moths: Dataset, tmp_path: Path) -> None:
    previous = tmp_path / "previous.json"
    previous.write_text(json.dumps({"gone": 7, "6E4": 0}))
    moths.create(replace(RECIPE, previous_category_map=previous))
    written = json.loads((tmp_path / "shards/category_map.json").read_text())
    assert written == {"6E4": 0, "gone": 7, "0012": 8, "5WZLF": 9}


def test_without_a_previous_map_labels_are_numbered_in_their_order() -> None:
    assert numbered(["b", "a"]) == {"a": 0, "b": 1}
    assert numbered(["b", "a"], {}) == {"a": 0, "b": 1}
    assert numbered([], {"x": 3}) == {"x": 3}


def test_names_stand_beside_the_labels_the_most_frequent_of_each(moths: Dataset, tmp_path: Path) -> None:
    moths.create(replace(RECIPE, label_name="remarks"))
    with (tmp_path / "shards/classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"]: row["name"] for row in rows} == {"0012": "Arctia caja", "5WZLF": "Macaria", "6E4": ""}


def test_what_cannot_be_is_refused(moths: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"a": 1, "b": 1}')
    with pytest.raises(SelectionError, match=r"label_name: .* no column 'nope'"):
        moths.create(replace(RECIPE, label_name="nope"))
    with pytest.raises(ParameterError, match="previous_category_map: 'a' and 'b' share the class id 1"):
        moths.create(replace(RECIPE, previous_category_map=path))
    with pytest.raises(ParameterError, match=r"previous_category_map: .*leave one of them out"):
        moths.create(replace(RECIPE, previous_category_map=path, category_map_json=path))
