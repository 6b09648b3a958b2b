"""The part of the card's header that Hugging Face's datasets reads."""

import json
from pathlib import Path

import pytest
import yaml

from gbif_webdataset.publish.hub_header import MAX_NAMED_CLASSES, describe_for_hub, name_classes
from gbif_webdataset.storage.atomic import file_sha256
from tests.support.published import HOSTILE, Dataset


@pytest.fixture
def moths(tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path)
    for number in range(3):
        dataset.image("train", f"{number}", label=f"moth {number % 2}", country="NA")
    dataset.image("val", "20", label="moth 0")
    return dataset


@pytest.mark.parametrize(
    ("categories", "names", "expected"),
    [
        ({"b": 1, "a": 0}, {}, ["a", "b"]),
        ({"5WZLF": 0, "6E4": 1}, {"5WZLF": "Agrotis", "6E4": "6E4"}, ["Agrotis", "6E4"]),
        ({"1": 0, "2": 1, "3": 2}, {"1": "Morus", "2": "Morus", "3": "Alca"}, ["Morus (1)", "Morus (2)", "Alca"]),
        ({"1": 0, "2": 1, "3": 2}, {"1": "M", "2": "M", "3": "M (1)"}, ["1", "2", "3"]),
        ({"c": 2, "a": 0}, {}, ["a", "unused 1", "c"]),
        ({"a": 1}, {}, ["unused 0", "a"]),
        ({"a": 1, "b": 2}, {"a": "unused 0"}, ["unused 0 (no label)", "unused 0", "b"]),
        ({"a": MAX_NAMED_CLASSES}, {}, []),
        ({}, {}, []),
        ({f"{number}": number for number in range(MAX_NAMED_CLASSES + 1)}, {}, []),
    ],
)
def test_classes_have_unique_names_or_are_numbers(
    categories: dict[str, int], names: dict[str, str], expected: list[str]
) -> None:
    assert name_classes(categories, names, max(categories.values(), default=-1) + 1) == expected


def test_numbers_after_the_last_label_have_names_too() -> None:
    assert name_classes({"a": 0}, {}, 3) == ["a", "unused 1", "unused 2"]


def test_the_header_has_the_columns_in_order_and_the_samples_of_each_split(moths: Dataset) -> None:
    moths.publish(
        settings={"columns_to_json": "country, year", "caption_template": "{country}"},
        columns_to_json=("country",), caption_template="{country}",
    )  # fmt: skip
    info = describe_for_hub(moths.description)["dataset_info"]
    assert info["features"] == [
        {"name": "jpg", "dtype": "image"},
        {"name": "cls", "dtype": {"class_label": {"names": {"0": "moth 0", "1": "moth 1"}}}},
        {"name": "json", "struct": [{"name": "country", "dtype": "string"}, {"name": "year", "dtype": "int64"}]},
        {"name": "txt", "dtype": "string"},
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
    ]
    assert [(split["name"], split["num_examples"]) for split in info["splits"]] == [("train", 3), ("validation", 1)]


def test_the_configuration_is_named_after_shards_csv_and_the_types(moths: Dataset) -> None:
    def find_name() -> str:
        header = yaml.safe_load((moths.root / "shards" / "README.md").read_text(encoding="utf-8").split("---\n")[1])
        assert header["configs"][0]["config_name"] == header["dataset_info"]["config_name"]
        return str(header["dataset_info"]["config_name"])

    moths.publish()
    first = find_name()
    assert file_sha256(moths.root / "shards" / "shards.csv")[:16] in first
    moths.publish()
    assert find_name() == first
    moths.publish(label_name="country")
    assert find_name().rpartition("-")[0] == first.rpartition("-")[0]
    assert find_name() != first
    moths.publish(seed=3)
    assert find_name().rpartition("-")[0] != first.rpartition("-")[0]


def test_numbers_without_a_label_are_unused_classes_and_too_many_leave_the_classes_without_names(
    moths: Dataset, tmp_path: Path
) -> None:
    def find_type(number: int) -> object:
        path.write_text(json.dumps({"moth 0": 0, "moth 1": number}))
        moths.publish(category_map_json=path)
        columns = describe_for_hub(moths.description)["dataset_info"]["features"]
        return next(column["dtype"] for column in columns if column["name"] == "cls")

    path = tmp_path / "map.json"
    assert find_type(2) == {"class_label": {"names": {"0": "moth 0", "1": "unused 1", "2": "moth 1"}}}
    assert find_type(MAX_NAMED_CLASSES) == "int64"


def test_any_label_is_the_name_of_its_class(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="optional: needs pip install -e .[readers]")
    dataset = Dataset(tmp_path)
    labels = [*HOSTILE, "NA", "0012", "6E4", "null", "--- a\n---\n", "{x}: [y]"]
    for number, label in enumerate(labels):
        dataset.image("train", f"{number}", label=label)
    dataset.publish()
    numbers = json.loads((tmp_path / "shards" / "category_map.json").read_text(encoding="utf-8"))
    features = datasets.load_dataset_builder(str(tmp_path / "shards")).info.features
    assert {name: number for number, name in enumerate(features["cls"].names)} == numbers
    assert numbers.keys() == set(labels)
