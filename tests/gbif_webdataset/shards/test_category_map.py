"""The category map: numbering labels, and reading a map of the user."""

import json
from pathlib import Path

import pytest

from gbif_webdataset.errors import ParameterError
from gbif_webdataset.shards.category_map import (
    missing_labels_error,
    number_labels,
    read_category_map,
    write_category_map,
)


def test_labels_are_numbered_in_the_order_of_their_text() -> None:
    assert number_labels(["b", "a"]) == {"a": 0, "b": 1}
    assert number_labels(["b", "a"], {}) == {"a": 0, "b": 1}


def test_labels_of_a_previous_map_keep_their_numbers_and_new_ones_follow() -> None:
    assert number_labels(["b", "a", "x"], {"x": 3, "gone": 0}) == {"x": 3, "gone": 0, "a": 4, "b": 5}
    assert number_labels([], {"x": 3}) == {"x": 3}


def test_a_written_map_is_in_the_order_of_its_numbers_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    write_category_map({"é": 2, "0012": 0, "6E4": 1}, path)
    assert list(json.loads(path.read_text(encoding="utf-8"))) == ["0012", "6E4", "é"]
    assert read_category_map(path, "category_map_json") == {"0012": 0, "6E4": 1, "é": 2}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not valid JSON: .*; correct the file"),
        ("[1]", 'must be a JSON object that maps each label to a class number, such as {"5WZLF": 0}'),
        ('{"a": "1"}', "of 'a' must be a whole number, at least 0"),
        ('{"a": true}', "of 'a' must be a whole number"),
        ('{"a": -1}', "of 'a' must be a whole number"),
        ('{"a": 1, "b": 1}', "'a' and 'b' have the same class number 1"),
        ('{"a": 1, "a": 2}', "label 'a' occurs twice"),
    ],
)
def test_an_invalid_map_is_rejected_with_the_option_and_the_problem(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(content)
    with pytest.raises(ParameterError, match=rf"^--CreateWebDataset-category-map-json {path}: .*{problem}"):
        read_category_map(path, "category_map_json")


def test_the_error_for_missing_labels_names_the_first_ten() -> None:
    text = str(missing_labels_error([f"new {number:02d}" for number in range(12)], None))
    assert "train has no images of 12 labels of val or test ('new 00', " in text
    assert "'new 09', ...)" in text
    assert "new 10" not in text
    assert "given.json: the file lacks 1 label of the images ('a')" in str(
        missing_labels_error(["a"], Path("given.json"))
    )
